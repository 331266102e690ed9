use super::*;

fn complete() -> Message {
    Message::CreditsComplete(CreditsComplete::default())
}

fn shutdown() -> Message {
    Message::Shutdown { reason: ShutdownReason::AllJoined }
}

#[test]
fn credits_complete_goes_to_every_producer_that_owes_and_again_with_its_heartbeats() {
    let mut rig = Rig::ready(ALL);
    rig.credits_complete();
    assert_eq!(rig.receivers(&complete()), ["gpu", "ledger", "server"]);
    rig.credits_complete();
    assert_eq!(rig.receivers(&complete()), [""; 0], "once for all");
    rig.result("gpu", Domain::telemetry(), readings());
    rig.at(1_000);
    assert_eq!(rig.receivers(&complete()), ["ledger", "server"]);
}

#[test]
fn the_run_ends_once_when_every_domain_is_joined() {
    let mut rig = Rig::ready(ALL);
    rig.credits_complete();
    rig.result("ledger", Domain::profile(), records());
    rig.result("ledger", Domain::profile(), records());
    rig.result("gpu", Domain::telemetry(), readings());
    assert!(!rig.out.contains(&ControllerEffect::Finished));
    rig.result("server", Domain::server_metrics(), readings());
    assert_eq!(rig.out.iter().filter(|e| **e == ControllerEffect::Finished).count(), 1);
    assert_eq!(rig.receivers(&shutdown()), ["conductor", "gpu", "ledger", "server"]);
    rig.result("server", Domain::server_metrics(), readings());
    assert_eq!(rig.take(), []);
    let report = rig.report();
    assert_eq!(report.shutdown, Some(ShutdownReason::AllJoined));
    assert!(report.domains.values().all(|d| d.joined()));
    assert_eq!(report.evictions, []);
}

#[test]
fn results_without_credits_complete_do_not_end_the_run() {
    let mut rig = Rig::ready(ALL);
    rig.result("gpu", Domain::telemetry(), readings());
    rig.result("server", Domain::server_metrics(), readings());
    assert_eq!(rig.report().shutdown, None);
    // The ledger's result says that credits are complete.
    rig.result("ledger", Domain::profile(), records());
    assert_eq!(rig.report().shutdown, Some(ShutdownReason::AllJoined));
}

#[test]
fn shutdown_is_said_again_in_answer_to_any_heartbeat() {
    let mut rig = Rig::ready(&["conductor", "ledger"]);
    rig.credits_complete();
    rig.result("ledger", Domain::profile(), records());
    let first: Vec<Envelope> = rig.sent().into_iter().filter(|e| e.body == shutdown()).collect();
    rig.beat("ledger", ServiceStatus::Ready);
    rig.beat("stranger", ServiceStatus::Ready);
    let again = rig.sent();
    assert_eq!(again.len(), 2);
    assert_eq!(again[0].message_id, first[1].message_id);
    assert_eq!(again[1].to, id("stranger"));
}

#[test]
fn those_that_stop_after_the_shutdown_are_not_evicted() {
    let mut rig = Rig::ready(&["conductor", "ledger"]);
    rig.credits_complete();
    rig.result("ledger", Domain::profile(), records());
    rig.take();
    rig.status("ledger", ServiceStatus::Stopped);
    rig.status("conductor", ServiceStatus::Stopped);
    rig.at(60_000);
    assert_eq!(rig.report().evictions, []);
    assert_eq!(rig.report().shutdown, Some(ShutdownReason::AllJoined));
}

#[test]
fn a_gate_is_refused_after_the_shutdown() {
    let mut rig = Rig::ready(&["conductor", "ledger"]);
    rig.credits_complete();
    rig.result("ledger", Domain::profile(), records());
    rig.take();
    rig.gate(1, BaselineKind::Start);
    let grants = rig.grants();
    assert_eq!(grants.len(), 1);
    assert_eq!(grants[0].outcome, Err(GateRefusal::ShuttingDown));
    assert_eq!(rig.report().boundaries, []);
}

#[test]
fn a_producer_that_owes_for_too_long_is_taken_out_and_the_run_ends() {
    let mut rig = Rig::ready(ALL);
    rig.at(3_000);
    rig.credits_complete();
    rig.result("ledger", Domain::profile(), records());
    rig.result("server", Domain::server_metrics(), readings());
    rig.at(17_999);
    assert_eq!(rig.report().shutdown, None);
    rig.at(18_000);
    let report = rig.report();
    assert_eq!(report.shutdown, Some(ShutdownReason::AllJoined));
    assert_eq!(report.evictions.len(), 1);
    assert_eq!(report.evictions[0].reason, "no result within 15 s of credits being complete");
    assert!(!report.domains[&Domain::telemetry()].joined());
    assert!(report.domains[&Domain::profile()].joined());
}

#[test]
fn a_producer_that_registers_after_credits_were_complete_owes_and_is_told() {
    let mut rig = Rig::ready(&["conductor", "ledger"]);
    rig.credits_complete();
    rig.take();
    rig.join("late");
    assert_eq!(rig.receivers(&complete()), ["late"]);
    rig.result("ledger", Domain::profile(), records());
    assert_eq!(rig.report().shutdown, None);
    rig.result("late", Domain::server_metrics(), readings());
    assert_eq!(rig.report().shutdown, Some(ShutdownReason::AllJoined));
}

#[test]
fn how_a_domain_stands_is_said_once_a_change() {
    let mut rig = Rig::ready(ALL);
    rig.join("other");
    rig.take();
    rig.result("server", Domain::server_metrics(), readings());
    rig.result("server", Domain::server_metrics(), readings());
    rig.status("other", ServiceStatus::Stopped);
    rig.result("other", Domain::server_metrics(), readings());
    let joins = rig.events().into_iter().filter_map(|e| {
        let ControllerEvent::Join(JoinChange { domain, standing }) = e else {
            return None;
        };
        assert_eq!(domain, Domain::server_metrics());
        Some(standing)
    });
    let said: Vec<_> = joins.collect();
    let other = vec![id("other")];
    assert_eq!(
        said,
        [Standing::Pending(other.clone()), Standing::Evicted(other), Standing::Joined]
    );
}

#[test]
fn a_result_that_nobody_owes_is_ignored() {
    let mut rig = Rig::ready(ALL);
    rig.result("stranger", Domain::telemetry(), readings());
    rig.result("gpu", Domain::profile(), readings());
    let report = rig.report();
    assert!(report.domains.values().all(|d| d.results.is_empty()));
}
