use proptest::prelude::*;

use super::*;
use crate::id::MessageId;
use crate::journal::{Entry, Kind, Node, Replay, digest, encode_input};
use crate::ledger::books::tests::record as by_hand;
use crate::ledger::report::PhaseLedger;
use crate::message::{PhaseCounts, ShutdownReason};
use crate::plan::{GatePlan, Limits as PlanLimits, PhaseKind, PhaseSpec};
use crate::record::{ErrorClass, Outcome};

fn plan(phases: usize) -> RunPlan {
    let phases = (0..phases).map(|i| {
        let mut spec = PhaseSpec::new(format!("p{i}"), PhaseKind::Profiling);
        spec.concurrency = Some(1);
        spec.requests = Some(100);
        spec
    });
    RunPlan::new(0, phases.collect(), GatePlan::default(), PlanLimits::default()).unwrap()
}

fn ledger(phases: usize) -> Ledger {
    Ledger::new(&plan(phases), BTreeMap::new(), true, true)
}

fn at(ms: u64) -> Tick {
    Tick::from_millis(ms)
}

fn record(phase: u16, number: u32) -> RequestRecord {
    RequestRecord { credit: CreditId { phase, number }, ..by_hand(number) }
}

fn message(body: Message) -> LedgerInput {
    LedgerInput::Message(Envelope {
        from: ServiceId::controller(),
        to: ServiceId::ledger(),
        message_id: MessageId(0),
        sequence: 0,
        body,
    })
}

fn sent(sent: u64) -> PhaseCounts {
    PhaseCounts { sent, completed: sent, ..PhaseCounts::default() }
}

fn credits_complete(counts: &[u64]) -> LedgerInput {
    let plan = plan(counts.len());
    let phases = plan.phases().iter().zip(counts).map(|(p, n)| (p.id, sent(*n))).collect();
    message(Message::CreditsComplete(CreditsComplete { phases }))
}

fn shutdown() -> LedgerInput {
    message(Message::Shutdown { reason: ShutdownReason::AllJoined })
}

fn feed(ledger: &mut Ledger, now: Tick, input: LedgerInput) -> Vec<LedgerEffect> {
    let mut out = Vec::new();
    ledger.handle(now, input, &mut out);
    check(ledger, now, &out);
    out
}

fn wake(ledger: &mut Ledger, now: Tick) -> Vec<LedgerEffect> {
    let mut out = Vec::new();
    ledger.handle_timeout(now, &mut out);
    check(ledger, now, &out);
    out
}

fn check(ledger: &Ledger, now: Tick, out: &[LedgerEffect]) {
    assert!(ledger.next_deadline().is_none_or(|d| d.at > now), "a deadline that is not ahead");
    assert!(out.len() <= Ledger::EFFECTS, "{} effects", out.len());
}

type Finalised = (ProfileFinish, u64, Vec<(PhaseId, u64)>);

fn finalised(effects: &[LedgerEffect]) -> Vec<Finalised> {
    let mut found = Vec::new();
    for effect in effects {
        if let LedgerEffect::Event(LedgerEvent::Finalised { finish, records, missing }) = effect {
            found.push((*finish, *records, missing.clone()));
        }
    }
    found
}

fn results(effects: &[LedgerEffect]) -> Vec<DomainSummary> {
    let mut found = Vec::new();
    for effect in effects {
        if let LedgerEffect::Send(envelope) = effect
            && let Message::DomainResult(result) = &envelope.body
        {
            assert_eq!(
                (&envelope.to, &result.domain),
                (&ServiceId::controller(), &Domain::profile())
            );
            found.push(result.summary.clone());
        }
    }
    found
}

fn refusals(effects: &[LedgerEffect]) -> Vec<Refusal> {
    let mut found = Vec::new();
    for effect in effects {
        if let LedgerEffect::Event(LedgerEvent::Refused { reason, .. }) = effect {
            found.push(*reason);
        }
    }
    found
}

fn has_note(phase: &PhaseLedger, text: &str) -> bool {
    phase.notes.iter().any(|note| note.contains(text))
}

