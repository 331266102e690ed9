use super::*;

#[test]
fn a_boundary_reading_begins_at_once_also_while_a_periodic_one_is_under_way() {
    let mut rig = Rig::started();
    rig.take();
    rig.at(100);
    rig.ask(0, Start, 5_000, 0);
    let purpose = Purpose::Boundary { phase: phase(0), kind: Start };
    assert_eq!(
        rig.take(),
        [CollectorEffect::Read { read: ReadId(1), purpose, tick_within: Duration::ZERO }]
    );
    rig.at(150);
    rig.done(0, None);
    assert_eq!(rig.acks(), [], "a periodic reading is no baseline");
    rig.at(200);
    rig.done(1, None);
    let effects = rig.take();
    let baseline = CollectorEffect::Baseline { read: ReadId(1), phase: phase(0), kind: Start };
    assert_eq!(effects[0], baseline, "said before the acknowledgement");
    rig.out = effects;
    let reading = rig.answer().outcome.unwrap();
    assert_eq!((reading.start, reading.end), (Tick::from_millis(100), Tick::from_millis(200)));
    assert_eq!((reading.readings, reading.settled), (1, None));
    assert_eq!(reading.unsettled, Vec::<String>::new());
}

#[test]
fn a_reading_waits_for_counters_to_step_for_a_quarter_of_the_gates_time_at_most() {
    for (plan_ms, expected) in [(100, 100), (900, 250)] {
        let (interval, tick_within) = (Duration::ZERO, Duration::from_millis(plan_ms));
        let mut rig = Rig::new(CollectorPlan { interval, tick_within, ..plan() });
        rig.input(CollectorInput::Start);
        rig.take();
        rig.ask(0, Start, 1_000, 0);
        // The second is the one after a failure.
        rig.fail(0);
        rig.at(500);
        let within = |effect: CollectorEffect| {
            let CollectorEffect::Read { tick_within, .. } = effect else { return None };
            Some(tick_within.as_millis())
        };
        let read: Vec<_> = rig.take().into_iter().filter_map(within).collect();
        assert_eq!(read, [expected; 2]);
    }
}

#[test]
fn a_repeated_request_starts_nothing_and_gets_the_same_answer() {
    let mut rig = Rig::quiet();
    rig.ask(0, Start, 5_000, 0);
    rig.take();
    rig.ask(0, Start, 4_750, 0);
    assert_eq!(rig.take(), [], "while it is under way");
    rig.done(0, None);
    let CollectorEffect::Send(first) = rig.take().remove(1) else { panic!("no answer") };
    rig.at(500);
    rig.ask(0, Start, 4_500, 0);
    let effects = rig.take();
    assert_eq!(effects.len(), 1, "neither read nor marked again: {effects:?}");
    let CollectorEffect::Send(again) = &effects[0] else { panic!("no answer") };
    assert_eq!((&again.body, again.message_id), (&first.body, first.message_id));
    assert!(again.sequence > first.sequence);
}

#[test]
fn parallel_boundaries_have_their_own_readings() {
    let mut rig = Rig::quiet();
    rig.ask(1, Start, 5_000, 0);
    rig.ask(0, End, 5_000, 0);
    assert_eq!(rig.reads().len(), 2);
    rig.at(50);
    rig.done(1, None);
    let ack = rig.answer();
    assert_eq!((ack.phase, ack.kind), (phase(0), End));
    rig.done(0, None);
    assert_eq!(rig.answer().phase, phase(1));
}

#[test]
fn a_failed_reading_is_tried_again_twice_and_then_the_answer_is_the_error() {
    let mut rig = Rig::quiet();
    rig.ask(0, Start, 5_000, 0);
    assert_eq!(rig.reads(), [(0, 0)]);
    rig.at(10);
    rig.fail(0);
    rig.at(600);
    assert_eq!(rig.reads(), [(1, 210)]);
    rig.fail(1);
    rig.at(900);
    assert_eq!(rig.reads(), [(2, 800)]);
    rig.fail(2);
    assert_eq!(rig.answer().outcome, Err(error()));
    rig.ask(0, Start, 4_000, 0);
    assert_eq!(rig.answer().outcome, Err(error()), "also for a repeated request");
}

#[test]
fn a_second_try_that_succeeds_is_the_baseline() {
    let mut rig = Rig::quiet();
    rig.ask(0, Start, 5_000, 0);
    rig.fail(0);
    rig.at(300);
    rig.done(1, None);
    let reading = rig.answer().outcome.unwrap();
    assert_eq!((reading.start, reading.readings), (Tick::from_millis(200), 1));
}

#[test]
fn a_failed_reading_is_not_tried_again_when_the_budget_is_over() {
    let mut rig = Rig::quiet();
    rig.ask(0, Start, 240, 0);
    rig.at(30);
    rig.fail(0);
    assert_eq!(rig.answer().outcome, Err(error()));
}

#[test]
fn a_second_try_that_would_begin_when_the_answer_is_due_is_not_waited_for() {
    // Of 1,000 ms the last 50 are kept free: 750 + 200 is too late, 749 is not.
    for (failed_at, answers) in [(750, 1), (749, 0)] {
        let mut rig = Rig::quiet();
        rig.ask(0, Start, 1_000, 0);
        rig.at(failed_at);
        rig.fail(0);
        assert_eq!(rig.acks().len(), answers, "failed at {failed_at} ms");
    }
}

