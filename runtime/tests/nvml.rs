//! The NVML source through the real C interface, against a stub library.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod nvml_stub;

use std::path::PathBuf;
use std::time::Duration;

use nvml_stub::Stub;
use phasegate_core::Tick;
use phasegate_core::message::{CollectError, CollectErrorKind};
use phasegate_core::reading::{GpuEvent, GpuEventKind, GpuSample, PowerKind, ReadingBody};
use phasegate_runtime::clock::Clock;
use phasegate_runtime::telemetry::nvml::NvmlSource;
use phasegate_runtime::telemetry::{Source, Taken};

fn open(stub: &Stub) -> Result<NvmlSource, String> {
    NvmlSource::open(Some(stub.path()), Clock::start())
}

async fn read(source: &NvmlSource) -> Result<Vec<GpuSample>, CollectError> {
    read_within(source, 0).await.map(|gpus| {
        // They are asked for now and then.
        gpus.into_iter().map(|gpu| GpuSample { processes: None, ..gpu }).collect()
    })
}

async fn read_within(source: &NvmlSource, ms: u64) -> Result<Vec<GpuSample>, CollectError> {
    source.read_within(Duration::from_millis(ms)).await.body.map(|body| match body {
        ReadingBody::Gpus(gpus) => gpus,
        other @ (ReadingBody::Families(_) | ReadingBody::Error(_)) => panic!("{other:?}"),
    })
}

fn uuid(index: u32) -> String {
    format!("GPU-00000000-0000-0000-0000-{index:012}")
}

fn full(index: u32) -> GpuSample {
    GpuSample {
        uuid: uuid(index),
        index: Some(index),
        name: Some("Stub GPU".into()),
        energy_mj: Some(5_000_000_000),
        power_mw: Some(301_000),
        power_kind: Some(PowerKind::Momentary),
        power_limit_mw: Some(700_000),
        utilization_pct: Some(87.0),
        memory_used_mib: Some(12_288.0),
        memory_total_mib: Some(81_920.0),
        temperature_c: Some(54.0),
        sm_clock_mhz: Some(1980.0),
        memory_clock_mhz: Some(2619.0),
        ecc_uncorrected: Some(0),
        ..GpuSample::default()
    }
}

/// What is read where there is no instantaneous power.
fn averaged() -> GpuSample {
    GpuSample { power_mw: Some(290_000), power_kind: Some(PowerKind::Averaged), ..full(0) }
}

const BASE: &str = "gpus=2\nenergy_mj=5000000000\npower_mw=290000\ninstant_mw=301000\n";

#[tokio::test]
async fn every_gpu_is_read_in_full() {
    let Some(stub) = Stub::build(&[]) else { return };
    stub.control(BASE);
    let source = open(&stub).unwrap();
    assert_eq!(source.name(), "nvml");
    assert_eq!(source.gpus().len(), 2);
    let clock_before = source.read().await;
    let taken = source.read().await;
    // Processes are asked for once a second.
    assert_eq!(taken.body, Ok(ReadingBody::Gpus(vec![full(0), full(1)])));
    assert!(clock_before.end <= taken.start && taken.start <= taken.end);
    assert_eq!(taken.first_byte, None);
}

#[tokio::test]
async fn the_energy_counter_grows_with_time() {
    let Some(stub) = Stub::build(&[]) else { return };
    stub.control("power_mw=1000000000\n");
    let source = open(&stub).unwrap();
    let before = read(&source).await.unwrap()[0].energy_mj.unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert!(read(&source).await.unwrap()[0].energy_mj.unwrap() > before);
}

/// Holds each value of the stub's energy counter against what the stub's clock
/// says of it: 250 W from the moment it was initialised, published every `tick`.
fn published_at(mj: u64, initialised: Tick) -> Tick {
    Tick(initialised.0 + mj * 1_000_000_000 / 250_000)
}

