use super::*;

fn result(readings: u64, failed: u64) -> Message {
    let summary = DomainSummary::Readings { readings, failed };
    Message::DomainResult(DomainResult { domain: Domain::server_metrics(), summary })
}

fn shutdown() -> Message {
    Message::Shutdown { reason: ShutdownReason::AllJoined }
}

#[test]
fn it_registers_says_that_it_is_ready_and_takes_its_first_reading() {
    let mut rig = Rig::started();
    assert_eq!(rig.reads(), [(0, 0)]);
    let mut rig = Rig::started();
    let capabilities =
        vec![Capability::BaselineCollector, Capability::ResultProducer(Domain::server_metrics())];
    assert_eq!(
        rig.messages(),
        [
            Message::Register(Register { capabilities, incarnation: 0 }),
            Message::Status(ServiceStatus::Ready),
        ]
    );
    rig.input(CollectorInput::Start);
    assert_eq!(rig.take(), [], "once");
}

#[test]
fn the_result_is_handed_in_when_credits_are_complete_and_with_every_heartbeat() {
    let mut rig = Rig::started();
    rig.done(0, None);
    rig.take();
    rig.say(Message::CreditsComplete(CreditsComplete::default()));
    assert_eq!(rig.messages(), [result(1, 0)]);
    rig.at(2_000);
    let messages = rig.messages();
    assert_eq!(messages.len(), 4);
    assert_eq!(messages.iter().filter(|m| **m == result(1, 0)).count(), 2);
    rig.say(shutdown());
    rig.take();
    rig.at(9_000);
    assert_eq!(rig.take(), []);
}

#[test]
fn after_credits_are_complete_there_are_no_periodic_readings_and_boundaries_are_answered() {
    let mut rig = Rig::started();
    rig.ask(0, End, 5_000, 0);
    rig.take();
    rig.say(Message::CreditsComplete(CreditsComplete::default()));
    assert_eq!(rig.take()[0], CollectorEffect::Abort(ReadId(0)));
    rig.at(900);
    assert_eq!(rig.reads(), []);
    rig.done(1, None);
    assert!(rig.answer().outcome.is_ok());
}

#[test]
fn a_disabled_collector_answers_what_is_open_and_says_so_when_asked() {
    let mut rig = Rig::started();
    rig.ask(0, Start, 5_000, 0);
    rig.take();
    rig.input(CollectorInput::Disable { reason: "no device".to_owned() });
    assert_eq!(
        rig.out[..2],
        [CollectorEffect::Abort(ReadId(0)), CollectorEffect::Abort(ReadId(1))]
    );
    let messages = rig.messages();
    let Message::BaselineAck(ack) = &messages[0] else { panic!("{messages:?}") };
    let disabled = ack.outcome.clone().unwrap_err();
    assert_eq!(disabled.kind, CollectErrorKind::Disabled);
    assert_eq!(disabled.message, "server is disabled: no device");
    let reason = "no device".to_owned();
    assert_eq!(messages[1], Message::Status(ServiceStatus::Disabled { reason }));
    rig.done(1, None);
    assert_eq!(rig.take(), []);
    rig.ask(0, Start, 4_000, 0);
    rig.ask(0, End, 4_000, 0);
    let answers: Vec<_> = rig.acks().into_iter().map(|a| a.outcome).collect();
    assert_eq!(answers, [Err(disabled.clone()), Err(disabled)]);
    rig.say(Message::CreditsComplete(CreditsComplete::default()));
    assert_eq!(rig.take(), [], "it has nothing to hand in");
    rig.say(shutdown());
    assert!(rig.out.contains(&CollectorEffect::Finished));
}

#[test]
fn an_answer_given_before_it_was_disabled_stays_the_answer() {
    let mut rig = Rig::quiet();
    rig.ask(0, Start, 5_000, 0);
    rig.done(0, None);
    let first = rig.answer();
    rig.input(CollectorInput::Disable { reason: "x".to_owned() });
    rig.take();
    rig.ask(0, Start, 4_000, 0);
    assert_eq!(rig.answer(), first);
}

#[test]
fn one_that_is_disabled_before_it_starts_makes_itself_known() {
    let mut rig = Rig::new(plan());
    rig.input(CollectorInput::Disable { reason: "no device".to_owned() });
    let messages = rig.messages();
    assert!(matches!(messages[0], Message::Register(_)));
    assert!(matches!(messages[1], Message::Status(ServiceStatus::Disabled { .. })));
    rig.input(CollectorInput::Start);
    assert_eq!(rig.take(), []);
}

#[test]
fn heartbeats_of_a_disabled_one_repeat_that_it_is() {
    let mut rig = Rig::quiet();
    rig.input(CollectorInput::Disable { reason: "x".to_owned() });
    rig.take();
    rig.at(1_000);
    let messages = rig.messages();
    let Message::Heartbeat(beat) = &messages[0] else { panic!("{messages:?}") };
    assert_eq!(beat.status, ServiceStatus::Disabled { reason: "x".to_owned() });
    assert_eq!(messages.len(), 1);
}

#[test]
fn one_that_is_disabled_after_credits_were_complete_hands_in_nothing_more() {
    let mut rig = Rig::quiet();
    rig.say(Message::CreditsComplete(CreditsComplete::default()));
    rig.input(CollectorInput::Disable { reason: "x".to_owned() });
    rig.take();
    rig.at(1_000);
    assert_eq!(rig.messages().len(), 1);
}

#[test]
fn stop_and_shutdown_end_it_once() {
    for told in [false, true] {
        let mut rig = Rig::started();
        rig.ask(0, Start, 5_000, 0);
        rig.take();
        if told {
            rig.say(shutdown());
        } else {
            rig.input(CollectorInput::Stop);
        }
        let effects = rig.take();
        assert_eq!(
            effects[..2],
            [CollectorEffect::Abort(ReadId(0)), CollectorEffect::Abort(ReadId(1))]
        );
        assert_eq!(effects[3..], [CollectorEffect::Finished]);
        rig.out = effects;
        assert_eq!(rig.messages(), [Message::Status(ServiceStatus::Stopped)]);
        assert_eq!(rig.collector.next_deadline(), None);
        rig.input(CollectorInput::Stop);
        rig.say(shutdown());
        rig.ask(0, Start, 5_000, 0);
        rig.done(1, None);
        rig.at(60_000);
        assert_eq!(rig.take(), []);
    }
}
