//! The configuration: whatever stands in the file, there is an answer with a place.

use std::io;
use std::path::Path;

use portcullis_gateway::config::{LoadError, Outside, Source};

/// A world in which there is nothing else.
pub(crate) struct Nowhere;

impl Outside for Nowhere {
    fn variable(&self, _: &str) -> Option<String> {
        None
    }

    fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn list(&self, _: &Path) -> io::Result<Vec<String>> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn is_world_readable(&self, _: &Path) -> bool {
        false
    }
}

/// A file is read, or refused with at least one message that names a place in it.
///
/// # Panics
/// Where that is not so.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Source::text("fuzz.toml", text).load_with(&Nowhere) {
        Ok(loaded) => drop(loaded.report.to_string()),
        Err(error) => {
            let shown = error.to_string();
            if let LoadError::Invalid(report) = &error {
                assert!(report.errors() > 0 && shown.contains("fuzz.toml:"), "{shown}");
            }
        }
    }
}
