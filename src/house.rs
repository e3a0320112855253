//! The rules of the house that no lint can hold (design §5): who may name what, and how long a file may be.

use std::{fs, path::Path};

/// Folders without I/O, clock, randomness or hash order.
const PURE: [&str; 7] = ["api", "revision", "workload", "route", "analysis", "rollout", "prometheus"];

/// What a pure folder never names.
const FORBIDDEN: [&str; 14] = [
    "kube::Client",
    "kube::Api",
    "kube::client",
    "kube::runtime",
    "tokio",
    "futures",
    "reqwest",
    "tracing",
    "fastrand",
    "std::env",
    "std::time",
    "HashMap",
    "HashSet",
    "Timestamp::now",
];

/// All source files below `folder`, tests in files of their own left out, with the part before their inline tests.
fn sources(folder: &str) -> Vec<(String, String)> {
    let mut found = vec![];
    let mut open = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(folder)];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let name = path.display().to_string();
        if path.extension().is_none_or(|e| e != "rs") || name.contains("test") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]\nmod").next().unwrap_or_default().to_owned();
        found.push((name, code));
    }
    found
}

#[test]
fn pure_folders_name_nothing_impure() {
    let mut checked = 0;
    for folder in PURE {
        // The only I/O of prometheus/, behind a seam that the simulation replaces.
        let pure = |name: &str| !name.contains("prometheus/client");
        for (name, code) in sources(folder).into_iter().filter(|(name, _)| pure(name)) {
            for (number, line) in code.lines().enumerate().filter(|(_, l)| !l.trim_start().starts_with("//"))
            {
                let wrong = FORBIDDEN.iter().find(|word| line.contains(*word));
                assert!(wrong.is_none(), "{name}:{} names {}: {folder}/ is pure", number + 1, wrong.unwrap());
            }
            checked += 1;
        }
    }
    assert!(checked > 40, "only {checked} files were found");
}

#[test]
fn the_plan_and_the_renderers_do_not_know_each_other() {
    let allowed = [
        ("mutant.rs", vec![]),
        ("api", vec![]),
        ("revision", vec!["api"]),
        ("workload", vec!["api", "revision"]),
        ("route", vec!["api", "workload"]),
        ("analysis", vec![]),
        ("rollout", vec!["api", "revision", "workload", "route", "analysis"]),
    ];
    for (folder, may) in allowed {
        for (name, code) in sources(folder) {
            for other in [
                "api",
                "revision",
                "workload",
                "route",
                "analysis",
                "rollout",
                "prometheus",
                "controller",
                "process",
            ] {
                let uses =
                    code.contains(&format!("crate::{other}::")) || code.contains(&format!("    {other}::"));
                assert!(!uses || other == folder || may.contains(&other), "{name} uses {other}");
            }
        }
    }
}

#[test]
fn files_stay_short() {
    for (name, code) in sources("") {
        let lines = code.lines().count();
        assert!(lines <= 400, "{name} has {lines} lines without its tests: split it by noun");
    }
}
