//! The house rules that a compiler does not check.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn rust_files(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if !name.starts_with('.') && name != "target" {
                rust_files(&path, out);
            }
        } else if name.ends_with(".rs") {
            out.push(path);
        }
    }
}

fn files(under: &str) -> Vec<(String, String)> {
    let mut paths = Vec::new();
    rust_files(&root().join(under), &mut paths);
    paths.sort();
    assert!(!paths.is_empty(), "no Rust file under {under}: the test looks in the wrong place");
    let read = |path: PathBuf| (path.display().to_string(), fs::read_to_string(&path).unwrap());
    paths.into_iter().map(read).collect()
}

/// The code of a file without its comments and its unit tests.
fn production(text: &str) -> String {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn no_file_is_longer_than_600_lines() {
    let long: Vec<_> = files(".")
        .into_iter()
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|(_, lines)| *lines > 600)
        .collect();
    assert!(long.is_empty(), "split these: {long:?}");
}

#[test]
fn every_folder_says_who_lives_there() {
    for crate_dir in ["core", "runtime", "sim", "cli"] {
        for (path, text) in files(&format!("{crate_dir}/src")) {
            let module = path.ends_with("mod.rs") || path.ends_with("lib.rs");
            assert!(!module || text.starts_with("//!"), "{path} does not say who lives there");
        }
    }
}

/// Whether a name occurs in code, as a whole name; or a piece of code.
fn uses(code: &str, word: &str) -> bool {
    let in_name = |c: char| c.is_alphanumeric() || c == '_';
    if word.chars().all(in_name) {
        code.split(|c: char| !in_name(c)).any(|name| name == word)
    } else {
        code.contains(word)
    }
}

#[test]
fn core_is_pure() {
    const FORBIDDEN: [&str; 14] = [
        "std::time",
        "Instant",
        "SystemTime",
        "std::fs",
        "std::net",
        "std::thread",
        "std::env",
        "std::io",
        "tokio",
        "async fn",
        "HashMap",
        "HashSet",
        "thread_rng",
        "rand::rng",
    ];
    for (path, text) in files("core/src") {
        if path.ends_with("tests.rs") || path.contains("/tests/") {
            continue;
        }
        let code = production(&text);
        for word in FORBIDDEN {
            assert!(!uses(&code, word), "{path} uses {word}, which is not pure");
        }
    }
}

/// Whether a line has an arm that takes whatever is left, of a `match` on any type:
/// clippy's `wildcard_enum_match_arm` sees those on an enum, and not those on tuples,
/// numbers and texts.
fn is_wildcard_arm(line: &str) -> bool {
    let in_name = |c: char| c.is_alphanumeric() || c == '_';
    let arms = line.match_indices('_').filter(|(at, _)| {
        let (before, after) = (&line[..*at], line[at + 1..].trim_start());
        let alone = !before.ends_with(in_name);
        // A pattern of its own, not one inside another.
        let first = before.trim_end().chars().last().is_none_or(|c| "{,}|".contains(c));
        // One with a condition does not take what is left.
        alone && first && after.starts_with("=>")
    });
    arms.count() > 0
}

#[test]
fn a_wildcard_arm_is_seen_wherever_it_stands() {
    for arm in ["_ => {}", "match n { 1 => 2, _ => 3 }", "1 | _ => {}"] {
        assert!(is_wildcard_arm(arm), "{arm}");
    }
    for other in
        ["Some(_) => {}", "(_, _) => {}", "|_| 3", "n_ => {}", "_ if n > 3 => {}", "_x => {}"]
    {
        assert!(!is_wildcard_arm(other), "{other}");
    }
}

#[test]
fn core_has_no_wildcard_arm_and_no_panic() {
    for (path, text) in files("core/src") {
        if path.ends_with("tests.rs") || path.contains("/tests/") {
            continue;
        }
        for (number, line) in production(&text).lines().enumerate() {
            let line = line.trim();
            assert!(!is_wildcard_arm(line), "{path}: wildcard arm: {line}");
            for word in [".unwrap()", ".expect(\"", "panic!(", "unreachable!(", "todo!("] {
                assert!(!line.contains(word), "{path}: {word} (code line {number}): {line}");
            }
        }
    }
}

/// The names under a manifest's `[dependencies]`.
fn dependencies(package: &str) -> Vec<String> {
    let manifest = fs::read_to_string(root().join(package).join("Cargo.toml")).unwrap();
    let section = manifest.split("[dependencies]").nth(1).expect("a [dependencies] section");
    let section = section.split("\n[").next().unwrap_or_default();
    let name = |line: &str| line.split([' ', '=', '.']).next().unwrap_or_default().to_owned();
    section.lines().filter(|line| line.contains('=')).map(name).collect()
}

#[test]
fn dependencies_run_one_way() {
    let internal = |package| -> Vec<String> {
        let all: Vec<String> = dependencies(package);
        all.into_iter().filter(|name| name.starts_with("phasegate")).collect()
    };
    assert_eq!(internal("core"), Vec::<String>::new());
    assert_eq!(internal("runtime"), ["phasegate-core"]);
    assert!(!internal("sim").contains(&"phasegate".to_owned()));
    let core = dependencies("core");
    let lean = [
        "serde",
        "serde_json",
        "uuid",
        "thiserror",
        "rand_core",
        "rand_chacha",
        "rand_distr",
        "postcard",
        "crc32fast",
        "hdrhistogram",
    ];
    for name in &core {
        assert!(lean.contains(&name.as_str()), "core depends on {name}: is that pure and needed?");
    }
}

#[test]
fn every_select_is_biased() {
    for crate_dir in ["runtime", "sim", "cli"] {
        for (path, text) in files(&format!("{crate_dir}/src")) {
            for (at, _) in text.match_indices("select! {") {
                let body = text[at..].lines().nth(1).unwrap_or_default().trim();
                assert_eq!(body, "biased;", "{path}: a select! that is not biased");
            }
        }
    }
}
