//! Every input that fuzzing keeps, through the bodies that fuzzing runs: the
//! seeds, what was found interesting since, and every input that ever crashed.

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

fn inputs(folder: &str, target: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(fuzz().join(folder).join(target)) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn replay(target: &str, body: fn(&[u8])) {
    let seeds = inputs("seeds", target);
    assert!(!seeds.is_empty(), "fuzz/seeds/{target} is empty: the test looks in the wrong place");
    for path in seeds.into_iter().chain(inputs("corpora", target)) {
        let bytes = fs::read(&path).unwrap();
        if let Err(panic) = catch_unwind(|| body(&bytes)) {
            let said = panic.downcast_ref::<String>().map(String::as_str);
            let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default();
            panic!("{}: {said}", path.display());
        }
    }
}

#[test]
fn answer() {
    replay("answer", phasegate_runtime::fuzz::answer);
}

#[test]
fn config() {
    replay("config", phasegate_cli::fuzz::config);
}

#[test]
fn envelope() {
    replay("envelope", phasegate_sim::fuzz::envelope);
}

#[test]
fn exposition() {
    replay("exposition", phasegate_runtime::fuzz::exposition);
}

#[test]
fn journal() {
    replay("journal", phasegate_sim::fuzz::journal);
}

#[test]
fn protocol() {
    replay("protocol", phasegate_sim::fuzz::protocol);
}

#[test]
fn http1() {
    replay("http1", phasegate_runtime::fuzz::http1);
}

#[test]
fn sse() {
    replay("sse", phasegate_runtime::fuzz::sse);
}

/// A target that nothing replays would only look like a test.
#[test]
fn every_target_is_replayed_and_has_seeds() {
    let source = include_str!("corpora.rs");
    for entry in fs::read_dir(fuzz().join("fuzz_targets")).unwrap() {
        let name = entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned();
        assert!(source.contains(&format!("replay(\"{name}\"")), "{name} is not replayed");
        assert!(!inputs("seeds", &name).is_empty(), "{name} has no seeds");
    }
}
