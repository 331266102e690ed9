//! End-to-end tests: the real binary against the real simulated server, over
//! sockets, as separate processes.
//!
//! - `harness`: starts servers and runs, reads what they leave.
//! - `happy`: what must be seen when nothing goes wrong.
//! - `exact`: the client's counts against the server's own truth.
//! - `exporters`: telemetry that hangs, lies, dies.
//! - `nvml`: GPUs through NVML's C ABI.
//! - `faults`: servers that refuse, stall, cut, and answer nonsense.
//! - `report`: the page of a run, finished or killed.
//! - `robust`: servers that die and come back, crawl, cut, flood.
//! - `signals`: Ctrl-C in every state, and `kill -9`.

mod exact;
mod exporters;
mod faults;
mod happy;
mod harness;
mod nvml;
mod report;
mod robust;
mod signals;