#[test]
fn it_registers_as_producer_of_profile_and_is_ready() {
    let mut ledger = ledger(1);
    let effects = feed(&mut ledger, Tick::ZERO, LedgerInput::Start);
    let bodies: Vec<Message> = effects
        .into_iter()
        .filter_map(|e| if let LedgerEffect::Send(e) = e { Some(e.body) } else { None })
        .collect();
    let [Message::Register(register), Message::Status(ServiceStatus::Ready)] = &bodies[..] else {
        panic!("{bodies:?}");
    };
    assert_eq!(register.capabilities, [Capability::ResultProducer(Domain::profile())]);
    assert_eq!(feed(&mut ledger, Tick::ZERO, LedgerInput::Start), []);
}

#[test]
fn it_finalises_when_credits_are_complete_and_every_record_is_in() {
    let mut ledger = ledger(2);
    feed(&mut ledger, at(0), LedgerInput::Start);
    feed(&mut ledger, at(10), LedgerInput::Record(record(0, 0)));
    assert_eq!(feed(&mut ledger, at(20), credits_complete(&[1, 2])), []);
    assert_eq!(feed(&mut ledger, at(30), LedgerInput::Record(record(1, 1))), []);
    let effects = feed(&mut ledger, at(40), LedgerInput::Record(record(1, 0)));
    assert_eq!(finalised(&effects), [(ProfileFinish::Complete, 3, vec![])]);
    let finish = ProfileFinish::Complete;
    let handed_in = [DomainSummary::Records { records: 3, missing: 0, finish }];
    assert_eq!(results(&effects), handed_in);
    // Repeated with each heartbeat until shutdown.
    assert_eq!(results(&wake(&mut ledger, at(1000))), handed_in);
    assert_eq!(results(&wake(&mut ledger, at(2000))), handed_in);
    let effects = feed(&mut ledger, at(2500), shutdown());
    assert_eq!((results(&effects), finalised(&effects)), (vec![], vec![]));
    assert_eq!(effects.last(), Some(&LedgerEffect::Finished));
    assert_eq!(feed(&mut ledger, at(2600), shutdown()), []);
    assert_eq!(ledger.next_deadline(), None);
}

#[test]
fn credits_complete_with_everything_in_finalises_at_once() {
    let mut ledger = ledger(1);
    feed(&mut ledger, at(0), LedgerInput::Start);
    feed(&mut ledger, at(10), LedgerInput::Record(record(0, 0)));
    let effects = feed(&mut ledger, at(20), credits_complete(&[1]));
    assert_eq!(finalised(&effects), [(ProfileFinish::Complete, 1, vec![])]);
    assert_eq!(feed(&mut ledger, at(30), credits_complete(&[5])), [], "said again, too late");
}

#[test]
fn the_fallback_finalises_with_what_is_missing_in_each_phase() {
    let mut ledger = ledger(2);
    feed(&mut ledger, at(0), LedgerInput::Start);
    feed(&mut ledger, at(10), LedgerInput::Record(record(1, 2)));
    feed(&mut ledger, at(500), credits_complete(&[0, 3]));
    // Said again: the fallback does not begin anew.
    feed(&mut ledger, at(5500), credits_complete(&[0, 3]));
    assert_eq!(finalised(&wake(&mut ledger, at(10_499))), []);
    let effects = wake(&mut ledger, at(10_500));
    let phase = plan(2).phases()[1].id;
    assert_eq!(finalised(&effects), [(ProfileFinish::Fallback, 1, vec![(phase, 2)])]);
    let finish = ProfileFinish::Fallback;
    assert_eq!(results(&effects)[0], DomainSummary::Records { records: 1, missing: 2, finish });
    let report = ledger.report();
    assert_eq!((report.missing, report.finish), (2, Some(finish)));
    assert!(has_note(&report.phases[1], "2 of 3 requests have no record; the credits-complete"));
}

#[test]
fn a_record_at_the_very_end_of_the_fallback_still_counts() {
    let mut ledger = ledger(1);
    feed(&mut ledger, at(0), LedgerInput::Start);
    feed(&mut ledger, at(500), credits_complete(&[1]));
    let effects = feed(&mut ledger, at(10_500), LedgerInput::Record(record(0, 0)));
    assert_eq!(finalised(&effects), [(ProfileFinish::Complete, 1, vec![])]);
}

