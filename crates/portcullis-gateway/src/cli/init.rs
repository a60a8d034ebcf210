//! `portcullis init`.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::Path;

use super::{Console, Failure};
use crate::config::TEMPLATE;

/// Writes the commented file to start from. A file that is there already is left alone.
pub(super) fn init(path: &Path, console: &mut Console<'_>) -> Result<(), Failure> {
    let written = OpenOptions::new().write(true).create_new(true).open(path).and_then(|mut file| {
        let written = file.write_all(TEMPLATE.as_bytes()).and_then(|()| file.sync_all());
        if written.is_err() {
            // Half a file would be refused the next time, by this very command.
            let _ = std::fs::remove_file(path);
        }
        written
    });
    match written {
        Ok(()) => {
            console.say(format_args!("Wrote {}. Next:", path.display()));
            console.say(format_args!("  portcullis check {0}\n  portcullis serve --config {0}", path.display()));
            Ok(())
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            Err(Failure::run(format_args!("{} exists already and is left alone", path.display())))
        }
        Err(error) => Err(Failure::run(format_args!("cannot write {}: {error}", path.display()))),
    }
}
