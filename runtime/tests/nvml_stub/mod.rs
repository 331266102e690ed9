//! Builds `stub.c` into a library of its own and steers it. Other test crates
//! take this file in by its path.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A built stub, in a directory that goes when this goes.
pub(crate) struct Stub {
    dir: tempfile::TempDir,
}

impl Stub {
    /// Builds the stub with `defines` (`-DWITHOUT_ENERGY`); `None`, with the
    /// reason printed, where there is no C compiler.
    ///
    /// # Panics
    /// If the compiler refuses the stub.
    #[allow(clippy::print_stderr)]
    pub(crate) fn build(defines: &[&str]) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap_or_else(|error| panic!("no directory: {error}"));
        let stub = Self { dir };
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../runtime/tests/nvml_stub/stub.c");
        let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
        let mut command = Command::new(&compiler);
        command.args(defines).args(["-shared", "-fPIC", "-o"]).arg(stub.path()).arg(source);
        match command.output() {
            Err(error) => {
                eprintln!("skipped: no C compiler to build the NVML stub ({compiler}: {error})");
                None
            }
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success(), "{compiler} refused the stub: {said}");
                Some(stub)
            }
        }
    }

    /// The library.
    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("libnvml_stub.so")
    }

    /// Tells the stub what to do from its next call on: see `stub.c`.
    ///
    /// # Panics
    /// If the control file cannot be written.
    pub(crate) fn control(&self, lines: &str) {
        let new = self.beside("new");
        // Renamed, so that the stub never reads half of it.
        let written = std::fs::write(&new, lines)
            .and_then(|()| std::fs::rename(&new, self.beside("control")));
        written.unwrap_or_else(|error| panic!("cannot write the control file: {error}"));
    }

    /// What the stub has logged: `init`, `shutdown`.
    #[allow(dead_code)]
    pub(crate) fn log(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.beside("log")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        Path::new(&format!("{}.{suffix}", self.path().display())).to_owned()
    }
}
