//! The process's own log: readable lines on standard error.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// Starts logging; `RUST_LOG` chooses more or less than the default, which is `info` of our own and `warn` of others.
/// A second call changes nothing.
pub fn start() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn,portcullis=info"));
    // Colours are for a person's eyes; in a file they are noise.
    let colours = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours)
        .with_target(false);
    // Somebody who embeds this may have a subscriber already; theirs stays.
    drop(lines.try_init());
}
