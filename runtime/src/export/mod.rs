//! Artifacts, written as the run goes.
//!
//! - [`lines`]: a file of JSON lines behind a bounded queue and a thread.
//! - `writer`: the queue and the thread behind [`lines`] and [`journal`].
//! - [`records`] writes `records.jsonl`.
//! - [`readings`] writes `server_metrics.jsonl` and `gpu_telemetry.jsonl`.
//! - [`journal`] writes `journal.bin`.
//! - [`summary`] writes `run.json` and `metrics.csv`, at the end.
//! - [`report`] writes `report.html`.
//!
//! Nothing here is waited for while load is being sent: what a slow disk cannot
//! take is counted, and said in the result.

pub mod journal;
pub mod lines;
pub mod readings;
pub mod records;
pub mod report;
pub mod summary;
mod writer;

pub(crate) use writer::LAST;
