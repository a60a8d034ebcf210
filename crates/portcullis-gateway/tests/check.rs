//! What a person reads after a typical mistake in a configuration file, word for word.
//!
//! Each `tests/check/NAME.toml` is checked, and what is told of it must be `tests/check/NAME.txt`.

#![expect(clippy::unwrap_used, reason = "a helper that has nothing to work on fails its test")]

#[path = "check/documents.rs"]
mod documents;

use std::fmt::Write;
use std::path::{Path, PathBuf};

use portcullis_gateway::config::{LoadError, Outside, Process, Source};

#[test]
fn o2_every_mistake_is_told_with_its_place_a_caret_and_a_hint() {
    let mut files: Vec<PathBuf> = std::fs::read_dir("tests/check")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    files.sort();
    assert!(files.len() >= 12, "only {} files", files.len());
    let mut wrong = String::new();
    for file in files {
        let told = told(&file);
        let expected = file.with_extension("txt");
        if std::env::var_os("PORTCULLIS_BLESS").is_some() {
            std::fs::write(&expected, &told).unwrap();
        } else if std::fs::read_to_string(&expected).unwrap_or_default() != told {
            write!(wrong, "\n--- {} should be told:\n{told}", file.display()).unwrap();
        }
    }
    assert!(wrong.is_empty(), "set PORTCULLIS_BLESS=1 to accept what is told now and read the difference:{wrong}");
}

/// The disk without the permissions that a checkout happens to give to files.
struct Checkout;

impl Outside for Checkout {
    fn variable(&self, _: &str) -> Option<String> {
        None
    }

    fn read(&self, path: &Path) -> std::io::Result<Vec<u8>> {
        Process.read(path)
    }

    fn list(&self, path: &Path) -> std::io::Result<Vec<String>> {
        Process.list(path)
    }

    fn is_world_readable(&self, _: &Path) -> bool {
        false
    }
}

fn told(file: &Path) -> String {
    match Source::file(file).load_with(&Checkout) {
        Ok(loaded) => loaded.report.to_string(),
        Err(LoadError::Invalid(report)) => report.to_string(),
        Err(unreadable @ LoadError::Unreadable { .. }) => panic!("{unreadable}"),
    }
}
