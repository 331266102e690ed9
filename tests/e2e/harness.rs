//! Starts servers and runs, reads what they leave.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_phasegate");

/// Far beyond what any of these runs takes; only a hang reaches it.
const HANG: Duration = Duration::from_secs(90);

/// A simulated server, as a process; ended when dropped.
pub(crate) struct Mock {
    child: Child,
    pub(crate) url: String,
}

impl Mock {
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::at("0", args)
    }

    /// At this port of loopback.
    pub(crate) fn at(port: &str, args: &[&str]) -> Self {
        let mut child = Command::new(BINARY)
            .args(["mock", "--port", port])
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.split_whitespace().find(|word| word.starts_with("http://"));
        let url = url.unwrap_or_else(|| panic!("no address in {line:?}")).to_owned();
        Self { child, url }
    }

    /// A GET, by hand: the body of the answer.
    pub(crate) fn get(&self, path: &str) -> String {
        let host = self.url.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(host).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    pub(crate) fn truth(&self) -> Value {
        let body = self.get("/truth");
        // The body may be chunked; the JSON is what lies between its braces.
        let (start, end) = (body.find('{').unwrap(), body.rfind('}').unwrap());
        serde_json::from_str(&body[start..=end]).unwrap()
    }

    /// Starts `phasegate run` against it; `line` is split at spaces, and `more` is
    /// for what may hold some.
    pub(crate) fn load(&self, line: &str, more: &[&str]) -> Running {
        let target = ["-u", &self.url, "-m", "mock"];
        let line: Vec<_> = line.split_whitespace().collect();
        start(&[&target[..], &line, more].concat())
    }

    /// The same, to the end.
    pub(crate) fn run(&self, line: &str, more: &[&str]) -> Ran {
        self.load(line, more).finish()
    }

    /// Load that goes on for longer than any test, once `records` of its phase
    /// `profiling` are written, in the journal too: each file goes to the disk by itself.
    pub(crate) fn load_in_the_middle(&self, records: usize, line: &str, more: &[&str]) -> Running {
        let running = self.load(&format!("-d 600s --osl 5 {line}"), more);
        running.when("records.jsonl", |text| {
            let profiling = |line: &&str| line.starts_with("{\"phase\":\"profiling\"");
            text.lines().filter(profiling).count() > records
        });
        let journal = running.dir().join("journal.bin");
        let length = || std::fs::metadata(&journal).map_or(0, |file| file.len());
        for _ in 0..2 {
            let before = length();
            running.when("journal.bin", |_| length() > before);
        }
        running
    }

    /// The GPUs that it shows, for `--gpu-telemetry`.
    pub(crate) fn gpus(&self) -> String {
        format!("dcgm:{}/gpu/metrics", self.url)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        send(&self.child, signal);
    }

    pub(crate) fn wait(&mut self) -> Option<i32> {
        wait(&mut self.child).code()
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn send(child: &Child, signal: Signal) {
    kill_process(Pid::from_raw(child.id().cast_signed()).unwrap(), signal).unwrap();
}

fn wait(child: &mut Child) -> std::process::ExitStatus {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if start.elapsed() > HANG {
            child.kill().unwrap();
            panic!("the process hangs");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A `phasegate run` under way.
pub(crate) struct Running {
    child: Child,
    dir: tempfile::TempDir,
    started: Instant,
}

/// A `phasegate run` that is over.
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) took: Duration,
    dir: tempfile::TempDir,
}

/// Starts `phasegate run` with these arguments and an artifact directory.
pub(crate) fn start(args: &[&str]) -> Running {
    start_with(args, &[])
}

pub(crate) fn start_with(args: &[&str], env: &[(&str, &str)]) -> Running {
    spawn(tempfile::tempdir().unwrap(), args, env)
}

/// The same with artifacts in `run` below a directory that is there.
pub(crate) fn start_in(dir: tempfile::TempDir, args: &[&str]) -> Running {
    spawn(dir, args, &[])
}

fn spawn(dir: tempfile::TempDir, args: &[&str], env: &[(&str, &str)]) -> Running {
    let child = Command::new(BINARY)
        .arg("run")
        .args(args)
        .arg("--artifact-dir")
        .arg(dir.path().join("run"))
        .args(["--ui", "simple"])
        .envs(env.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    Running { child, dir, started: Instant::now() }
}

/// Runs to the end.
pub(crate) fn run(args: &[&str]) -> Ran {
    start(args).finish()
}

impl Running {
    pub(crate) fn dir(&self) -> PathBuf {
        self.dir.path().join("run")
    }

    pub(crate) fn signal(&self, signal: Signal) {
        send(&self.child, signal);
    }

    /// Kills it where it is.
    pub(crate) fn kill(self) -> Ran {
        self.signal(Signal::KILL);
        self.finish()
    }

    /// Waits until an artifact satisfies `ready`.
    pub(crate) fn when(&self, file: &str, ready: impl Fn(&str) -> bool) {
        let start = Instant::now();
        loop {
            let text = std::fs::read(self.dir().join(file)).unwrap_or_default();
            if ready(&String::from_utf8_lossy(&text)) {
                return;
            }
            assert!(start.elapsed() < HANG, "{file} never became what was waited for");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn finish(mut self) -> Ran {
        // Both pipes are read while waiting, or a full one would stop the child.
        let read = |mut pipe: Box<dyn Read + Send>| {
            std::thread::spawn(move || {
                let mut text = String::new();
                pipe.read_to_string(&mut text).unwrap();
                text
            })
        };
        let stdout = read(Box::new(self.child.stdout.take().unwrap()));
        let stderr = read(Box::new(self.child.stderr.take().unwrap()));
        let code = wait(&mut self.child).code();
        let took = self.started.elapsed();
        let (stdout, stderr) = (stdout.join().unwrap(), stderr.join().unwrap());
        Ran { code, stdout, stderr, took, dir: self.dir }
    }
}

impl Ran {
    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join("run").join(file)
    }

    /// `run.json`; the output where there is none.
    pub(crate) fn json(&self) -> Value {
        let text = std::fs::read_to_string(self.path("run.json"));
        let text =
            text.unwrap_or_else(|_| panic!("no run.json:\n{}\n{}", self.stdout, self.stderr));
        serde_json::from_str(&text).unwrap()
    }

    /// The lines of a `.jsonl`, each of which must be whole.
    pub(crate) fn lines(&self, file: &str) -> Vec<Value> {
        lines(&self.path(file))
    }

    pub(crate) fn assert_code(&self, code: i32) -> &Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// What every result must satisfy, whatever went wrong.
    pub(crate) fn assert_sound(&self) -> Value {
        let result = self.json();
        for phase in result["phases"].as_array().unwrap() {
            let count = |key: &str| phase["requests"][key].as_u64().unwrap();
            assert_eq!(
                count("sent"),
                count("completed") + count("errors") + count("cancelled"),
                "sent = completed + errors + cancelled: {phase}"
            );
        }
        let replayed = replay(&self.dir.path().join("run"));
        assert!(
            replayed.status.success(),
            "the journal does not replay:\n{}\n{}",
            String::from_utf8_lossy(&replayed.stdout),
            String::from_utf8_lossy(&replayed.stderr)
        );
        result
    }
}

/// The lines of a `.jsonl`, each of which must be whole.
pub(crate) fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// `phasegate replay DIR`.
pub(crate) fn replay(dir: &Path) -> Output {
    Command::new(BINARY).arg("replay").arg(dir).output().unwrap()
}

/// Any command of the binary.
pub(crate) fn phasegate(args: &[&str]) -> Output {
    Command::new(BINARY).args(args).stdin(Stdio::null()).output().unwrap()
}

/// The phase called `name`.
pub(crate) fn phase<'a>(result: &'a Value, name: &str) -> &'a Value {
    let phases = result["phases"].as_array().unwrap();
    phases.iter().find(|phase| phase["name"] == name).unwrap_or_else(|| panic!("no {name}"))
}

/// The boundary of the phase called `name`.
pub(crate) fn boundary<'a>(result: &'a Value, name: &str, kind: &str) -> &'a Value {
    let id = &phase(result, name)["phase_id"];
    let boundaries = result["boundaries"].as_array().unwrap();
    let found = boundaries.iter().find(|b| b["phase_id"] == *id && b["kind"] == kind);
    found.unwrap_or_else(|| panic!("no {kind} boundary of {name}: {boundaries:#?}"))
}

/// The total of a counter's deltas over its series in a phase.
pub(crate) fn counter(phase: &Value, name: &str) -> Option<f64> {
    let series = phase["server_metrics"].as_array().unwrap().iter().filter(|m| m["name"] == name);
    series.map(|metric| metric["delta"]["total"].as_f64()).sum()
}

/// All notes of a phase, as one text.
pub(crate) fn notes(phase: &Value) -> String {
    let notes = phase["notes"].as_array().unwrap();
    notes.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\n")
}