#[tokio::test]
async fn a_boundary_reading_waits_for_the_counter_to_step_and_says_when_it_did() {
    let Some(stub) = Stub::build(&[]) else { return };
    for tick_ms in [1_u64, 10, 50] {
        stub.control(&format!("gpus=2\ntick_ms={tick_ms}\n"));
        let clock = Clock::start();
        let before = clock.now();
        let source = NvmlSource::open(Some(stub.path()), clock).unwrap();
        let after = clock.now();
        for round in 0..5 {
            for gpu in read_within(&source, 10_000).await.unwrap() {
                let (from, to) = (gpu.energy_from.unwrap(), gpu.energy_to.unwrap());
                let mj = gpu.energy_mj.unwrap();
                // The stub began to count somewhere between the two.
                let (earliest, latest) = (published_at(mj, before), published_at(mj, after));
                assert!(from <= latest && earliest <= to, "{round}: {from:?} {earliest:?} {to:?}");
                // However slow the machine is, the longest step is no shorter than
                // the stub's.
                assert!(gpu.energy_tick_ns.unwrap() >= tick_ms * 1_000_000);
            }
        }
        // Without waiting it is known to within a step.
        for gpu in read(&source).await.unwrap() {
            let (from, to) = (gpu.energy_from.unwrap(), gpu.energy_to.unwrap());
            let mj = gpu.energy_mj.unwrap();
            assert!(from <= published_at(mj, after) && published_at(mj, before) <= to);
            assert!(to.since(from) >= Duration::from_millis(tick_ms));
        }
    }
}

#[tokio::test]
async fn a_counter_that_never_steps_holds_a_reading_up_no_longer_than_told() {
    let Some(stub) = Stub::build(&[]) else { return };
    stub.control(BASE);
    let source = open(&stub).unwrap();
    let gpus = read_within(&source, 20).await.unwrap();
    assert_eq!(gpus[0].energy_mj, Some(5_000_000_000));
    assert_eq!((gpus[0].energy_from, gpus[0].energy_to), (None, None));
    assert_eq!(gpus[0].energy_tick_ns, None);
}

#[tokio::test]
async fn an_abandoned_reading_stops_waiting_for_a_step() {
    let Some(stub) = Stub::build(&[]) else { return };
    stub.control(BASE);
    let source = open(&stub).unwrap();
    let hour = Duration::from_secs(3600);
    assert!(
        tokio::time::timeout(Duration::from_millis(50), source.read_within(hour)).await.is_err()
    );
    // It would never come to this one.
    assert_eq!(read(&source).await, Ok(vec![full(0), full(1)]));
}

#[tokio::test]
async fn throttling_errors_and_processes_are_read() {
    let Some(stub) = Stub::build(&[]) else { return };
    // Idle (1), power cap (4) and thermal slowdown (64).
    stub.control(&format!("{BASE}throttle=69\necc=3\npids=2\n"));
    let source = open(&stub).unwrap();
    let gpu = read_within(&source, 1).await.unwrap().remove(0);
    assert_eq!(gpu.throttle, ["SW_POWER_CAP", "HW_THERMAL_SLOWDOWN"]);
    assert_eq!(gpu.ecc_uncorrected, Some(3));
    assert_eq!(gpu.processes, Some(vec![1000, 1001]));
}

/// A reading's events without their times, which are looked at on the way.
async fn events(source: &NvmlSource, clock: &Clock) -> Vec<(String, GpuEventKind)> {
    let taken = source.read().await;
    let event = |GpuEvent { uuid, from, to, what }| {
        assert!(from < to && to <= taken.end && taken.end <= clock.now(), "{from:?} {to:?}");
        (uuid, what)
    };
    taken.gpu_events.into_iter().map(event).collect()
}

fn xid(number: u64, count: u64) -> GpuEventKind {
    GpuEventKind::Xid { number: Some(number), count }
}

