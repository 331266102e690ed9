//! Small runs out of choices: up to three phases, up to three collectors.

use core::time::Duration;
use std::collections::BTreeMap;

use phasegate_core::collector::CollectorPlan;
use phasegate_core::id::{Domain, ServiceId};
use phasegate_core::plan::{
    ArrivalProcess, GatePlan, Limits, PhaseKind, PhaseSpec, PlanError, RunPlan,
};
use phasegate_core::setup::Settings;

use super::bytes::Bytes;

const MS: Duration = Duration::from_millis(1);

/// A plan and what else makes the machines.
///
/// # Errors
/// What the plan's own check refuses.
pub(super) fn run(bytes: &mut Bytes<'_>) -> Result<(RunPlan, Settings), PlanError> {
    let seed = u64::from(bytes.byte());
    let shape = bytes.byte();
    let phases = (0..1 + shape % 3).map(|index| phase(index, bytes)).collect();
    let timeout = MS * (u32::from(bytes.byte()) + 1) * 20;
    let gate = GatePlan {
        enabled: shape & 0x80 == 0,
        timeout,
        settle_timeout: timeout * u32::from(bytes.byte() % 8) / 8,
    };
    let limits = limits(bytes);
    let plan = RunPlan::new(seed, phases, gate, limits)?;
    let collectors = (0..(shape >> 2) % 4).map(|index| collector(index, &limits, bytes)).collect();
    let goodput = match shape & 0x40 {
        0 => BTreeMap::new(),
        _ => BTreeMap::from([("ttft_ms".to_owned(), 1.0), ("e2e_ms".to_owned(), 50.0)]),
    };
    let settings = Settings {
        collectors,
        goodput,
        streaming: shape & 0x20 == 0,
        produces_tokens: shape & 0x10 == 0,
        urls: Vec::new(),
        ready_timeout: Duration::from_secs(1),
    };
    Ok((plan, settings))
}

fn phase(index: u8, bytes: &mut Bytes<'_>) -> PhaseSpec {
    let flags = bytes.byte();
    let kind = if flags & 1 == 0 { PhaseKind::Profiling } else { PhaseKind::Warmup };
    let mut phase = PhaseSpec::new(format!("p{index}"), kind);
    phase.seamless = flags & 2 != 0 && index > 0;
    if flags & 4 == 0 {
        phase.concurrency = Some(u32::from(1 + bytes.byte() % 8));
    } else {
        let rates = [2.0, 7.5, 50.0, f64::INFINITY];
        phase.request_rate = Some(bytes.pick(&rates, 2.0));
        phase.arrival = match bytes.below(3) {
            0 => Some(ArrivalProcess::Constant),
            1 => Some(ArrivalProcess::Gamma { shape: 0.5 + f64::from(bytes.byte()) }),
            _ => None,
        };
        phase.concurrency = (flags & 8 != 0).then_some(3);
    }
    if flags & 16 == 0 {
        phase.requests = Some(u64::from(1 + bytes.byte() % 24));
    }
    if flags & 16 != 0 || flags & 32 != 0 {
        phase.duration = Some(MS * (u32::from(bytes.byte()) + 1) * 4);
    }
    if flags & 64 != 0 {
        phase.ramp = Some(MS * u32::from(bytes.byte()) * 4);
    }
    if flags & 128 != 0 {
        phase.grace = Some(MS * u32::from(bytes.byte()) * 4);
    }
    phase
}

fn limits(bytes: &mut Bytes<'_>) -> Limits {
    let beat = MS * (u32::from(bytes.byte()) + 25) * 8;
    Limits {
        service_start: MS * u32::from(bytes.byte()) * 8,
        heartbeat: beat,
        heartbeat_misses: u32::from(2 + bytes.byte() % 4),
        credits_complete_fallback: MS * u32::from(bytes.byte()) * 8,
        request_timeout: MS * (u32::from(bytes.byte()) + 1) * 16,
        drain: MS * u32::from(bytes.byte()) * 4,
        cancel_grace: MS * u32::from(bytes.byte()) * 4,
    }
}

fn collector(index: u8, limits: &Limits, bytes: &mut Bytes<'_>) -> CollectorPlan {
    CollectorPlan {
        id: ServiceId::new(format!("collector{index}")),
        domain: if bytes.flag() { Domain::telemetry() } else { Domain::server_metrics() },
        interval: MS * u32::from(bytes.byte()) * 2,
        heartbeat: limits.heartbeat,
        read_timeout: MS * u32::from(bytes.byte()) * 4,
        optional: false,
        sole: bytes.flag(),
        tick_within: Duration::ZERO,
    }
}
