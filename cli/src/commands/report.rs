//! `phasegate report`: writes the page and the flat table of a run from what it
//! recorded. A run that was killed gets its result first.

use phasegate_runtime::export::report::FILE;
use phasegate_runtime::session::recover::{RecoverError, report};

use crate::args::ReportArgs;
use crate::exit::{Exit, complain};
use crate::output::print;

/// Reports.
#[must_use]
pub fn run(args: &ReportArgs) -> Exit {
    let dir = &args.run_dir;
    match report(dir) {
        Ok(recovered) => {
            let mut said = String::new();
            if recovered.finished {
                let path = dir.join("run.json");
                let why = recovered.result.reasons.first().map_or("", String::as_str);
                said.push_str(&format!("{}: put together now. {why}\n", path.display()));
            }
            for name in [FILE, "metrics.csv"] {
                said.push_str(&format!("{}\n", dir.join(name).display()));
            }
            print(&said)
        }
        Err(problem) => {
            complain(&problem);
            match problem {
                RecoverError::NoRun(_)
                | RecoverError::UnderWay(_)
                | RecoverError::Result { .. }
                | RecoverError::Journal { .. } => Exit::Usage,
                RecoverError::Artifacts(_) => Exit::ConditionFailed,
            }
        }
    }
}
