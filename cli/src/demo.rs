//! The simulated server behind `run --demo`: a process of its own, so that what
//! the client says of its CPU and memory is the client's alone.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use crate::commands::run::DemoServer;

/// The server's process; it ends when this is dropped, and also when this
/// process dies, since its standard input ends then.
#[derive(Debug)]
pub struct Demo {
    child: Child,
    /// Where it listens.
    pub server: DemoServer,
}

impl Demo {
    /// Starts the server on a free port of the loopback.
    ///
    /// # Errors
    /// One sentence on why it did not start.
    pub fn start(seed: u64) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("the simulated server: {error}");
        let this = std::env::current_exe().map_err(failed)?;
        let mut child = Command::new(this)
            .args(["mock", "--port", "0", "--exit-with-stdin", "--seed", &seed.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A Ctrl-C at the terminal is for the client, which still needs its
            // server to drain.
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line).map_err(failed)?;
        }
        match line.split_whitespace().find(|word| word.starts_with("http://")) {
            Some(url) => {
                let server = DemoServer::at(url);
                Ok(Self { child, server })
            }
            None => {
                let _ = child.kill();
                let _ = child.wait();
                Err(format!("the simulated server did not say where it listens: {line:?}"))
            }
        }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
