//! What the operating system says of this process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};

/// CPU time of this process so far, user and system, in seconds.
pub(super) fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// The most memory this process has held, in MiB, where the system tells.
pub(super) fn peak_rss_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024.0)
}

/// Cores that this process may use: those of its affinity and its cgroup.
pub(super) fn cores() -> Option<f64> {
    std::thread::available_parallelism().ok().map(|cores| cores.get() as f64)
}

/// Descriptors that the process needs beside its connections.
const OWN_FILES: u64 = 64;

/// Raises the limit of open files to what may be had without privileges. A
/// sentence where `connections` at a time are more than that.
#[must_use]
pub fn raise_file_limit(connections: u64) -> Option<String> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let now = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    too_few_files(now, connections)
}

fn too_few_files(limit: Option<u64>, connections: u64) -> Option<String> {
    let limit = limit.filter(|limit| *limit < connections.saturating_add(OWN_FILES))?;
    Some(format!(
        "{connections} requests at a time need {} open files, and this process may have {limit}: \
         those beyond will fail to connect; raise the hard limit (ulimit -Hn, or LimitNOFILE= of \
         the service), or lower the concurrency",
        connections.saturating_add(OWN_FILES)
    ))
}

#[cfg(test)]
mod tests {
    #[test]
    fn this_process_uses_cpu_and_memory() {
        assert!(super::cpu_seconds() > 0.0);
        if cfg!(target_os = "linux") {
            assert!(super::peak_rss_mib().is_some_and(|mib| mib > 0.1));
        }
    }

    #[test]
    fn files_that_do_not_suffice_are_said_with_a_remedy() {
        assert_eq!(super::too_few_files(None, u64::MAX), None);
        assert_eq!(super::too_few_files(Some(164), 100), None);
        let said = super::too_few_files(Some(163), 100).unwrap();
        assert!(said.contains("164") && said.contains("163") && said.contains("ulimit"), "{said}");
    }

    #[test]
    fn the_limit_of_files_is_raised_to_the_hard_one() {
        assert_eq!(super::raise_file_limit(0), None);
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }
}
