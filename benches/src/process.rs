//! Processes that are measured: their output, and the CPU they took.

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// Where processes may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cores {
    /// Wherever the machine likes.
    All,
    /// On this one.
    Only(usize),
    /// On these two.
    Pair(usize, usize),
}

/// A command, confined by `taskset` where asked for.
pub(crate) fn command(program: impl AsRef<OsStr>, cores: Cores) -> Command {
    let list = match cores {
        Cores::All => return Command::new(program),
        Cores::Only(core) => core.to_string(),
        Cores::Pair(one, other) => format!("{one},{other}"),
    };
    let mut command = Command::new("taskset");
    command.args(["-c", &list]).arg(program);
    command
}

/// The phasegate binary, built if need be.
///
/// # Errors
/// If it cannot be built.
pub(crate) fn phasegate() -> io::Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--release", "--quiet", "-p", "phasegate", "--bin", "phasegate"])
        .status()?;
    let path = std::env::current_exe()?.with_file_name("phasegate");
    match status.success() && path.exists() {
        true => Ok(path),
        false => Err(io::Error::other(format!("{} could not be built", path.display()))),
    }
}

/// CPU seconds of a process, or of several.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cpu {
    /// Its own code.
    pub(crate) user: f64,
    /// The kernel on its behalf.
    pub(crate) system: f64,
}

impl Cpu {
    /// Both.
    pub(crate) fn all(self) -> f64 {
        self.user + self.system
    }

    /// What was used since `before`.
    pub(crate) fn since(self, before: Self) -> Self {
        Self { user: self.user - before.user, system: self.system - before.system }
    }

    /// With what another one used.
    pub(crate) fn and(self, other: Self) -> Self {
        Self { user: self.user + other.user, system: self.system + other.system }
    }

    /// Microseconds a request.
    pub(crate) fn per(self, requests: f64) -> Self {
        Self { user: self.user * 1e6 / requests, system: self.system * 1e6 / requests }
    }
}

/// CPU of all children of this process that have been waited for. The kernel counts
/// in nanoseconds and shows hundredths of a second: what is summed over several runs
/// is as exact as one look.
///
/// # Errors
/// If `/proc` cannot be read.
pub(crate) fn children_cpu() -> io::Result<Cpu> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // The name, in parentheses, may have spaces in it.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks = |n: usize| fields.split_whitespace().nth(n)?.parse::<f64>().ok();
    match (ticks(13), ticks(14)) {
        (Some(user), Some(system)) => Ok(Cpu { user: user / 100.0, system: system / 100.0 }),
        _ => Err(io::Error::other("/proc/self/stat has no CPU times")),
    }
}

/// A server in a process of its own, which ends with this value.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    /// Where it listens.
    pub(crate) addr: SocketAddr,
}

impl Server {
    /// Starts it and waits for the line that names its address.
    ///
    /// # Errors
    /// If it does not start, or says no address.
    pub(crate) fn start(mut command: Command) -> io::Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        if let Some(out) = child.stdout.take() {
            BufReader::new(out).read_line(&mut line)?;
        }
        match line.trim().rsplit('/').next().and_then(|addr| addr.parse().ok()) {
            Some(addr) => Ok(Self { child, addr }),
            None => {
                let _ = child.kill();
                let _ = child.wait();
                Err(io::Error::other(format!("the server said no address but {line:?}")))
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
