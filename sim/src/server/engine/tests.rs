use super::*;
use proptest::prelude::*;

fn config() -> ServerConfig {
    ServerConfig {
        ttft: Duration::from_millis(100),
        prefill_per_token: Duration::from_millis(1),
        itl: Duration::from_millis(10),
        jitter: 0.0,
        max_batch: 1,
        queue_limit: 2,
        idle_power_w: 100.0,
        busy_power_w: 500.0,
        ..ServerConfig::default()
    }
}

fn work(prompt: &str, output_tokens: u32) -> Work {
    Work {
        prompt: prompt.to_owned(),
        prompt_tokens: u32::try_from(prompt.split_whitespace().count()).unwrap(),
        output_tokens,
        max_tokens: Some(output_tokens),
        finish: Finish::Length,
        halt_after: None,
        phase: None,
        foreign: false,
    }
}

fn with(hazard: &str) -> ServerConfig {
    ServerConfig { hazards: vec![hazard.parse().unwrap()], ..config() }
}

fn at(engine: &mut Engine, ms: u64) -> Tick {
    engine.advance(Tick::from_millis(ms));
    engine.now()
}

#[test]
fn a_token_is_due_at_the_sum_of_the_steps_before_it() {
    let mut engine = Engine::new(&config());
    let id = engine.submit(work("a b c", 3)).unwrap();
    let next = |ms| Progress::Running { produced: 0, next: Tick::from_millis(ms) };
    assert_eq!(engine.progress(id), next(103));
    // Late calls do not shift what follows.
    at(&mut engine, 112);
    let running = Progress::Running { produced: 1, next: Tick::from_millis(113) };
    assert_eq!(engine.progress(id), running);
    at(&mut engine, 900);
    assert_eq!(engine.progress(id), Progress::Finished { produced: 3 });
    let counters = engine.published();
    assert_eq!((counters.prompt_tokens, counters.generation_tokens), (3, 3));
    assert_eq!(counters.e2e.sum(), 0.123);
    assert_eq!(counters.decode.sum(), 0.02);
    // 123 ms at 500 W, the rest idle.
    assert_eq!(engine.truth().gpus[0].energy_j, 0.123 * 500.0 + 0.777 * 100.0);
}

#[test]
fn a_queued_request_starts_when_its_predecessor_finished() {
    let mut engine = Engine::new(&config());
    let first = engine.submit(work("a", 1)).unwrap();
    let second = engine.submit(work("b", 1)).unwrap();
    assert_eq!(engine.take_started(), [first]);
    assert_eq!(engine.progress(second), Progress::Waiting);
    assert_eq!(engine.next_start(), Some(Tick::from_millis(101)));
    at(&mut engine, 150);
    assert_eq!(engine.take_started(), [second]);
    assert_eq!(engine.next_start(), None);
    let next = Tick::from_millis(202);
    assert_eq!(engine.progress(second), Progress::Running { produced: 0, next });
    at(&mut engine, 300);
    let queue = &engine.published().queue;
    assert_eq!((queue.count(), queue.sum()), (2, 0.101));
}

#[test]
fn a_full_queue_refuses() {
    let mut engine = Engine::new(&config());
    for prompt in ["a", "b", "c"] {
        engine.submit(work(prompt, 1)).unwrap();
    }
    assert_eq!(engine.submit(work("d", 1)), Err(QueueFull));
    assert_eq!((engine.running(), engine.waiting()), (1, 2));
}

#[test]
fn an_abandoned_request_gives_its_slot_to_the_next() {
    let mut engine = Engine::new(&config());
    let first = engine.submit(work("a", 5)).unwrap();
    let second = engine.submit(work("b", 5)).unwrap();
    let third = engine.submit(work("c", 1)).unwrap();
    at(&mut engine, 105);
    engine.release(second, Finish::Abort);
    engine.release(first, Finish::Abort);
    assert_eq!(engine.progress(first), Progress::Gone);
    let next = Tick::from_millis(206);
    assert_eq!(engine.progress(third), Progress::Running { produced: 0, next });
    at(&mut engine, 999);
    let truth = engine.truth().total;
    assert_eq!((truth.aborted, truth.finished, truth.in_flight), (2, 1, 0));
    // The first one's token was computed, its request did not finish.
    assert_eq!((truth.output_tokens, truth.finished_output_tokens), (2, 1));
    assert_eq!(engine.published().success, [0, 1, 2, 0]);
}

#[test]
fn releasing_a_finished_request_aborts_nothing() {
    let mut engine = Engine::new(&config());
    let id = engine.submit(work("a", 1)).unwrap();
    at(&mut engine, 500);
    engine.release(id, Finish::Abort);
    engine.release(id, Finish::Abort);
    assert_eq!((engine.truth().total.aborted, engine.truth().total.finished), (0, 1));
    assert_eq!(engine.running(), 0);
}

#[test]
fn a_halted_request_holds_its_slot() {
    let mut engine = Engine::new(&config());
    let id = engine.submit(Work { halt_after: Some(2), ..work("a", 9) }).unwrap();
    engine.submit(work("b", 1)).unwrap();
    at(&mut engine, 10_000);
    assert_eq!(engine.progress(id), Progress::Halted { produced: 2 });
    assert_eq!((engine.running(), engine.waiting()), (1, 1));
    engine.release(id, Finish::Error);
    at(&mut engine, 20_000);
    let truth = engine.truth().total;
    assert_eq!((truth.failed, truth.finished, truth.output_tokens), (1, 1, 3));
}