#[tokio::test]
async fn an_xid_lies_between_the_reading_before_it_and_the_one_that_shows_it() {
    let Some(stub) = Stub::build(&[]) else { return };
    // Those from before the source was opened are nobody's.
    stub.control(&format!("{BASE}events=5\n"));
    let clock = Clock::start();
    let source = NvmlSource::open(Some(stub.path()), clock).unwrap();
    assert_eq!(source.xids_unseen(), None);
    let before = source.read().await;
    assert_eq!(before.gpu_events, []);
    stub.control(&format!("{BASE}events=5\nevents_1=6\nxid=31\n"));
    let happened = clock.now();
    let shows = source.read().await;
    let [event] = shows.gpu_events.as_slice() else { panic!("{:?}", shows.gpu_events) };
    assert_eq!((event.uuid.as_str(), &event.what), (uuid(1).as_str(), &xid(31, 1)));
    assert!(before.start <= event.from && event.from <= happened, "{event:?}");
    assert!(happened <= event.to && event.to <= shows.end, "{event:?}");
    assert_eq!(events(&source, &clock).await, [], "it is told once");
    drop(source);
    while stub.log().last().is_none_or(|last| last != "shutdown") {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(stub.log(), ["init", "shutdown"], "nothing was waited for, every set was freed");
}

#[tokio::test]
async fn double_bit_ecc_errors_and_unknown_numbers_are_told_apart_from_xids() {
    let Some(stub) = Stub::build(&[]) else { return };
    let clock = Clock::start();
    let source = NvmlSource::open(Some(stub.path()), clock).unwrap();
    stub.control("events=2\nevent_type=2\n");
    assert_eq!(events(&source, &clock).await, [(uuid(0), GpuEventKind::DoubleBitEcc { count: 2 })]);
    stub.control("events=3\nxid=999\n");
    let unknown = GpuEventKind::Xid { number: None, count: 1 };
    assert_eq!(events(&source, &clock).await, [(uuid(0), unknown)]);
}

#[tokio::test]
async fn a_flood_of_events_is_told_in_a_few_lines_and_over_several_readings() {
    let Some(stub) = Stub::build(&[]) else { return };
    let clock = Clock::start();
    let source = NvmlSource::open(Some(stub.path()), clock).unwrap();
    stub.control("events=600\nxid_step=1\n");
    let mut readings = Vec::new();
    loop {
        let taken = source.read().await;
        if taken.gpu_events.is_empty() {
            break;
        }
        readings.push(taken);
    }
    let counts = readings.iter().map(|taken| {
        assert!(taken.gpu_events.len() <= 9, "{:?}", taken.gpu_events);
        let count = |event: &GpuEvent| match event.what {
            GpuEventKind::Xid { count, .. } => count,
            GpuEventKind::DoubleBitEcc { .. } | GpuEventKind::Unseen { .. } => 0,
        };
        taken.gpu_events.iter().map(count).sum()
    });
    assert_eq!(counts.collect::<Vec<u64>>(), [256, 256, 88]);
    // What was left over may be as old as what was not.
    let from = |taken: &Taken| taken.gpu_events[0].from;
    assert!(readings.iter().all(|taken| from(taken) == from(&readings[0])));
}

#[tokio::test]
async fn an_abandoned_reading_takes_no_event_with_it() {
    let Some(stub) = Stub::build(&[]) else { return };
    let clock = Clock::start();
    stub.control(BASE);
    let source = NvmlSource::open(Some(stub.path()), clock).unwrap();
    stub.control(&format!("{BASE}events_0=1\n"));
    let hour = Duration::from_secs(3600);
    let abandoned = tokio::time::timeout(Duration::from_millis(50), source.read_within(hour));
    assert!(abandoned.await.is_err());
    assert_eq!(events(&source, &clock).await, [(uuid(0), xid(79, 1))]);
}

#[tokio::test]
async fn a_reading_that_fails_carries_the_xid_that_explains_it() {
    let Some(stub) = Stub::build(&[]) else { return };
    let clock = Clock::start();
    let source = NvmlSource::open(Some(stub.path()), clock).unwrap();
    assert_eq!(events(&source, &clock).await, []);
    stub.control("lost=0\nevents=1\n");
    let taken = source.read().await;
    assert_eq!(taken.body.unwrap_err().kind, CollectErrorKind::Lost);
    let whats: Vec<_> = taken.gpu_events.iter().map(|event| &event.what).collect();
    let [first, GpuEventKind::Unseen { reason }] = whats.as_slice() else { panic!("{whats:?}") };
    assert_eq!(**first, xid(79, 1));
    assert!(reason.contains("fell off the bus"), "{reason}");
    // Of this GPU nothing more is asked.
    stub.control("events=2\n");
    assert_eq!(events(&source, &clock).await, []);
}

#[tokio::test]
async fn where_events_cannot_be_seen_the_reason_is_said_and_the_rest_is_read() {
    let cases: [(&[&str], &str, &str); 7] = [
        (&[], "code_event_types=3", "XID events cannot be seen: "),
        (&[], "event_types=3", "XID events cannot be seen: this GPU or its driver does not"),
        (&[], "code_set=999", "XID events cannot be seen: "),
        (&[], "code_register=3", "XID events cannot be seen: "),
        (&[], "code_wait=3", "XID events cannot be seen: "),
        (&["-DWITHOUT_EVENTS"], "", "nvmlDeviceGetSupportedEventTypes"),
        (&["-DWITHOUT_WAIT"], "", "nvmlEventSetWait_v2"),
    ];
    for (defines, control, expected) in cases {
        let Some(stub) = Stub::build(defines) else { return };
        stub.control(&format!("{BASE}{control}\n"));
        let source = open(&stub).unwrap();
        let unseen = source.xids_unseen().unwrap();
        assert!(unseen.contains(expected) && !unseen.contains('\n'), "{control}: {unseen}");
        let taken = source.read().await;
        assert!(matches!(taken.body, Ok(ReadingBody::Gpus(gpus)) if gpus.len() == 2));
        let reason = unseen.strip_prefix("XID events cannot be seen: ").unwrap();
        for (index, event) in (0..).zip(&taken.gpu_events) {
            let what = GpuEventKind::Unseen { reason: reason.to_owned() };
            assert_eq!((&event.uuid, event.from, &event.what), (&uuid(index), Tick::ZERO, &what));
        }
        assert_eq!(taken.gpu_events.len(), 2);
        assert_eq!(source.read().await.gpu_events, [], "it is said once");
        drop(source);
        while stub.log().last().is_none_or(|last| last != "shutdown") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(stub.log(), ["init", "shutdown"], "{control}");
    }
}

#[tokio::test]
async fn a_field_that_a_gpu_lacks_is_none() {
    let Some(stub) = Stub::build(&[]) else { return };
    stub.control(BASE);
    let source = open(&stub).unwrap();
    let cases: [(&str, GpuSample); 7] = [
        ("energy", GpuSample { energy_mj: None, ..full(0) }),
        ("utilization", GpuSample { utilization_pct: None, ..full(0) }),
        ("memory", GpuSample { memory_used_mib: None, memory_total_mib: None, ..full(0) }),
        ("temperature", GpuSample { temperature_c: None, ..full(0) }),
        ("clock", GpuSample { sm_clock_mhz: None, memory_clock_mhz: None, ..full(0) }),
        ("power", full(0)),
        ("instant", averaged()),
    ];
    for (function, expected) in cases {
        stub.control(&format!("{BASE}code_{function}=3\n"));
        assert_eq!(read(&source).await.unwrap()[0], expected, "{function}");
    }
    stub.control(&format!("{BASE}code_power=3\ncode_fields=3\n"));
    assert_eq!(read(&source).await.unwrap()[0].power_mw, None);
}

#[tokio::test]
async fn instantaneous_power_falls_back_to_average_power_whatever_goes_wrong() {
    let Some(stub) = Stub::build(&[]) else { return };
    // Before it is opened: steps of a counter that runs are measured then.
    stub.control(BASE);
    let source = open(&stub).unwrap();
    for code in ["code_instant=2", "code_fields=13", "code_instant=999", "code_fields=4711"] {
        stub.control(&format!("{BASE}{code}\n"));
        let expected = averaged();
        assert_eq!(read(&source).await.unwrap()[0], expected, "{code}");
    }
}

#[tokio::test]
async fn a_gpu_lost_mid_run_fails_the_reading_and_is_named() {
    let Some(stub) = Stub::build(&[]) else { return };
    stub.control(BASE);
    let source = open(&stub).unwrap();
    assert_eq!(read(&source).await.unwrap().len(), 2);
    stub.control(&format!("{BASE}lost=1\n"));
    let error = read(&source).await.unwrap_err();
    assert_eq!(error.kind, CollectErrorKind::Lost);
    assert!(error.message.starts_with(&format!("GPU 1 ({}) is lost", uuid(1))), "{error}");
    stub.control(BASE);
    assert_eq!(read(&source).await.unwrap().len(), 2, "a GPU that is back is read again");
    for code in [6, 16, 28] {
        stub.control(&format!("{BASE}code_temperature={code}\n"));
        let error = read(&source).await.unwrap_err();
        assert_eq!(error.kind, CollectErrorKind::Lost, "{code}: {error}");
    }
}

#[tokio::test]
async fn an_unknown_code_fails_the_reading_only_where_energy_depends_on_it() {
    let Some(stub) = Stub::build(&[]) else { return };
    stub.control(BASE);
    let source = open(&stub).unwrap();
    stub.control(&format!("{BASE}code_temperature=4711\ncode_memory=999\n"));
    let expected =
        GpuSample { temperature_c: None, memory_used_mib: None, memory_total_mib: None, ..full(0) };
    assert_eq!(read(&source).await.unwrap()[0], expected);
    stub.control(&format!("{BASE}code_energy=4711\n"));
    let error = read(&source).await.unwrap_err();
    assert_eq!(error.kind, CollectErrorKind::Other);
    let expected =
        format!("cannot read energy of GPU 0 ({}): NVML returned the unknown code 4711", uuid(0));
    assert_eq!(error.message, expected);
}

#[tokio::test]
async fn a_missing_symbol_is_a_missing_field() {
    let Some(stub) = Stub::build(&["-DWITHOUT_ENERGY", "-DWITHOUT_MEMORY"]) else { return };
    stub.control(BASE);
    let source = open(&stub).unwrap();
    let expected =
        GpuSample { energy_mj: None, memory_used_mib: None, memory_total_mib: None, ..full(0) };
    assert_eq!(read(&source).await.unwrap()[0], expected);
}

#[test]
fn what_keeps_nvml_from_opening_is_said_in_one_sentence() {
    let clock = Clock::start();
    let missing = NvmlSource::open(Some(PathBuf::from("/nonexistent/libnvml.so")), clock);
    let missing = missing.unwrap_err();
    assert!(missing.starts_with("cannot use NVML from /nonexistent/libnvml.so: "), "{missing}");
    assert!(missing.contains("--gpu-telemetry"), "{missing}");

    let Some(stub) = Stub::build(&[]) else { return };
    let cases = [
        ("code_init=9", "NVIDIA driver is not loaded"),
        ("code_init=18", "version mismatch"),
        ("code_init=4711", "unknown code 4711"),
        ("code_count=999", "cannot count the GPUs"),
        ("gpus=0", "shows no GPU"),
        ("code_handle=4", "shows no GPU"),
        ("gpus=2\nlost=1", "cannot open GPU 1"),
        ("code_uuid=999", "cannot open GPU 0"),
    ];
    for (control, expected) in cases {
        stub.control(control);
        let error = open(&stub).unwrap_err();
        assert!(error.contains(expected), "{control}: {error}");
        assert!(error.contains(&stub.path().display().to_string()), "{control}: {error}");
        assert!(!error.contains('\n'), "{control}: {error}");
    }

    let Some(stub) = Stub::build(&["-DWITHOUT_COUNT"]) else { return };
    let error = open(&stub).unwrap_err();
    assert!(error.contains("nvmlDeviceGetCount_v2"), "{error}");
}

#[tokio::test]
async fn dropping_the_source_shuts_nvml_down() {
    let Some(stub) = Stub::build(&[]) else { return };
    let source = open(&stub).unwrap();
    assert_eq!(stub.log(), ["init"]);
    drop(source);
    // However long the machine takes; a thread that stays fails by the runner's
    // own limit.
    while stub.log() != ["init", "shutdown"] {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn an_abandoned_reading_does_not_hold_up_the_next_ones() {
    let Some(stub) = Stub::build(&[]) else { return };
    stub.control(BASE);
    let source = open(&stub).unwrap();
    stub.control(&format!("{BASE}sleep_ms=100\n"));
    for _ in 0..30 {
        // Polled once, so that it is asked for, then dropped.
        let mut reading = source.read();
        let once = std::future::poll_fn(|context| {
            std::task::Poll::Ready(reading.as_mut().poll(context).is_ready())
        });
        assert!(!once.await);
    }
    stub.control(BASE);
    assert_eq!(read(&source).await, Ok(vec![full(0), full(1)]));
}

#[tokio::test]
async fn readings_asked_for_together_are_all_answered() {
    let Some(stub) = Stub::build(&[]) else { return };
    stub.control(BASE);
    let source = open(&stub).unwrap();
    let (a, b, c) = tokio::join!(read(&source), read(&source), read(&source));
    assert!(a.is_ok() && b.is_ok() && c.is_ok());
}
