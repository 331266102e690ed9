//! One run of phasegate or of the control client, and its figures.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;

use crate::process::{Cores, Cpu, children_cpu, command};

/// What a run of phasegate gave.
#[derive(Debug)]
pub(crate) struct Run {
    /// `run.json`.
    pub(crate) json: Value,
    /// CPU of the whole process.
    pub(crate) cpu: Cpu,
    dir: tempfile::TempDir,
}

/// Runs phasegate with `args`, against `addr`.
///
/// # Errors
/// If it cannot be started, fails, or leaves no result.
pub(crate) fn phasegate(
    bin: &Path,
    addr: SocketAddr,
    cores: Cores,
    args: &[&str],
) -> io::Result<Run> {
    let dir = tempfile::Builder::new().prefix("phasegate-bench").tempdir()?;
    let out = dir.path().join("run");
    let before = children_cpu()?;
    let output = command(bin, cores)
        .args(["run", "--url", &format!("http://{addr}"), "--model", "mock"])
        .args(["--gpu-telemetry", "none", "--ui", "none", "--artifact-dir"])
        .arg(&out)
        .args(args)
        .stdin(Stdio::null())
        .output()?;
    let cpu = children_cpu()?.since(before);
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(io::Error::other(format!("phasegate {args:?}: {}: {said}", output.status)));
    }
    let json = serde_json::from_slice(&std::fs::read(out.join("run.json"))?)?;
    Ok(Run { json, cpu, dir })
}

impl Run {
    /// A number in `run.json`, by JSON pointer.
    ///
    /// # Errors
    /// If it is not there.
    pub(crate) fn number(&self, pointer: &str) -> io::Result<f64> {
        let value = self.json.pointer(pointer).and_then(Value::as_f64);
        value.ok_or_else(|| io::Error::other(format!("run.json has no number at {pointer}")))
    }

    /// A number of the last phase: a warm-up stands before it.
    fn phase(&self, pointer: &str) -> io::Result<f64> {
        let phases = self.json.get("phases").and_then(Value::as_array);
        let value = phases.and_then(|phases| phases.last()?.pointer(pointer)?.as_f64());
        value.ok_or_else(|| io::Error::other(format!("the last phase has no number at {pointer}")))
    }

    /// A statistic of a metric of the last phase.
    ///
    /// # Errors
    /// As [`Self::number`].
    pub(crate) fn metric(&self, name: &str, statistic: &str) -> io::Result<f64> {
        self.phase(&format!("/metrics/{name}/{statistic}"))
    }

    /// Requests of the last phase that were completed.
    ///
    /// # Errors
    /// If any was not: a figure of failures is none.
    pub(crate) fn completed(&self) -> io::Result<f64> {
        let at = |name: &str| self.phase(&format!("/requests/{name}"));
        let (sent, completed) = (at("sent")?, at("completed")?);
        if sent != completed {
            return Err(io::Error::other(format!("{completed} of {sent} requests completed")));
        }
        Ok(completed)
    }

    /// A file among its artifacts.
    pub(crate) fn artifact(&self, name: &str) -> PathBuf {
        self.dir.path().join("run").join(name)
    }
}

/// What a run of the control client gave.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Control {
    /// Requests a second.
    pub(crate) rate: f64,
    /// Requests.
    pub(crate) requests: f64,
    /// CPU of the whole process.
    pub(crate) cpu: Cpu,
    /// 99th percentile of the time to first token, in ms.
    pub(crate) ttft_p99_ms: f64,
}

/// Runs the control client in a process of its own.
///
/// # Errors
/// If it cannot be started, or fails.
pub(crate) fn control(addr: SocketAddr, cores: Cores, args: [u64; 4]) -> io::Result<Control> {
    let before = children_cpu()?;
    let [connections, requests, words, tokens] = args.map(|n| n.to_string());
    let output = command(std::env::current_exe()?, cores)
        .args(["control", &addr.to_string(), &connections, &requests, &words, &tokens])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()?;
    let cpu = children_cpu()?.since(before);
    let json: Value = serde_json::from_slice(&output.stdout)?;
    let number = |name: &str| json.get(name).and_then(Value::as_f64).unwrap_or(f64::NAN);
    let requests = number("requests");
    Ok(Control {
        rate: requests / number("seconds"),
        requests,
        cpu,
        ttft_p99_ms: number("ttft_p99_ms"),
    })
}
