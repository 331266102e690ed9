use super::*;
use proptest::prelude::*;

fn parse(text: &str) -> Result<Hazard, HazardError> {
    text.parse()
}

#[test]
fn every_known_form_parses_and_its_text_parses_to_the_same() {
    for (form, _) in Hazard::KNOWN {
        let form =
            form.replace("gpu-…", "gpu-jitter:1ms-2ms").replace("NNN", "429").replace(":N", ":4");
        // With its optional argument, and without.
        let bare: String = form.split('[').next().unwrap_or_default().to_owned();
        for text in [form.replace(['[', ']'], ""), bare] {
            let hazard = parse(&text).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(parse(&hazard.to_string()), Ok(hazard), "{text}");
        }
    }
}

#[test]
fn arguments_are_a_value_and_keys() {
    let every = NonZeroU64::new(2).unwrap();
    let stall = Hazard::Api { fault: ApiFault::StallMidStream(4), every };
    assert_eq!(parse("stall-mid-stream:4,every=2"), Ok(stall.clone()));
    assert_eq!(parse("stall-mid-stream:every=2,after=4"), Ok(stall));
    let huge = Hazard::Exporter {
        exporter: Exporter::Gpu,
        fault: ExporterFault::Huge(200_000_000),
        every: NonZeroU64::MIN,
    };
    assert_eq!(parse("gpu-huge:200MB"), Ok(huge.clone()));
    assert_eq!(huge.to_string(), "gpu-huge:200MB");
    assert_eq!(
        parse("not-ready:3s"),
        Ok(Hazard::NotReady { lasting: Some(Duration::from_secs(3)) })
    );
    assert_eq!(parse("not-ready"), Ok(Hazard::NotReady { lasting: None }));
}

#[test]
fn a_wrong_text_is_one_error_that_says_what_is_right() {
    for (text, says) in [
        ("metrics-hnag", "known are metrics-hang"),
        ("", "known are"),
        ("status-200", "400 to 599"),
        ("status-x", "whole number"),
        ("metrics-delay:2parsecs", "`500ms`"),
        ("metrics-huge:lots", "`200MB`"),
        ("metrics-trickle:0", "hang"),
        ("metrics-die-after", "needs a count"),
        ("metrics-die-after:2,every=2", "no argument `every`"),
        ("crlf:5", "no value `5`"),
        ("crlf:", "empty"),
        ("crlf:every=0", "at least 1"),
        ("crlf:every=1,every=2", "twice"),
        ("stall-mid-stream:1,2", "one value"),
        ("reset-counters:0", "at least 1"),
        ("big-event:9GB", "at most"),
        ("metrics-delay:99999999999999999999s", "no time"),
        ("publish-delay:0.0000000001s", "no time"),
        ("publish-delay:1.s", "no time"),
        ("publish-delay:1s,of=gauges", "`of=tokens`"),
        ("metrics-jitter:50ms", "`50ms-400ms`"),
        ("metrics-jitter:400ms-50ms", "shorter time first"),
        ("foreign-traffic:0", "from 0.001 to 1000"),
        ("foreign-traffic:-1", "from 0.001 to 1000"),
        ("foreign-traffic:lots", "requests a second"),
        ("replicas:65", "at most 64"),
        ("replicas", "needs a count"),
        ("idle-drift:1e9", "-1000 to 1000"),
        ("idle-drift:NaN", "watts a second"),
        ("restart:0", "at least 1"),
    ] {
        let error = parse(text).expect_err(text).to_string();
        assert!(error.contains(says), "{error}");
        assert!(error.contains(&format!("`{text}`")), "{error}");
    }
}

#[test]
fn every_k_strikes_the_kth_and_its_multiples() {
    let hazards = [parse("status-429:every=3").unwrap()];
    let struck: Vec<u64> =
        (1..=9).filter(|nth| request_faults(&hazards, *nth).status.is_some()).collect();
    assert_eq!(struck, [3, 6, 9]);
}

#[test]
fn a_dead_exporter_stays_dead_and_the_other_lives() {
    let hazards = [parse("gpu-die-after:2").unwrap()];
    let dead = |of, nth| scrape_faults(&hazards, of, nth).next().is_some();
    assert_eq!(
        (1..=4).map(|nth| dead(Exporter::Gpu, nth)).collect::<Vec<_>>(),
        [false, false, true, true]
    );
    assert!(!dead(Exporter::Server, 9));
}

#[test]
fn a_fraction_of_a_unit_is_exact() {
    assert_eq!(
        parse("publish-delay:1.5s,of=tokens"),
        Ok(Hazard::PublishDelay {
            delay: Duration::from_millis(1500),
            of: Some(Published::Tokens)
        })
    );
    assert_eq!(parse("energy-tick:0.1ms"), Ok(Hazard::EnergyTick(Duration::from_micros(100))));
    let rate = NonZeroU64::new(500).unwrap();
    assert_eq!(parse("foreign-traffic:0.5"), Ok(Hazard::ForeignTraffic(rate)));
    assert_eq!(Hazard::ForeignTraffic(rate).to_string(), "foreign-traffic:0.5");
    assert_eq!(parse("idle-drift:-0.25"), Ok(Hazard::IdleDrift(-250)));
}

#[test]
fn a_publish_delay_of_one_group_leaves_the_other_to_the_configuration() {
    let faults = engine_faults(&[parse("publish-delay:2s,of=tokens").unwrap()]);
    assert_eq!((faults.requests_lag, faults.tokens_lag), (None, Some(Duration::from_secs(2))));
    let faults = engine_faults(&[parse("publish-delay:2s").unwrap()]);
    assert_eq!(faults.requests_lag, faults.tokens_lag);
}

#[test]
fn what_a_hazard_says_of_the_gpus_is_written_into_the_configuration() {
    let texts = ["energy-tick:10ms", "gpu-refresh:1s", "gpu-frozen:3s", "idle-drift:-2.5"];
    let hazards = texts.map(|text| parse(text).unwrap()).to_vec();
    let mut config = ServerConfig { hazards, ..ServerConfig::default() };
    apply_to(&mut config);
    assert_eq!(config.energy_tick, Duration::from_millis(10));
    assert_eq!(config.gpu_refresh, Duration::from_secs(1));
    assert_eq!(config.gpu_frozen_after, Some(Duration::from_secs(3)));
    assert_eq!(config.idle_drift_w_per_s, -2.5);
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,40}") {
        let _ = parse(&text);
    }

    #[test]
    fn sizes_and_times_round_trip(bytes in 0u64..=64 << 20, ns in any::<u64>(), k in 1u64..100) {
        let every = NonZeroU64::new(k).unwrap();
        for hazard in [
            Hazard::Api { fault: ApiFault::BigEvent(bytes), every },
            Hazard::Api { fault: ApiFault::SlowFirstByte(Duration::from_nanos(ns)), every },
            Hazard::IdleDrift((ns % 2_000_001) as i64 - 1_000_000),
            Hazard::ForeignTraffic(NonZeroU64::new(ns % 1_000_000 + 1).unwrap()),
        ] {
            prop_assert_eq!(parse(&hazard.to_string()), Ok(hazard));
        }
    }
}
