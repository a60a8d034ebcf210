//! `portcullis check FILE`.

use std::path::Path;

use super::{Console, Failure};
use crate::config::{Report, Settings, Source};

/// Tells everything that is wrong or risky in a file.
pub(super) fn check(file: &Path, console: &mut Console<'_>) -> Result<(), Failure> {
    let loaded = Source::file(file).load()?;
    if loaded.report.warnings() > 0 {
        let _ = write!(console.err, "{}", loaded.report);
        console.warn(format_args!("\n{}", summary(&loaded.report)));
    }
    let settings = &loaded.settings;
    console.say(format_args!(
        "{} is good. Routes: {}, limits: {}, upstreams: {}.",
        file.display(),
        settings.gate.routes.len(),
        settings.gate.limits.len(),
        settings.upstreams.len(),
    ));
    console.say(format_args!("A reload cannot change: {}", Settings::FIXED_AT_START.join(", ")));
    Ok(())
}

/// `2 errors, 1 warning`.
pub(super) fn summary(report: &Report) -> String {
    let count = |number: usize, word: &str| match number {
        0 => None,
        1 => Some(format!("1 {word}")),
        _ => Some(format!("{number} {word}s")),
    };
    let counts = [count(report.errors(), "error"), count(report.warnings(), "warning")];
    counts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}
