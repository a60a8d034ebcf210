//! The checks that keep the house in order: which crate may lean on which, how long a file may be, what may stand
//! nowhere, and which tests must be there because a page names them.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::{named_tests, run};

/// Which of our crates each of our crates may depend on. The fuzz targets and `xtask` stand outside.
const ARROWS: &[(&str, &[&str])] = &[
    ("portcullis-core", &[]),
    ("portcullis-auth", &["portcullis-core"]),
    ("portcullis-limit", &["portcullis-core"]),
    ("portcullis-shield", &["portcullis-core"]),
    ("portcullis-watch", &["portcullis-core"]),
    ("portcullis-identity", &["portcullis-core", "portcullis-auth"]),
    ("portcullis", &["portcullis-core", "portcullis-auth", "portcullis-limit", "portcullis-shield"]),
    (
        "portcullis-gateway",
        &[
            "portcullis-core",
            "portcullis-auth",
            "portcullis-limit",
            "portcullis-shield",
            "portcullis-watch",
            "portcullis-identity",
            "portcullis",
        ],
    ),
    ("portcullis-fuzz", &["portcullis-core", "portcullis-auth", "portcullis-gateway"]),
    ("xtask", &[]),
];

/// The longest source file. About 400 lines is the habit; this is the wall.
const LONGEST_FILE: usize = 600;

/// What marks unfinished work. Written in halves, so that this file does not find itself.
const UNFINISHED: [&str; 5] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("todo", "!("),
    concat!("unimplemented", "!("),
    concat!("#[", "ignore"),
];

/// Homes of people and machines, which a file of the project can only name by accident.
const HOMES: [&str; 3] = [concat!("/ho", "me/"), concat!("/Us", "ers/"), concat!("/ro", "ot/")];

/// Runs every check and reports every breach at once.
pub(crate) fn check(root: &Path) -> Result<(), String> {
    let mut breaches = arrows(&run::metadata()?)?;
    let forbidden = forbidden_paths(root);
    let (mut tests, mut pages) = (HashSet::new(), Vec::new());
    for file in files(root)? {
        let Ok(text) = fs::read_to_string(&file) else {
            // What is not text has no lines and no words.
            continue;
        };
        let shown = file.strip_prefix(root).unwrap_or(&file).display().to_string();
        breaches.extend(read(&shown, &text, &forbidden));
        if shown.ends_with(".rs") {
            tests.extend(named_tests::tests(&text).map(str::to_owned));
        } else if named_tests::PAGES.contains(&shown.as_str()) {
            pages.push((shown, text));
        }
    }
    breaches.extend(pages.iter().flat_map(|(shown, text)| named_tests::missing(shown, text, &tests)));
    if breaches.is_empty() {
        println!("the house is in order");
        return Ok(());
    }
    Err(format!("the house is not in order:\n  {}", breaches.join("\n  ")))
}

/// The dependencies between our crates that are not in [`ARROWS`]. Tests may lean on anything.
fn arrows(metadata: &Value) -> Result<Vec<String>, String> {
    let packages = metadata["packages"].as_array().ok_or("cargo metadata names no packages")?;
    let mut breaches = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        let Some((_, allowed)) = ARROWS.iter().find(|(crate_name, _)| *crate_name == name) else {
            breaches.push(format!("{name}: a crate that the plan of the house does not know"));
            continue;
        };
        let dependencies = package["dependencies"].as_array().ok_or("cargo metadata names no dependencies")?;
        for dependency in dependencies.iter().filter(|dependency| dependency["kind"] != "dev") {
            let on = dependency["name"].as_str().unwrap_or_default();
            let ours = ARROWS.iter().any(|(crate_name, _)| *crate_name == on);
            if ours && !allowed.contains(&on) {
                breaches.push(format!("{name} may not depend on {on}"));
            }
        }
    }
    Ok(breaches)
}

/// What is wrong with the text of one file.
fn read(shown: &str, text: &str, forbidden: &[String]) -> Vec<String> {
    let mut breaches = Vec::new();
    let lines = text.lines().count();
    if shown.ends_with(".rs") && lines > LONGEST_FILE {
        breaches.push(format!("{shown}: {lines} lines; more than {LONGEST_FILE} do not fit in a head"));
    }
    // Lists of data may hold any word.
    let written =
        [".rs", ".toml", ".md", ".sh", ".yml", ".yaml", ".html", "run"].iter().any(|end| shown.ends_with(end));
    for (index, line) in text.lines().enumerate() {
        let place = format!("{shown}:{}", index + 1);
        if written && let Some(mark) = UNFINISHED.iter().find(|mark| has_word(line, mark)) {
            breaches.push(format!("{place}: \"{mark}\" marks unfinished work"));
        }
        if let Some(path) = forbidden.iter().find(|path| line.contains(path.as_str())) {
            breaches.push(format!("{place}: \"{path}\" is a path of one machine"));
        }
    }
    breaches
}

