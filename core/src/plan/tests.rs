//! What a plan refuses, and with what words.

use super::*;

fn spec(name: &str) -> PhaseSpec {
    let mut spec = PhaseSpec::new(name, PhaseKind::Profiling);
    spec.concurrency = Some(1);
    spec.requests = Some(1);
    spec
}

fn error(phases: Vec<PhaseSpec>) -> String {
    match RunPlan::new(0, phases, GatePlan::default(), Limits::default()) {
        Ok(_) => "no error".to_owned(),
        Err(error) => error.to_string(),
    }
}

fn with(change: impl Fn(&mut PhaseSpec)) -> Vec<PhaseSpec> {
    let mut spec = spec("a");
    change(&mut spec);
    vec![spec]
}

#[test]
fn a_plan_that_was_tampered_with_cannot_be_read() {
    let plan = RunPlan::new(3, vec![spec("a")], GatePlan::default(), Limits::default());
    let json = serde_json::to_string(&plan.clone().unwrap()).unwrap();
    assert_eq!(serde_json::from_str(&json).ok(), plan.ok());
    let error = |from: &str, to: &str| {
        let text = json.replacen(from, to, 1);
        assert_ne!(text, json, "{from} is not there");
        serde_json::from_str::<RunPlan>(&text).map_err(|e| e.to_string()).unwrap_err()
    };
    assert!(error("\"concurrency\":1", "\"concurrency\":0").contains("concurrency: is 0"));
    assert!(error("\"name\":\"a\"", "\"name\":\"b\"").contains("phases[0]: is not what"));
    assert!(error("\"seed\":3", "\"seed\":4").contains("phases[0]: is not what"));
    assert!(error("\"requests\":1", "\"requests\":0").contains("requests: is 0"));
}

#[test]
fn each_contradiction_is_one_error_that_names_key_and_remedy() {
    let inf = |s: &mut PhaseSpec| {
        s.request_rate = Some(f64::INFINITY);
        s.concurrency = None;
        s.requests = None;
        s.duration = Some(Duration::from_secs(1));
    };
    let errors = [
        error(vec![]),
        error(vec![spec("a"), spec("a")]),
        error(with(|s| s.seamless = true)),
        error(with(|s| s.name.clear())),
        error(with(|s| s.requests = None)),
        error(with(|s| s.requests = Some(0))),
        error(with(|s| s.duration = Some(Duration::ZERO))),
        error(with(|s| s.concurrency = Some(0))),
        error(with(|s| s.concurrency = None)),
        error(with(|s| s.request_rate = Some(-1.0))),
        error(with(|s| s.arrival = Some(ArrivalProcess::Poisson))),
        error(with(inf)),
    ];
    insta::assert_snapshot!(errors.join("\n"));
}

#[test]
fn what_is_allowed_goes_up_to_and_includes_its_bound() {
    let many = |n: usize| (0..n).map(|i| spec(&format!("{i}"))).collect::<Vec<_>>();
    let fine = "no error";
    for (phases, begins) in [
        (many(MAX_PHASES), fine),
        (many(MAX_PHASES + 1), "phases: has 10001 phases"),
        (with(|s| s.requests = Some(MAX_REQUESTS)), fine),
        (with(|s| s.requests = Some(MAX_REQUESTS + 1)), "phases[0].requests: is too many"),
        (vec![staged(&vec![(1.0, false, 1); MAX_STAGES])], fine),
    ] {
        assert!(error(phases).starts_with(begins), "{begins}");
    }
    let of = |shape| {
        error(with(|s| {
            (s.request_rate, s.arrival) = (Some(1.0), Some(ArrivalProcess::Gamma { shape }));
        }))
    };
    assert_eq!(of(0.5), fine);
    for shape in [0.0, -1.0, f64::INFINITY, f64::NAN] {
        assert!(of(shape).starts_with("phases[0].burstiness: "), "{shape}");
    }
    let gate = |timeout, settle_timeout| {
        let gate = GatePlan { enabled: true, timeout, settle_timeout };
        RunPlan::new(0, vec![spec("a")], gate, Limits::default()).is_ok()
    };
    let second = Duration::from_secs(1);
    assert!(gate(second, second) && !gate(Duration::ZERO, Duration::ZERO));
}

#[test]
fn a_plan_gives_back_what_it_was_made_of() {
    let gate = GatePlan { timeout: Duration::from_secs(9), ..GatePlan::default() };
    let limits = Limits { heartbeat_misses: 7, ..Limits::default() };
    let inputs = Inputs { items: Some(3), ..Inputs::default() };
    let plan = RunPlan::with_inputs(12, vec![spec("a")], gate, limits, inputs.clone()).unwrap();
    assert_eq!((plan.seed(), plan.gate(), plan.limits()), (12, &gate, &limits));
    assert_eq!((plan.inputs(), plan.search()), (&inputs, None));
    // What is not given is not written.
    let bare = RunPlan::new(12, vec![spec("a")], gate, limits).unwrap();
    let written = |plan: &RunPlan| serde_json::to_value(plan).unwrap().get("inputs").is_some();
    assert!(written(&plan) && !written(&bare));
}

#[test]
fn a_phase_without_gates_needs_no_time_for_them_unless_it_is_idle() {
    let gate = GatePlan { enabled: false, timeout: Duration::ZERO, settle_timeout: Duration::ZERO };
    assert!(RunPlan::new(0, vec![spec("a")], gate, Limits::default()).is_ok());
}

