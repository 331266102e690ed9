use super::*;
use BaselineKind::{End, Start};

fn evictions(rig: &Rig) -> Vec<(String, String, bool)> {
    let said = |e: Eviction| (e.service.as_str().to_owned(), e.reason, e.excused);
    rig.report().evictions.into_iter().map(said).collect()
}

#[test]
fn a_collector_that_leaves_is_taken_out_of_both_coordinators_at_once() {
    for (status, reason) in [
        (ServiceStatus::Disabled { reason: "by hand".to_owned() }, "disabled: by hand"),
        (ServiceStatus::Stopped, "stopped"),
        (ServiceStatus::Failed { reason: "lost".to_owned() }, "failed: lost"),
    ] {
        let mut rig = Rig::ready(ALL);
        rig.gate(0, Start);
        rig.ack("server", 0, Start);
        rig.take();
        rig.status("gpu", status);
        let outcome = rig.granted();
        assert_eq!(outcome.released_by, ReleasedBy::AllAcked);
        assert_eq!(
            outcome.collectors[0].status,
            CollectorStatus::Evicted { reason: reason.to_owned() }
        );
        let domains = rig.report().domains;
        assert_eq!(domains[&Domain::telemetry()].evicted[&id("gpu")], reason);
        assert_eq!(domains[&Domain::telemetry()].pending, vec![]);
        // It was asked, so that its leaving is not its own affair.
        assert_eq!(evictions(&rig), [("gpu".to_owned(), reason.to_owned(), false)]);
        rig.gate(0, End);
        let to: Vec<_> = rig.requests().into_iter().map(|(e, _)| e.to).collect();
        assert_eq!(to, [id("server")]);
    }
}

#[test]
fn a_gate_whose_every_collector_leaves_is_released() {
    let mut rig = Rig::ready(ALL);
    rig.gate(0, Start);
    rig.take();
    rig.status("gpu", ServiceStatus::Stopped);
    assert_eq!(rig.grants(), []);
    rig.status("server", ServiceStatus::Stopped);
    assert_eq!(rig.granted().released_by, ReleasedBy::AllAcked);
}

#[test]
fn missed_heartbeats_take_a_service_out() {
    let mut rig = Rig::ready(ALL);
    rig.at(6_500);
    rig.alive.remove(&id("gpu"));
    rig.at(7_000);
    rig.gate(0, Start);
    rig.ack("server", 0, Start);
    rig.take();
    rig.at(10_999);
    assert_eq!(rig.grants(), []);
    rig.at(11_000);
    assert_eq!(evictions(&rig), [("gpu".to_owned(), "silent for 5 s".to_owned(), false)]);
    let outcome = rig.granted();
    assert!(matches!(outcome.collectors[0].status, CollectorStatus::Evicted { .. }));
    assert_eq!(rig.report().evictions[0].at, Tick::from_millis(11_000));
}

#[test]
fn anything_that_arrives_is_a_sign_of_life() {
    let mut rig = Rig::ready(ALL);
    rig.alive.remove(&id("gpu"));
    rig.gate(0, Start);
    rig.at(4_000);
    rig.ack("gpu", 0, Start);
    rig.at(8_999);
    assert_eq!(evictions(&rig), []);
    rig.at(9_000);
    assert_eq!(evictions(&rig).len(), 1);
}

#[test]
fn a_silent_service_that_is_heard_again_takes_part_again_and_stays_recorded() {
    let mut rig = Rig::ready(ALL);
    rig.alive.remove(&id("gpu"));
    rig.at(6_000);
    assert_eq!(evictions(&rig).len(), 1);
    let first = rig.report().evictions[0].at;
    rig.beat("gpu", ServiceStatus::Ready);
    rig.gate(0, Start);
    assert_eq!(rig.requests().len(), 2);
    let domain = &rig.report().domains[&Domain::telemetry()];
    assert_eq!((domain.pending.len(), domain.evicted.len()), (1, 0));
    rig.at(12_000);
    assert_eq!(evictions(&rig).len(), 1, "recorded once");
    assert_eq!(rig.report().evictions[0].at, first, "as it was the first time");
    assert!(!rig.report().domains[&Domain::telemetry()].joined());
}

#[test]
fn a_service_that_left_comes_back_only_as_a_new_life() {
    let mut rig = Rig::ready(ALL);
    rig.status("gpu", ServiceStatus::Disabled { reason: "x".to_owned() });
    // A heartbeat from before, delivered after.
    rig.beat("gpu", ServiceStatus::Ready);
    rig.gate(0, Start);
    assert_eq!(rig.requests().len(), 1);
    assert_eq!(evictions(&rig), [("gpu".to_owned(), "disabled: x".to_owned(), true)]);
    rig.incarnation = 1;
    rig.beat("gpu", ServiceStatus::Ready);
    rig.gate(0, End);
    assert_eq!(rig.requests().len(), 2);
    assert_eq!(rig.report().domains[&Domain::telemetry()].pending, [id("gpu")]);
    rig.status("gpu", ServiceStatus::Failed { reason: "lost".to_owned() });
    assert_eq!(
        evictions(&rig),
        [("gpu".to_owned(), "failed: lost".to_owned(), false)],
        "what is not excused outweighs what was"
    );
}

