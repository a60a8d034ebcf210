//! `portcullis keys …`.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::args::KeysCommand;
use super::{Commands, Console, Failure, deployed, load, read_secret};

/// Turns what was typed into what to do, and does it.
pub(super) fn dispatch(
    command: KeysCommand,
    commands: &dyn Commands,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let said = match command {
        KeysCommand::List { deployment } => commands.list_keys(load(&deployed(deployment), console)?)?,
        KeysCommand::Rotate { deployment } => commands.rotate_keys(load(&deployed(deployment), console)?)?,
        KeysCommand::Import { file, deployment } => {
            let settings = load(&deployed(deployment), console)?;
            let pem = read_secret(&file)?;
            warn_of_readers(&file, console);
            commands.import_key(settings, pem)?
        }
        KeysCommand::ExportPublic { pem, deployment } => {
            commands.public_keys(load(&deployed(deployment), console)?, pem)?
        }
    };
    console.say(said);
    Ok(())
}

/// A private key that others could read may be known to them already.
fn warn_of_readers(file: &Path, console: &mut Console<'_>) {
    let Ok(about) = std::fs::metadata(file) else { return };
    if about.is_file() && about.mode() & 0o077 != 0 {
        console.warn(format_args!(
            "warning: other users of this machine may read {} (mode {:03o}); if they may have, import another key",
            file.display(),
            about.mode() & 0o777
        ));
    }
}