#[test]
fn a_phase_with_a_duration_has_thirty_seconds_of_grace_unless_told() {
    let phases = with(|s| s.duration = Some(Duration::from_secs(1)));
    let plan = RunPlan::new(0, phases, GatePlan::default(), Limits::default());
    assert_eq!(plan.map(|p| p.phases()[0].grace), Ok(Some(DEFAULT_GRACE)));
    let plan = RunPlan::new(0, vec![spec("a")], GatePlan::default(), Limits::default());
    assert_eq!(plan.map(|p| p.phases()[0].grace), Ok(None));
}

#[test]
fn settling_is_part_of_the_gates_time() {
    let gate = GatePlan { timeout: Duration::from_secs(1), ..GatePlan::default() };
    let plan = RunPlan::new(0, vec![spec("a")], gate, Limits::default());
    assert!(plan.is_err_and(|e| e.path == "gate.settle_timeout"));
}

#[test]
fn silence_is_always_looked_for() {
    let limits = Limits { heartbeat_misses: 0, ..Limits::default() };
    let plan = RunPlan::new(0, vec![spec("a")], GatePlan::default(), limits);
    assert_eq!(
        plan.map_err(|e| e.to_string()),
        Err("limits.heartbeat_misses: is 0; give at least 1: without it nobody finds out that \
             a service is gone"
            .to_owned())
    );
}

fn staged(stages: &[(f64, bool, u64)]) -> PhaseSpec {
    let mut spec = PhaseSpec::new("a", PhaseKind::Profiling);
    let stage = |(rate, linear, seconds): &(f64, bool, u64)| Stage {
        rate: *rate,
        linear: *linear,
        length: Duration::from_secs(*seconds),
    };
    spec.stages = stages.iter().map(stage).collect();
    spec
}

#[test]
fn stages_give_the_phase_its_end_and_its_highest_rate() {
    let spec = staged(&[(5.0, true, 10), (20.0, false, 3), (0.0, true, 2)]);
    let plan = RunPlan::new(0, vec![spec], GatePlan::default(), Limits::default()).unwrap();
    let phase = &plan.phases()[0];
    assert_eq!(phase.stop, Stop::Duration(Duration::from_secs(15)));
    assert!(matches!(phase.arrival, Arrival::Rate { rate: 20.0, .. }), "{:?}", phase.arrival);
    assert_eq!(phase.grace, Some(DEFAULT_GRACE));
}

#[test]
fn a_plan_with_all_that_varies_comes_back_from_json() {
    let mut spec = staged(&[(1.0 / 3.0, true, 10), (20.0, false, 3)]);
    spec.cancellation = Some(Cancellation { share: 0.1, delay: Duration::from_millis(250) });
    spec.max_error_rate = Some(0.05);
    spec.requests = Some(7);
    let plan = RunPlan::new(3, vec![spec], GatePlan::default(), Limits::default()).unwrap();
    let json = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<RunPlan>(&json).unwrap(), plan);
}

#[test]
fn each_contradiction_of_what_varies_names_key_and_remedy() {
    let with = |change: &dyn Fn(&mut PhaseSpec)| {
        let mut spec = staged(&[(5.0, false, 10)]);
        change(&mut spec);
        error(vec![spec])
    };
    let errors = [
        with(&|s| s.request_rate = Some(1.0)),
        with(&|s| s.duration = Some(Duration::from_secs(1))),
        with(&|s| s.ramp = Some(Duration::from_secs(1))),
        with(&|s| s.stages[0].rate = f64::INFINITY),
        with(&|s| s.stages[0].rate = 0.0),
        with(&|s| s.stages[0].length = Duration::ZERO),
        with(&|s| s.stages = vec![s.stages[0]; MAX_STAGES + 1]),
        with(&|s| s.cancellation = Some(Cancellation { share: 1.5, delay: Duration::ZERO })),
        with(&|s| s.max_error_rate = Some(f64::NAN)),
    ];
    insta::assert_snapshot!(errors.join("\n"));
}

fn with_idle(mut phases: Vec<PhaseSpec>) -> Vec<PhaseSpec> {
    phases.insert(0, PhaseSpec::idle("idle", Duration::from_secs(1)));
    phases
}

#[test]
fn an_idle_phase_sends_nothing_and_has_nothing_but_a_duration() {
    let phases = with_idle(vec![spec("a")]);
    let plan = RunPlan::new(0, phases, GatePlan::default(), Limits::default()).unwrap();
    assert_eq!(plan.phases()[0].arrival, Arrival::Concurrency { concurrency: 0 });
    let text = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<RunPlan>(&text).unwrap(), plan);
    let loads: [fn(&mut PhaseSpec); 5] = [
        |s| s.concurrency = Some(1),
        |s| s.request_rate = Some(1.0),
        |s| s.arrival = Some(ArrivalProcess::Poisson),
        |s| s.requests = Some(1),
        |s| s.seamless = true,
    ];
    for (place, load) in loads.iter().enumerate() {
        let mut loaded = vec![spec("a"), PhaseSpec::idle("idle", Duration::from_secs(1))];
        load(&mut loaded[1]);
        assert!(error(loaded).starts_with("phases[1].kind: "), "{place}");
    }
    let mut endless = with_idle(vec![spec("a")]);
    endless[0].duration = None;
    assert!(error(endless).starts_with("phases[0].requests: "));
}

#[test]
fn idle_phases_need_gates_and_load_to_be_compared_with() {
    assert_eq!(error(with_idle(vec![])), "phases: all are idle; give at least one phase with load");
    let mut seamless = with_idle(vec![spec("a")]);
    seamless[1].seamless = true;
    assert!(error(seamless).starts_with("phases[1].seamless: the phase before it is idle"));
    let gate = GatePlan { enabled: false, ..GatePlan::default() };
    let plan = RunPlan::new(0, with_idle(vec![spec("a")]), gate, Limits::default());
    assert!(plan.is_err_and(|e| e.path == "idle_baseline"));
}
