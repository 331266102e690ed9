//! The small language of service level objectives: `ttft:p99:200
//! error_rate:1%`.

use phasegate_core::search::plan::ERROR_RATE;
use phasegate_core::search::{Objective, Percentile};

use super::parse::{goodput_metric, positive, share};

/// Objectives, with spaces or commas between: `metric:percentile:milliseconds`,
/// also `p99_metric:milliseconds`, and `error_rate:share`.
///
/// # Errors
/// One that is none of these, or that no search can decide.
pub fn objectives(text: &str) -> Result<Vec<Objective>, String> {
    let words: Vec<&str> = text.split([' ', ',']).filter(|word| !word.is_empty()).collect();
    if words.is_empty() {
        return Err("has no objective; give one, e.g. ttft:p99:200".to_owned());
    }
    words.into_iter().map(objective).collect()
}

/// One objective.
///
/// # Errors
/// See [`objectives`].
pub fn objective(text: &str) -> Result<Objective, String> {
    let parts: Vec<&str> = text.trim().split(':').map(str::trim).collect();
    let (metric, percentile, limit) = match parts.as_slice() {
        [metric, percentile, limit] => (*metric, Some(*percentile), *limit),
        [metric, limit] => match metric.split_once('_') {
            Some((percentile, metric)) if percentile.parse::<Percentile>().is_ok() => {
                (metric, Some(percentile), *limit)
            }
            Some(_) | None => (*metric, None, *limit),
        },
        _ => {
            return Err(format!(
                "'{text}' is not an objective; give metric:percentile:milliseconds, e.g. \
                 ttft:p99:200, or {ERROR_RATE}:0.01"
            ));
        }
    };
    let percentile: Option<Percentile> = percentile.map(str::parse).transpose()?;
    let objective = if metric == ERROR_RATE {
        Objective { metric: metric.to_owned(), percentile, limit: share(limit)? }
    } else {
        let known =
            |problem: String| problem.replace("a goodput metric", "a metric of an objective");
        let metric = goodput_metric(metric)
            .map_err(|problem| format!("{}, {ERROR_RATE}", known(problem)))?;
        let number = limit.strip_suffix("ms").unwrap_or(limit);
        let limit = positive(number).map_err(|problem| format!("{metric}: {problem}"))?;
        Objective { metric: metric.to_owned(), percentile, limit }
    };
    objective.check()?;
    Ok(objective)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Result<Vec<String>, String> {
        let of = |o: &Objective| format!("{o} {}", o.limit);
        objectives(text).map(|all| all.iter().map(of).collect())
    }

    #[test]
    fn every_form_and_every_alias_means_its_objective() {
        let forms = shown("ttft:p99:200 p95_tpot:50,error_rate:1%  e2el:p99.9:1500ms");
        assert_eq!(
            forms.unwrap(),
            [
                "p99 of time_to_first_token 200",
                "p95 of inter_token_latency 50",
                "error_rate 0.01",
                "p99.9 of request_latency 1500",
            ]
        );
        assert_eq!(shown("p90_scheduled_latency:3").unwrap(), ["p90 of scheduled_latency 3"]);
    }

    #[test]
    fn what_is_no_objective_is_refused_with_the_remedy() {
        let wrong = [
            "",
            "ttft",
            "ttft:200",
            "ttft:99:200",
            "ttft:p100:200",
            "ttft:p99:0",
            "tfft:p99:1",
            "error_rate:p99:0.1",
            "error_rate:2",
            "error_rate:0",
            "ttfo:p99:5",
            "ttft:p99:1:2",
        ]
        .map(|text| format!("{text} -> {}", shown(text).unwrap_err()));
        insta::assert_snapshot!(wrong.join("\n"));
    }
}
