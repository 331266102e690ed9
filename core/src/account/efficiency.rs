//! What the work of a phase took: energy over all its GPUs, by its requests and
//! tokens.
//!
//! The error of the sum is the sum of the errors, with what of the phase an
//! exporter that lags may have left out of the energy. A ratio to a count that is
//! exact carries it along: `(E ± e) / n`; the other way round the larger side is
//! given, `n / (E − e) − n / E`.

use super::result::{Efficiency, GpuResult, PhaseResult};

/// What the work of `phase` took; `None` where no GPU was read.
#[must_use]
pub fn efficiency(phase: &PhaseResult) -> Option<Efficiency> {
    if phase.gpus.is_empty() {
        return None;
    }
    let mut out = Efficiency::default();
    let Some((energy, error)) = sum(&phase.gpus, |g| g.energy_j.zip(g.energy_error_j)) else {
        let lacking = phase.gpus.iter().find(|gpu| gpu.energy_j.is_none());
        let why = lacking.map(|gpu| {
            let why = gpu.reason.as_deref().unwrap_or("no reason given");
            format!("the energy of GPU {} is not known: {why}", gpu.uuid)
        });
        out.reason = Some(why.unwrap_or_else(|| "an energy has no error bar".to_owned()));
        return Some(out);
    };
    out.energy_j = Some(energy);
    out.energy_error_j = Some(error);
    let net = sum(&phase.gpus, |g| g.net_energy_j.zip(g.net_energy_error_j));
    (out.net_energy_j, out.net_energy_error_j) = net.unzip();
    let watts = |gpu: &GpuResult| {
        let seconds = gpu.energy_seconds()?;
        Some((gpu.energy_j? / seconds, gpu.energy_error_j? / seconds))
    };
    let power = phase.gpus.iter().map(watts).try_fold((0.0, 0.0), |(sum, errors), power| {
        power.map(|(watts, error)| (sum + watts, errors + error))
    });
    (out.average_power_w, out.average_power_error_w) = power.unzip();
    let mut reasons = Vec::new();
    match phase.requests.completed {
        0 => reasons.push("no request was completed".to_owned()),
        n => {
            out.joules_per_request = Some(energy / n as f64);
            out.joules_per_request_error = Some(error / n as f64);
        }
    }
    match output_tokens(phase) {
        Err(why) => reasons.extend((phase.requests.completed > 0).then_some(why)),
        Ok(tokens) => {
            out.joules_per_output_token = Some(energy / tokens);
            out.joules_per_output_token_error = Some(error / tokens);
            if energy > error {
                out.output_tokens_per_joule = Some(tokens / energy);
                out.output_tokens_per_joule_error =
                    Some(tokens / (energy - error) - tokens / energy);
            } else {
                reasons.push("the error of the energy is as large as itself".to_owned());
            }
        }
    }
    out.reason = (!reasons.is_empty()).then(|| reasons.join("; "));
    Some(out)
}

/// The sum over all GPUs and its error; `None` where it is not known of one.
fn sum(gpus: &[GpuResult], of: impl Fn(&GpuResult) -> Option<(f64, f64)>) -> Option<(f64, f64)> {
    gpus.iter().try_fold((0.0, 0.0), |(sum, errors), gpu| {
        let (value, error) = of(gpu)?;
        Some((sum + value, errors + error + gpu.coverage_error_j.unwrap_or(0.0)))
    })
}

/// The output tokens of the completed requests.
fn output_tokens(phase: &PhaseResult) -> Result<f64, String> {
    let Some(lengths) = phase.metrics.get("output_sequence_length") else {
        return Err("the endpoint has no output tokens".to_owned());
    };
    let completed = phase.requests.completed;
    if lengths.count != completed {
        return Err(format!(
            "{} of {completed} completed requests have a count of output tokens",
            lengths.count
        ));
    }
    let tokens = lengths.avg.unwrap_or(0.0) * lengths.count as f64;
    (tokens > 0.0).then_some(tokens).ok_or_else(|| "no output tokens were counted".to_owned())
}