#[test]
fn what_a_collector_answered_before_it_left_stands() {
    let mut rig = Rig::ready(ALL);
    rig.gate(0, Start);
    rig.ack("server", 0, Start);
    rig.status("server", ServiceStatus::Stopped);
    assert_eq!(rig.grants(), [], "gpu is still waited for");
    rig.ack("gpu", 0, Start);
    let outcome = rig.granted();
    assert_eq!(outcome.collectors.len(), 2);
    for collector in outcome.collectors {
        assert!(matches!(collector.status, CollectorStatus::Captured { .. }), "{collector:?}");
    }
}

#[test]
fn a_result_of_an_evicted_producer_is_accepted() {
    let mut rig = Rig::ready(ALL);
    rig.status("gpu", ServiceStatus::Failed { reason: "x".to_owned() });
    rig.result("gpu", Domain::telemetry(), readings());
    let report = rig.report();
    assert_eq!(report.domains[&Domain::telemetry()].results[&id("gpu")], readings());
    assert!(report.domains[&Domain::telemetry()].joined());
    assert_eq!(report.evictions.len(), 1, "it stays recorded");
}

#[test]
fn an_answer_of_an_evicted_collector_changes_nothing() {
    let mut rig = Rig::ready(ALL);
    rig.gate(0, Start);
    rig.status("gpu", ServiceStatus::Stopped);
    rig.ack("gpu", 0, Start);
    let report = rig.report();
    assert!(matches!(report.boundaries[0].collectors[0].status, CollectorStatus::Evicted { .. }));
    assert_eq!(report.odd_acks.late, 1);
}

#[test]
fn a_lost_conductor_ends_the_run() {
    let mut rig = Rig::ready(ALL);
    rig.gate(0, Start);
    rig.alive.remove(&id("conductor"));
    rig.at(4_999);
    rig.take();
    rig.at(5_000);
    let effects = rig.take();
    assert_eq!(effects.iter().filter(|e| **e == ControllerEffect::Finished).count(), 1);
    let told: Vec<_> = effects
        .into_iter()
        .filter_map(envelope)
        .filter(|e| e.body == Message::Shutdown { reason: ShutdownReason::ConductorLost })
        .map(|e| e.to.as_str().to_owned())
        .collect();
    // The heartbeats of the same second are answered with it again.
    assert_eq!(told[..4], ["conductor", "gpu", "ledger", "server"]);
    let report = rig.report();
    assert_eq!(report.shutdown, Some(ShutdownReason::ConductorLost));
    // The gate's own timeout and the silence fall together; either way nothing
    // is left pending.
    assert!(statuses(&report.boundaries[0]).iter().all(|(_, s)| **s == CollectorStatus::Missing));
    rig.result("ledger", Domain::profile(), records());
    assert!(rig.report().domains[&Domain::profile()].joined(), "late results count");
}

#[test]
fn an_open_gate_is_released_as_cancelled_when_the_conductor_stops() {
    let mut rig = Rig::ready(ALL);
    rig.gate(0, Start);
    rig.take();
    rig.status("conductor", ServiceStatus::Stopped);
    assert_eq!(rig.granted().released_by, ReleasedBy::Cancelled);
    assert_eq!(rig.report().shutdown, Some(ShutdownReason::ConductorLost));
    assert_eq!(rig.controller.next_deadline(), None);
}

#[test]
fn a_conductor_that_restarts_in_the_middle_is_lost() {
    let mut rig = Rig::ready(ALL);
    rig.gate(0, Start);
    rig.incarnation = 1;
    rig.beat("conductor", ServiceStatus::Ready);
    assert_eq!(rig.report().shutdown, Some(ShutdownReason::ConductorLost));
}

#[test]
fn a_lost_ledger_is_taken_out_of_its_domain() {
    let mut rig = Rig::ready(&["conductor", "ledger"]);
    rig.alive.remove(&id("ledger"));
    rig.at(6_000);
    assert!(!rig.report().domains[&Domain::profile()].joined());
    assert_eq!(rig.report().shutdown, None, "the conductor goes on");
    rig.credits_complete();
    assert_eq!(rig.report().shutdown, Some(ShutdownReason::AllJoined));
}

#[test]
fn nothing_is_taken_out_after_the_end() {
    let mut rig = Rig::ready(ALL);
    rig.alive.clear();
    rig.at(5_000);
    assert_eq!(evictions(&rig), [("conductor".to_owned(), "silent for 5 s".to_owned(), false)]);
    assert_eq!(rig.take().last(), Some(&ControllerEffect::Finished));
    assert_eq!(rig.controller.next_deadline(), None);
}

#[test]
fn who_is_ready_is_said_once_and_who_was_taken_out_owes_again_once_it_is_heard() {
    let mut rig = Rig::new(ALL);
    rig.register("gpu");
    rig.take();
    for said in [1, 0] {
        rig.status("gpu", ServiceStatus::Ready);
        let events = rig.events();
        let ready = |event: &&ControllerEvent| matches!(event, ControllerEvent::Ready { .. });
        assert_eq!(events.iter().filter(ready).count(), said, "{events:?}");
    }

    let mut rig = Rig::ready(ALL);
    rig.alive.remove(&id("gpu"));
    rig.at(11_000);
    let pending = |rig: &Rig| rig.report().domains[&Domain::telemetry()].pending.clone();
    assert_eq!(pending(&rig), []);
    rig.status("gpu", ServiceStatus::Ready);
    assert_eq!(pending(&rig), [id("gpu")]);
}
