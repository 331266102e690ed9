//! What the operating system says of this process.

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

#[cfg(test)]
mod tests {
    #[test]
    fn this_process_uses_cpu_and_memory() {
        assert!(super::cpu_seconds() > 0.0);
        if cfg!(target_os = "linux") {
            assert!(super::peak_rss_mib().is_some_and(|mib| mib > 0.1));
        }
    }
}
