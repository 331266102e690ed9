//! End-to-end tests: the real binary against the real simulated server, over
//! sockets, as separate processes.
//!
//! - `harness`: starts servers and runs, reads what they leave.
//! - `happy`: what must be seen when nothing goes wrong.
//! - `endpoints`: each API, several URLs, reasoning, packed events.
//! - `policy`: sweeps, cancellations, stages, the error budget.
//! - `exact`: the client's counts against the server's own truth.
//! - `exporters`: telemetry that hangs, lies, dies.
//! - `inputs`: histories, schedules, prompts that do not repeat.
//! - `many`: ten thousand streams at a time; a slow disk.
//! - `idle`: `--idle-baseline`.
//! - `nvml`: GPUs through NVML's C ABI.
//! - `hazards`: one and five requests against every hazard; never silently wrong.
//! - `faults`: servers that refuse, stall, cut, and answer nonsense.
//! - `report`: the page of a run, finished or killed.
//! - `robust`: servers that die and come back, crawl, cut, flood.
//! - `signals`: Ctrl-C in every state, and `kill -9`.
//! - `slo`: searches for the highest load that keeps its objectives.
//! - `tokens`: `--tokenizer`, in builds that have it.

mod endpoints;
mod exact;
mod exporters;
mod faults;
mod happy;
mod harness;
mod hazards;
mod idle;
mod inputs;
mod many;
mod nvml;
mod policy;
mod report;
mod robust;
mod signals;
mod slo;
#[cfg(feature = "tokenizers")]
mod tokens;
