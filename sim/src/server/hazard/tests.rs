use super::*;
use proptest::prelude::*;

fn parse(text: &str) -> Result<Hazard, HazardError> {
    text.parse()
}

#[test]
fn every_known_form_parses_and_its_text_parses_to_the_same() {
    for (form, _) in Hazard::KNOWN {
        let form = form.replace("gpu-…", "gpu-hang").replace("NNN", "429").replace(":N", ":4");
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
        ] {
            prop_assert_eq!(parse(&hazard.to_string()), Ok(hazard));
        }
    }
}