#[test]
fn a_shutdown_before_credits_are_complete_closes_the_books_and_says_so() {
    let mut ledger = ledger(1);
    feed(&mut ledger, at(0), LedgerInput::Start);
    feed(&mut ledger, at(10), LedgerInput::Record(record(0, 0)));
    let phase = plan(1).phases()[0].id;
    let progress = PhaseProgress { phase, at: at(20), counts: sent(4) };
    feed(&mut ledger, at(20), message(Message::SendingComplete(progress)));
    let effects = feed(&mut ledger, at(30), shutdown());
    assert_eq!(finalised(&effects), [(ProfileFinish::Shutdown, 1, vec![(phase, 3)])]);
    assert_eq!(results(&effects).len(), 1);
    assert_eq!(effects.last(), Some(&LedgerEffect::Finished));
}

#[test]
fn a_record_is_added_once_and_only_while_the_books_are_open() {
    let mut ledger = ledger(1);
    let mut refused = |now, input| refusals(&feed(&mut ledger, now, input));
    assert_eq!(refused(at(0), LedgerInput::Start), []);
    assert_eq!(refused(at(1), LedgerInput::Record(record(0, 0))), []);
    assert_eq!(refused(at(2), LedgerInput::Record(record(0, 0))), [Refusal::Duplicate]);
    assert_eq!(refused(at(3), LedgerInput::Record(record(7, 0))), [Refusal::NoSuchPhase]);
    assert_eq!(refused(at(4), credits_complete(&[2])), []);
    assert_eq!(refused(at(5), LedgerInput::Record(record(0, 2))), [Refusal::BeyondSent]);
    assert_eq!(refused(at(6), LedgerInput::Record(record(0, 1))), []);
    assert_eq!(refused(at(7), LedgerInput::Record(record(0, 1))), [Refusal::AfterFinalisation]);
    let phase = &ledger.report().phases[0];
    assert_eq!(phase.counts.sent, 2);
    assert_eq!(phase.metrics["request_latency"].count, 2);
    for note in ["1 records came twice", "1 records came after", "1 records of credits beyond"] {
        assert!(has_note(phase, note), "{note} in {:?}", phase.notes);
    }
}

#[test]
fn a_phase_lasts_as_long_as_the_conductor_says_even_if_it_says_so_late() {
    let mut ledger = ledger(1);
    feed(&mut ledger, at(0), LedgerInput::Start);
    let phase = plan(1).phases()[0].id;
    let progress = |ms, n| PhaseProgress { phase, at: at(ms), counts: sent(n) };
    feed(&mut ledger, at(1000), message(Message::PhaseStarted(progress(1000, 0))));
    feed(&mut ledger, at(1510), LedgerInput::Record(record(0, 0)));
    feed(&mut ledger, at(1600), credits_complete(&[1]));
    let throughput = |ledger: &mut Ledger| {
        let phase = &ledger.report().phases[0];
        (phase.metrics["request_throughput"].avg, has_note(phase, "end was not announced"))
    };
    assert_eq!(throughput(&mut ledger), (Some(1.0 / 0.51), true));
    feed(&mut ledger, at(1700), message(Message::PhaseComplete(progress(3000, 9))));
    assert_eq!(throughput(&mut ledger), (Some(0.5), false));
    assert_eq!(ledger.report().missing, 0, "the books are closed");
}

#[test]
fn dispatch_lag_is_taken_over_all_phases_in_microseconds() {
    let mut ledger = ledger(2);
    feed(&mut ledger, at(0), LedgerInput::Record(record(0, 0)));
    let prompt = RequestRecord { started: at(1000), ..record(1, 0) };
    feed(&mut ledger, at(0), LedgerInput::Record(prompt));
    let lag = ledger.report().dispatch_lag_us;
    assert_eq!((lag.p50, lag.p99, lag.max), (Some(0.0), Some(1e4), Some(1e4)));
}

