use super::*;

fn begins(rig: &mut Rig) -> usize {
    rig.receivers(&Message::Begin).len()
}

#[test]
fn the_barrier_opens_when_the_last_expected_service_is_ready() {
    let mut rig = Rig::new(ALL);
    for name in ["conductor", "ledger", "gpu"] {
        rig.join(name);
    }
    rig.register("server");
    assert_eq!(begins(&mut rig), 0);
    rig.status("server", ServiceStatus::Ready);
    let open = ControllerEvent::BarrierOpen { not_ready: vec![] };
    assert!(rig.out.contains(&ControllerEffect::Report(open)));
    assert_eq!(begins(&mut rig), 1);
    assert_eq!(rig.report().not_ready, vec![]);
}

#[test]
fn a_disabled_and_a_failed_service_are_not_waited_for() {
    let mut rig = Rig::new(ALL);
    rig.join("conductor");
    rig.join("ledger");
    rig.status("gpu", ServiceStatus::Disabled { reason: "no NVML".to_owned() });
    rig.register("server");
    assert_eq!(begins(&mut rig), 0);
    rig.status("server", ServiceStatus::Failed { reason: "no route".to_owned() });
    assert_eq!(begins(&mut rig), 1);
    let report = rig.report();
    assert_eq!(report.not_ready, vec![]);
    let said: Vec<_> = report
        .evictions
        .iter()
        .map(|e| (e.service.as_str(), e.reason.as_str(), e.excused))
        .collect();
    assert_eq!(said, [("gpu", "disabled: no NVML", true), ("server", "failed: no route", false)]);
}

#[test]
fn the_barrier_opens_without_those_whose_start_time_ran_out() {
    let mut rig = Rig::new(ALL);
    rig.join("conductor");
    rig.join("ledger");
    rig.register("server");
    rig.alive.insert(id("server"), ServiceStatus::Starting);
    rig.at(9_999);
    assert_eq!(begins(&mut rig), 0);
    rig.at(10_000);
    let not_ready = vec![id("gpu"), id("server")];
    let open = ControllerEvent::BarrierOpen { not_ready };
    assert!(rig.out.contains(&ControllerEffect::Report(open)));
    assert!(begins(&mut rig) > 0);
    let report = rig.report();
    assert_eq!(report.not_ready, [id("gpu"), id("server")]);
    // The one that was never heard of is not waited for any more; the one that
    // is still starting takes part.
    assert_eq!(report.evictions.len(), 1);
    assert_eq!(report.evictions[0].reason, "not heard of within 10 s");
    assert!(!report.evictions[0].excused);
    rig.gate(0, BaselineKind::Start);
    assert_eq!(rig.receivers(&Message::BaselineRequest(Box::new(request()))), ["server"]);
}

fn request() -> BaselineRequest {
    BaselineRequest {
        phase: plan().phases()[0].id,
        kind: BaselineKind::Start,
        attempt: 1,
        budget: Duration::ZERO,
        settle: Duration::ZERO,
        tally: Tally::default(),
    }
}

#[test]
fn begin_is_repeated_with_each_heartbeat_until_a_gate_is_asked_for() {
    let mut rig = Rig::ready(ALL);
    rig.at(1_000);
    let sent = rig.sent();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].body, Message::Begin);
    let first = sent[0].clone();
    rig.at(2_000);
    let again = rig.sent();
    assert_eq!(again[0].message_id, first.message_id);
    assert!(again[0].sequence > first.sequence);
    rig.gate(0, BaselineKind::Start);
    rig.at(3_000);
    assert_eq!(begins(&mut rig), 0);
}

#[test]
fn begin_is_not_repeated_once_a_phase_has_started() {
    let mut rig = Rig::ready(ALL);
    let progress =
        PhaseProgress { phase: rig.phases[0], at: rig.now, counts: PhaseCounts::default() };
    rig.say("conductor", Message::PhaseStarted(progress.clone()));
    rig.say("conductor", Message::PhaseStarted(progress.clone()));
    let said = ControllerEvent::Phase(Milestone::Started, progress);
    assert_eq!(rig.events(), [said], "each change is said once");
    rig.at(2_000);
    assert_eq!(begins(&mut rig), 0);
}

#[test]
fn registration_is_idempotent_and_repaired_by_a_heartbeat() {
    let mut rig = Rig::new(ALL);
    for name in ALL {
        rig.beat(name, ServiceStatus::Ready);
        rig.beat(name, ServiceStatus::Ready);
        rig.register(name);
    }
    let ready = rig.events().into_iter().filter(|e| matches!(e, ControllerEvent::Ready { .. }));
    assert_eq!(ready.count(), ALL.len());
    rig.gate(0, BaselineKind::Start);
    assert_eq!(rig.requests().len(), 2, "each collector is asked once");
}

#[test]
fn unknown_capabilities_and_statuses_are_ignored() {
    let mut rig = Rig::ready(ALL);
    rig.status("gpu", ServiceStatus::Unknown);
    rig.say("gpu", Message::Unknown);
    assert_eq!(rig.take(), []);
    assert_eq!(rig.report().domains.len(), 3);
}

#[test]
fn a_conductor_that_was_never_heard_of_ends_the_run() {
    let mut rig = Rig::new(ALL);
    for name in ["ledger", "gpu", "server"] {
        rig.join(name);
    }
    rig.at(10_000);
    let report = rig.report();
    assert_eq!(report.shutdown, Some(ShutdownReason::ConductorLost));
    assert_eq!(report.not_ready, [id("conductor")]);
}

#[test]
fn what_a_service_can_do_is_what_it_registers_with_whichever_message_came_first() {
    let mut rig = Rig::new(&["conductor"]);
    rig.controller =
        Controller::new(&plan(), vec![Expected { service: id("gpu"), capabilities: vec![] }]);
    rig.input(ControllerInput::Start);
    rig.status("gpu", ServiceStatus::Ready);
    assert!(rig.report().domains.is_empty());
    rig.join("gpu");
    assert_eq!(rig.report().domains[&Domain::telemetry()].pending, [id("gpu")]);
    rig.gate(0, BaselineKind::Start);
    assert_eq!(rig.requests().len(), 1);
}
