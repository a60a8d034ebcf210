//! Configurations of peers: files with `{{placeholders}}`, filled and written below the bench's own directory.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::bench::peer::{Room, SECURITY_HEADERS, Setup};

/// The body of a 401 for a peer that is told its bodies.
pub(super) const UNAUTHORIZED_BODY: &str = r#"{"type":"about:blank","title":"Unauthorized","status":401}"#;

/// The body of a 403 for a peer that is told its bodies.
pub(super) const FORBIDDEN_BODY: &str = r#"{"type":"about:blank","title":"Forbidden","status":403}"#;

/// Reads a file of the tree's `bench/peers`.
pub(super) fn source(sources: &Path, path: &str) -> Result<String, String> {
    let file = sources.join(path);
    fs::read_to_string(&file).map_err(|error| format!("{} could not be read: {error}", file.display()))
}

/// Puts every value in the place of its `{{name}}`. Values may hold placeholders of values that come after them.
///
/// # Errors
/// A placeholder that no value fills.
pub(super) fn render(template: &str, values: &[(&str, &str)]) -> Result<String, String> {
    let filled =
        values.iter().fold(template.to_owned(), |text, (name, value)| text.replace(&format!("{{{{{name}}}}}"), value));
    match filled.split_once("{{") {
        Some((_, rest)) => {
            let name: String = rest.chars().take_while(|character| *character != '}').take(40).collect();
            Err(format!("no value for the placeholder \"{name}\""))
        }
        None => Ok(filled),
    }
}

/// A directory of its own for one peer in one setup, so that no run finds what another left.
pub(super) fn directory(room: &Room, peer: &str, setup: Setup, listen: SocketAddr) -> Result<PathBuf, String> {
    let directory = room.directory.join("peers").join(peer).join(format!("{}-{}", word(setup), listen.port()));
    fs::create_dir_all(&directory).map_err(|error| format!("{} could not be made: {error}", directory.display()))?;
    Ok(directory)
}

/// Writes a finished configuration.
pub(super) fn write(file: &Path, text: &str) -> Result<(), String> {
    fs::write(file, text).map_err(|error| format!("{} could not be written: {error}", file.display()))
}

/// What scripts and directories call a setup.
pub(super) fn word(setup: Setup) -> &'static str {
    match setup {
        Setup::Bare => "bare",
        Setup::Defended => "defended",
        Setup::Flood => "flood",
    }
}

/// One line for each header of [`SECURITY_HEADERS`].
pub(super) fn security_headers(line: impl Fn(&str, &str) -> String) -> String {
    SECURITY_HEADERS.iter().map(|(name, value)| line(name, value)).collect::<Vec<_>>().join("\n")
}

/// The first line that a program says of its version, on either stream.
pub(super) fn version(program: &Path, argument: &str) -> Result<String, String> {
    let output = Command::new(program)
        .arg(argument)
        .output()
        .map_err(|error| format!("{} could not be started: {error}", program.display()))?;
    let said = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&said)
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .map(str::to_owned)
        .ok_or_else(|| format!("{} {argument} says nothing", program.display()))
}

/// Runs a program to its end; what it said is told only when it failed.
pub(super) fn quiet(mut command: Command) -> Result<(), String> {
    let program = command.get_program().display().to_string();
    let output =
        command.stdin(Stdio::null()).output().map_err(|error| format!("{program} could not be started: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let last: Vec<&str> = said.lines().rev().take(5).collect();
    Err(format!("{program} failed ({}): {}", output.status, last.into_iter().rev().collect::<Vec<_>>().join("\n")))
}

#[cfg(test)]
pub(super) mod testing {
    //! What the tests of every peer need.

    use std::fs;
    use std::net::SocketAddr;
    use std::path::Path;

    use tempfile::TempDir;

    use crate::bench::peer::{Peer, Room, Setup};

    /// A room whose sources are the tree's, in a directory that goes with the guard.
    pub(in crate::bench::peers) fn room() -> (TempDir, Room) {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("public.pem"), "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----\n")
            .unwrap();
        fs::write(directory.path().join("jwks.json"), r#"{"keys":[{"kty":"RSA","kid":"bench-1"}]}"#).unwrap();
        let room = Room {
            directory: directory.path().to_owned(),
            sources: Path::new(env!("CARGO_MANIFEST_DIR")).join("../bench/peers"),
            upstream: SocketAddr::from(([127, 0, 0, 1], 4001)),
            public_key: directory.path().join("public.pem"),
            jwks: directory.path().join("jwks.json"),
        };
        (directory, room)
    }

    /// Writes the peer's configuration for the setup and returns the one text file that stands in its directory.
    pub(in crate::bench::peers) fn configuration(peer: &dyn Peer, setup: Setup, file: &str) -> String {
        let (_guard, room) = room();
        let listen = SocketAddr::from(([127, 0, 0, 1], 4002));
        peer.command(setup, listen, &room).unwrap();
        let directory = super::directory(&room, peer.name(), setup, listen).unwrap();
        let text = fs::read_to_string(directory.join(file)).unwrap();
        assert!(!text.contains("{{") && !text.contains("}}"), "a placeholder is left in\n{text}");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_may_hold_a_placeholder_of_a_later_one() {
        let values = [("outer", "<{{inner}}>"), ("inner", "x")];
        assert_eq!(render("a {{outer}} b {{inner}}", &values).unwrap(), "a <x> b x");
    }

    #[test]
    fn a_placeholder_without_a_value_is_an_error_that_names_it() {
        assert_eq!(render("a {{b}}", &[]).unwrap_err(), "no value for the placeholder \"b\"");
    }
}