#[test]
fn a_heartbeat_of_no_time_at_all_is_not_due_for_ever() {
    let mut spec = PhaseSpec::new("p", PhaseKind::Profiling);
    (spec.concurrency, spec.requests) = (Some(1), Some(1));
    let limits = PlanLimits { heartbeat: Duration::ZERO, ..PlanLimits::default() };
    let plan = RunPlan::new(0, vec![spec], GatePlan::default(), limits).unwrap();
    let mut ledger = Ledger::new(&plan, BTreeMap::new(), true, true);
    for now in [at(0), at(1), Tick::NEVER] {
        feed(&mut ledger, now, LedgerInput::Start);
        wake(&mut ledger, now);
    }
}

#[test]
fn a_question_about_a_probe_is_answered_to_the_conductor_and_one_about_no_phase_is_not() {
    let mut ledger = ledger(1);
    feed(&mut ledger, at(0), LedgerInput::Start);
    feed(&mut ledger, at(1), LedgerInput::Record(record(0, 0)));
    let ask =
        |phase| message(Message::MeasureProbe(MeasureProbe { phase, sent: 3, written_off: 1 }));
    let phase = plan(1).phases()[0].id;
    let out = feed(&mut ledger, at(2), ask(phase));
    let [LedgerEffect::Send(answer)] = out.as_slice() else { panic!("{out:?}") };
    assert_eq!(answer.to, ServiceId::conductor());
    let Message::ProbeMeasured(measured) = &answer.body else { panic!("{answer:?}") };
    assert_eq!((measured.phase, measured.missing), (phase, 1));
    let other = PhaseId::derive(&crate::seed::Seed::root(9), 0, "other");
    assert_eq!(feed(&mut ledger, at(3), ask(other)), []);
}

#[test]
fn messages_for_others_change_nothing() {
    let mut ledger = ledger(1);
    feed(&mut ledger, at(0), LedgerInput::Start);
    for body in [Message::Begin, Message::Unknown, Message::Status(ServiceStatus::Ready)] {
        assert_eq!(feed(&mut ledger, at(1), message(body)), []);
    }
    let unknown = PhaseId::derive(&crate::seed::Seed::root(9), 9, "other");
    let progress = PhaseProgress { phase: unknown, at: at(1), counts: sent(1) };
    assert_eq!(feed(&mut ledger, at(1), message(Message::PhaseComplete(progress))), []);
    assert_eq!(ledger.state(), LedgerState::Open);
}

/// What happens to a ledger besides the passing of time.
#[test]
fn counts_that_add_up_to_more_than_a_number_holds_are_stood() {
    let mut ledger = ledger(2);
    feed(&mut ledger, Tick::ZERO, LedgerInput::Start);
    feed(&mut ledger, Tick(1), credits_complete(&[u64::MAX, 1]));
    assert_eq!(finalised(&feed(&mut ledger, Tick(2), shutdown())).len(), 1);
    assert_eq!(ledger.report().missing, u64::MAX);
}

#[derive(Debug, Clone)]
enum Happening {
    Record(u16, u32, Outcome),
    CreditsComplete(Vec<u64>),
    Shutdown,
    Time(u64),
}