/// Whether the mark stands in the line on its own and not inside a longer word.
fn has_word(line: &str, mark: &str) -> bool {
    let letter = |character: Option<char>| character.is_some_and(|character| character.is_alphanumeric());
    line.match_indices(mark).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        let after = line[start + mark.len()..].chars().next();
        let closed = !mark.ends_with(|character: char| character.is_alphanumeric());
        !letter(before) && (closed || !letter(after))
    })
}

/// The paths that name a machine: homes, and the place where this very copy lies. That place is taken whole: a part of it
/// may be a word of ours.
fn forbidden_paths(root: &Path) -> Vec<String> {
    let mut paths: Vec<String> = HOMES.iter().map(|&home| home.to_owned()).collect();
    if root.components().count() > 2 {
        paths.push(root.display().to_string());
    }
    paths
}

/// Every file of the tree except what is built and what version control keeps for itself.
fn files(root: &Path) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    let mut waiting = vec![root.to_path_buf()];
    while let Some(directory) = waiting.pop() {
        let failed = |error: std::io::Error| format!("{}: {error}", directory.display());
        for entry in fs::read_dir(&directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let kind = entry.file_type().map_err(failed)?;
            if kind.is_dir() {
                if name != "target" && name != ".git" && name != ".portcullis-demo" {
                    waiting.push(entry.path());
                }
            } else if kind.is_file() && name != "Cargo.lock" && name != ".git" {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arrow_that_points_back_is_a_breach() {
        let metadata = serde_json::json!({ "packages": [
            { "name": "portcullis-limit", "dependencies": [
                { "name": "portcullis-core", "kind": null },
                { "name": "portcullis-auth", "kind": null },
                { "name": "portcullis-watch", "kind": "dev" },
            ] },
            { "name": "portcullis-extra", "dependencies": [] },
        ] });
        let breaches = arrows(&metadata).unwrap();
        assert_eq!(breaches.len(), 2, "{breaches:?}");
        assert!(breaches[0].contains("portcullis-limit may not depend on portcullis-auth"));
        assert!(breaches[1].contains("portcullis-extra"));
    }

    #[test]
    fn unfinished_work_is_found_and_innocent_words_are_not() {
        let text = format!("// {}: later\nlet mastodon = 1;\nTODOS\n{}\n", UNFINISHED[0], UNFINISHED[4]);
        let breaches = read("a.rs", &text, &[]);
        assert_eq!(breaches.len(), 2, "{breaches:?}");
        assert!(breaches[0].starts_with("a.rs:1:") && breaches[1].starts_with("a.rs:4:"));
    }

    #[test]
    fn the_place_of_this_copy_is_a_breach_and_a_directory_of_ours_that_is_called_like_a_part_of_it_is_not() {
        let forbidden = forbidden_paths(Path::new("/check/out/house"));
        let lines = "cd /check/out/house\nsee tests/check/errors.txt\n";
        let breaches = read("a.md", lines, &forbidden);
        assert_eq!(breaches.len(), 1, "{breaches:?}");
        assert!(breaches[0].starts_with("a.md:1:"));
        assert!(read("a.md", "/app/\n", &forbidden_paths(Path::new("/app"))).is_empty());
    }

    #[test]
    fn a_long_file_is_found() {
        assert!(read("a.rs", &"x\n".repeat(LONGEST_FILE), &[]).is_empty());
        assert_eq!(read("a.rs", &"x\n".repeat(LONGEST_FILE + 1), &[]).len(), 1);
        assert!(read("words.txt", &"x\n".repeat(LONGEST_FILE + 1), &[]).is_empty());
    }

    #[test]
    fn files_skips_what_is_built() {
        let tree = tempfile::tempdir().unwrap();
        fs::create_dir_all(tree.path().join("target/debug")).unwrap();
        fs::write(tree.path().join("target/debug/a.rs"), "x").unwrap();
        fs::write(tree.path().join("b.rs"), "x").unwrap();
        assert_eq!(files(tree.path()).unwrap(), [tree.path().join("b.rs")]);
    }
}