#[test]
fn an_embedding_is_a_prefill_without_tokens() {
    let mut engine = Engine::new(&config());
    let embedding = Work { finish: Finish::Stop, max_tokens: None, ..work("a b", 0) };
    let id = engine.submit(embedding).unwrap();
    at(&mut engine, 102);
    assert_eq!(engine.progress(id), Progress::Finished { produced: 0 });
    let counters = engine.published();
    assert_eq!((counters.prompt_tokens, counters.ttft.count()), (2, 0));
    assert_eq!(counters.success, [1, 0, 0, 0]);
}

#[test]
fn counters_fall_back_once_and_truth_does_not() {
    let mut engine = Engine::new(&with("reset-counters:2"));
    for (n, prompt) in ["a", "b", "c"].iter().enumerate() {
        engine.submit(work(prompt, 4)).unwrap();
        at(&mut engine, 1000 * (n as u64 + 1));
    }
    assert_eq!(engine.published().generation_tokens, 4);
    assert_eq!(engine.truth().total.output_tokens, 12);
}

#[test]
fn a_restart_is_a_reset_that_dates_itself() {
    let mut engine = Engine::new(&with("restart:1"));
    engine.submit(work("a", 4)).unwrap();
    at(&mut engine, 1000);
    let counters = engine.published();
    assert_eq!(counters.generation_tokens, 0);
    assert_eq!(counters.began_at, Tick::from_millis(131));
}

#[test]
fn foreign_requests_are_counted_like_any_and_in_the_truth_apart() {
    let foreign = ServerConfig { max_batch: 64, ..with("foreign-traffic:5") };
    let mut engine = Engine::new(&foreign);
    let mut often = Engine::new(&foreign);
    engine.submit(work("a b", 4)).unwrap();
    often.submit(work("a b", 4)).unwrap();
    at(&mut engine, 20_000);
    for ms in 0..20_000 {
        at(&mut often, ms);
    }
    at(&mut often, 20_000);
    // When it is looked at changes nothing.
    assert_eq!(engine.truth(), often.truth());
    assert_eq!(engine.published(), often.published());
    let truth = engine.truth();
    assert_eq!(truth.total.finished, 1);
    assert!((50..150).contains(&truth.foreign.received), "{}", truth.foreign.received);
    let counters = engine.published();
    assert_eq!(counters.e2e.count(), 1 + truth.foreign.finished);
    assert_eq!(counters.prompt_tokens, 2 + truth.foreign.prompt_tokens);
    assert_eq!(counters.generation_tokens, 4 + truth.foreign.output_tokens);
    let left = truth.foreign.finished + truth.foreign.in_flight + truth.foreign.rejected;
    assert_eq!(truth.foreign.received, left);
    // They take power: alone, the one request would have taken 131 ms of it.
    let alone = 20.0 * 100.0 + 0.132 * 400.0 / 64.0;
    assert!(truth.gpus[0].energy_j > alone + 10.0, "{}", truth.gpus[0].energy_j);
}

#[test]
fn a_cached_prefix_shortens_the_prefill() {
    let mut engine = Engine::new(&config());
    let prompt = vec!["w"; 40].join(" ");
    engine.submit(work(&prompt, 1)).unwrap();
    at(&mut engine, 1000);
    engine.submit(work(&prompt, 1)).unwrap();
    at(&mut engine, 2000);
    let counters = engine.published();
    assert_eq!((counters.cache_queries, counters.cache_hits), (80, 32));
    assert_eq!(counters.prefill.sum(), 0.140 + 0.108);
}

proptest! {
    /// However the calls fall, the same load gives the same books, and the books
    /// of the server and the truth agree.
    #[test]
    fn books_balance_and_do_not_depend_on_when_they_are_read(
        jobs in prop::collection::vec((0u64..400, 0u32..6, prop::option::of(0u64..300)), 1..20),
        reads in prop::collection::vec(0u64..5000, 0..20),
    ) {
        let config = ServerConfig { max_batch: 2, queue_limit: 99, jitter: 0.5, ..config() };
        let run = |reads: &[u64]| {
            let mut engine = Engine::new(&config);
            let mut events: Vec<(u64, usize, Option<usize>)> =
                reads.iter().map(|ms| (*ms, 0, None)).collect();
            for (n, (arrive, _, leave)) in jobs.iter().enumerate() {
                events.push((*arrive, 1, Some(n)));
                events.extend(leave.map(|after| (arrive + after, 2, Some(n))));
            }
            events.sort_unstable();
            let mut ids = BTreeMap::new();
            for (ms, kind, job) in events {
                at(&mut engine, ms);
                let Some(job) = job else { continue };
                if kind == 1 {
                    let phase = engine.receive(Some("p"), Some("x"));
                    let output = jobs[job].1;
                    let work = Work { phase, ..work(&format!("job {job}"), output) };
                    ids.insert(job, engine.submit(work).unwrap());
                } else {
                    engine.release(ids[&job], Finish::Abort);
                }
            }
            at(&mut engine, 100_000);
            engine
        };
        let mut unread = run(&[]);
        let mut read = run(&reads);
        prop_assert_eq!(read.truth(), unread.truth());
        prop_assert_eq!(read.published(), unread.published());
        let truth = read.truth();
        let total = truth.total;
        prop_assert_eq!(&truth.phases["p"].finished, &total.finished);
        prop_assert_eq!(total.received, jobs.len() as u64);
        prop_assert_eq!(total.received, total.finished + total.aborted);
        prop_assert_eq!((total.in_flight, read.running(), read.waiting()), (0, 0, 0));
        let counters = read.published();
        prop_assert_eq!(counters.prompt_tokens, total.prompt_tokens);
        prop_assert_eq!(counters.generation_tokens, total.output_tokens);
        prop_assert_eq!(counters.e2e.count(), total.finished);
        prop_assert_eq!(counters.success, [0, total.finished, total.aborted, 0]);
    }
}