fn happening() -> impl Strategy<Value = Happening> {
    let outcome = prop::sample::select(vec![
        Outcome::Completed,
        Outcome::Cancelled,
        Outcome::Failed(ErrorClass::Connect),
    ]);
    prop_oneof![
        12 => (0_u16..3, 0_u32..6, outcome).prop_map(|(p, n, o)| Happening::Record(p, n, o)),
        1 => prop::collection::vec(0_u64..5, 2).prop_map(Happening::CreditsComplete),
        1 => Just(Happening::Shutdown),
        4 => (0_u64..12_000).prop_map(Happening::Time),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// G8, G9 and G11 for the ledger.
    #[test]
    fn it_finalises_once_counts_each_record_once_and_replays_to_the_same_effects(
        happenings in prop::collection::vec(happening(), 0..60),
    ) {
        let mut ledger = ledger(2);
        let mut replayed = Node::new(self::ledger(2));
        let (mut now, mut all) = (Tick::ZERO, Vec::new());
        let mut model = std::collections::BTreeSet::new();
        let mut complete: Option<Vec<u64>> = None;
        let inputs = [Happening::Time(0)].into_iter().chain(happenings);
        let closing = [Happening::CreditsComplete(vec![1, 1]), Happening::Time(20_000)];
        for happening in inputs.chain(closing) {
            let open = finalised(&all).is_empty();
            let input = match happening {
                Happening::Record(phase, number, outcome) => {
                    let sent = complete.as_ref().and_then(|c| c.get(usize::from(phase)));
                    if open && phase < 2 && sent.is_none_or(|n| u64::from(number) < *n) {
                        model.insert((phase, number));
                    }
                    Some(LedgerInput::Record(RequestRecord { outcome, ..record(phase, number) }))
                }
                Happening::CreditsComplete(counts) => {
                    let input = credits_complete(&counts);
                    complete.get_or_insert(counts);
                    Some(input)
                }
                Happening::Shutdown => Some(shutdown()),
                Happening::Time(0) => Some(LedgerInput::Start),
                Happening::Time(ms) => {
                    now = now + Duration::from_millis(ms);
                    None
                }
            };
            let kind = input.as_ref().map_or(Kind::Timeout, |i| Kind::Input(encode_input(i).unwrap()));
            let effects = match input {
                Some(input) => feed(&mut ledger, now, input),
                None => wake(&mut ledger, now),
            };
            let entry = Entry { node: 0, at: now, kind, effects: digest(&effects).unwrap() };
            prop_assert_eq!(replayed.step(&entry).map(|s| s.effects), Ok(effects.len()));
            prop_assert_eq!(wake(&mut ledger, now), [], "a spurious call changes nothing");
            all.extend(effects);
        }
        prop_assert_eq!(finalised(&all).len(), 1);
        let stopped = all.iter().filter(|e| **e == LedgerEffect::Finished).count();
        prop_assert_eq!(stopped, usize::from(ledger.state() == LedgerState::Stopped));
        let report = ledger.report();
        prop_assert_eq!(finalised(&all)[0].1, model.len() as u64);
        for (place, phase) in report.phases.iter().enumerate() {
            let counts = phase.counts;
            let expected = model.iter().filter(|(p, _)| usize::from(*p) == place).count() as u64;
            prop_assert_eq!(counts.sent, expected);
            prop_assert_eq!(counts.sent, counts.completed + counts.errors + counts.cancelled);
        }
    }
}

#[test]
fn state_stays_bounded_over_many_records() {
    let mut ledger = Ledger::with_exact_limit(&plan(1), &BTreeMap::new(), true, true, 1000);
    let mut out = Vec::new();
    let mut record = record(0, 0);
    for number in 0..20_000 {
        record.credit.number = number;
        ledger.handle(at(1), LedgerInput::Record(record.clone()), &mut out);
    }
    assert_eq!(out, []);
    let phase = &ledger.report().phases[0];
    let latency = &phase.metrics["request_latency"];
    assert_eq!((latency.count, latency.avg), (20_000, Some(500.0)));
    assert!(latency.relative_error.is_some());
    assert_eq!(phase.output_tokens, Some(100_000));
}

#[test]
fn there_is_goodput_exactly_where_there_are_limits() {
    for limits in [BTreeMap::new(), BTreeMap::from([("request_latency".to_owned(), 1e9)])] {
        let limited = !limits.is_empty();
        let mut ledger = Ledger::new(&plan(1), limits, true, true);
        feed(&mut ledger, at(0), LedgerInput::Start);
        feed(&mut ledger, at(1), LedgerInput::Record(record(0, 0)));
        let report = ledger.report();
        assert_eq!(report.phases[0].metrics.contains_key("goodput"), limited);
    }
}

#[test]
fn a_heartbeat_interval_of_zero_beats_at_every_wake_and_is_never_due_for_ever() {
    let limits = PlanLimits { heartbeat: Duration::ZERO, ..PlanLimits::default() };
    let mut spec = PhaseSpec::new("p", PhaseKind::Profiling);
    spec.concurrency = Some(1);
    spec.requests = Some(1);
    let plan = RunPlan::new(0, vec![spec], GatePlan::default(), limits).unwrap();
    let mut ledger = Ledger::new(&plan, BTreeMap::new(), true, true);
    feed(&mut ledger, at(0), LedgerInput::Start);
    for _ in 0..3 {
        let next = ledger.next_deadline().map(|d| d.at).expect("it beats on");
        assert_eq!(wake(&mut ledger, next).len(), 1);
    }
}