#[test]
fn the_answer_is_out_before_the_gates_time_is_over() {
    for (budget, answered) in [(5_000, 4_950), (100, 90)] {
        let mut rig = Rig::quiet();
        rig.ask(0, Start, budget, budget);
        rig.at(answered - 1);
        assert_eq!(rig.acks(), []);
        rig.at(answered);
        assert!(rig.out.contains(&CollectorEffect::Abort(ReadId(0))));
        let error = rig.answer().outcome.unwrap_err();
        assert_eq!(error.kind, CollectErrorKind::Timeout);
        assert!(error.message.contains(" s left"), "{error}");
        rig.done(0, None);
        assert_eq!(rig.take(), [], "what was aborted is ignored");
    }
}

#[test]
fn a_timeout_after_a_failure_names_both() {
    let mut rig = Rig::quiet();
    rig.ask(0, Start, 1_000, 0);
    rig.fail(0);
    rig.at(960);
    let error = rig.answer().outcome.unwrap_err();
    assert_eq!(error.kind, CollectErrorKind::Timeout);
    assert!(error.message.contains("refused"), "{error}");
}

#[test]
fn two_equal_readings_in_a_row_are_settled_and_the_last_is_the_baseline() {
    let mut rig = Rig::quiet();
    rig.ask(0, End, 5_000, 3_000);
    rig.at(10);
    rig.done(0, Some(1));
    rig.at(40);
    assert_eq!(rig.reads(), [(0, 0), (1, 30)]);
    rig.done(1, Some(2));
    rig.at(90);
    assert_eq!(rig.reads(), [(2, 80)]);
    rig.done(2, Some(1));
    assert_eq!(rig.acks(), [], "equal to the one before the last is not settled");
    rig.at(200);
    rig.done(3, Some(1));
    assert!(rig.out.contains(&CollectorEffect::Baseline {
        read: ReadId(3),
        phase: phase(0),
        kind: End
    }));
    let reading = rig.answer().outcome.unwrap();
    assert_eq!((reading.readings, reading.settled), (4, Some(true)));
    assert_eq!(reading.start, Tick::from_millis(170));
    assert_eq!(reading.unsettled, Vec::<String>::new());
}

#[test]
fn pauses_between_settling_readings_double_up_to_a_limit_and_no_two_run_at_once() {
    let mut rig = Rig::quiet();
    rig.ask(0, End, 5_000, 3_000);
    let mut began = rig.reads();
    let mut ms = 0;
    while rig.out.is_empty() && ms < 3_000 {
        let read = began[began.len() - 1].0;
        rig.done(read, Some(read));
        let before = began.len();
        while began.len() == before && ms < 3_000 {
            ms += 1;
            rig.at(ms);
            if rig.out.iter().any(|e| matches!(e, CollectorEffect::Read { .. })) {
                began.extend(rig.reads());
            }
        }
        assert!(began.len() <= before + 1);
    }
    let at: Vec<u64> = began.iter().map(|(_, at)| *at).take(8).collect();
    assert_eq!(at, [0, 20, 60, 140, 300, 550, 800, 1_050]);
}

#[test]
fn when_the_settle_time_runs_out_what_was_moving_is_named() {
    let mut rig = Rig::quiet();
    rig.ask(0, End, 5_000, 100);
    rig.done(0, Some(0));
    rig.at(20);
    rig.done(1, Some(1));
    rig.at(60);
    rig.done(2, Some(2));
    rig.at(99);
    assert_eq!(rig.acks(), []);
    rig.at(100);
    let reading = rig.answer().outcome.unwrap();
    assert_eq!((reading.readings, reading.settled), (3, Some(false)));
    assert_eq!(reading.unsettled, ["family_2: still moving"]);
    assert_eq!(reading.start, Tick::from_millis(60));
}

#[test]
fn a_reading_under_way_when_the_settle_time_runs_out_still_counts() {
    for (hash, settled) in [(0, Some(true)), (1, Some(false))] {
        let mut rig = Rig::quiet();
        rig.ask(0, End, 5_000, 100);
        rig.done(0, Some(0));
        rig.at(150);
        assert_eq!(rig.acks(), []);
        rig.done(1, Some(hash));
        let reading = rig.answer().outcome.unwrap();
        assert_eq!((reading.settled, reading.end), (settled, rig.now));
    }
}

#[test]
fn a_source_that_cannot_tell_is_read_once() {
    let mut rig = Rig::quiet();
    rig.ask(0, End, 5_000, 3_000);
    rig.done(0, None);
    let reading = rig.answer().outcome.unwrap();
    assert_eq!((reading.readings, reading.settled), (1, None));
}

#[test]
fn where_settling_is_not_asked_for_one_reading_is_enough() {
    let mut rig = Rig::quiet();
    rig.ask(0, End, 5_000, 0);
    rig.done(0, Some(4));
    assert_eq!(rig.answer().outcome.unwrap().settled, None);
}

#[test]
fn a_settling_source_that_begins_to_fail_answers_with_its_last_reading_as_unsettled() {
    let mut rig = Rig::quiet();
    rig.ask(0, End, 5_000, 3_000);
    rig.done(0, Some(0));
    for (read, at) in [(1, 100), (2, 400), (3, 700)] {
        rig.at(at);
        assert_eq!(rig.acks(), []);
        rig.fail(read);
    }
    assert!(rig.out.contains(&CollectorEffect::Baseline {
        read: ReadId(0),
        phase: phase(0),
        kind: End
    }));
    let reading = rig.answer().outcome.unwrap();
    assert_eq!((reading.readings, reading.settled), (1, Some(false)));
}

#[test]
fn a_settling_source_that_hangs_answers_with_its_last_reading_as_unsettled() {
    let mut rig = Rig::quiet();
    rig.ask(0, End, 5_000, 3_000);
    rig.done(0, Some(0));
    rig.at(4_950);
    assert!(rig.out.contains(&CollectorEffect::Abort(ReadId(1))));
    assert_eq!(rig.answer().outcome.unwrap().settled, Some(false));
}
