//! What a configuration asks of the world outside of the file: environment variables and the files it names.

use std::io;
use std::path::Path;

/// The world outside of the file. A parameter, so that a test needs neither the process's environment nor its disk.
pub trait Outside {
    /// An environment variable that is set and is text.
    fn variable(&self, name: &str) -> Option<String>;

    /// A file's bytes.
    ///
    /// # Errors
    /// What the system says.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// Whether everyone on this machine may read the file; `false` where nobody can say.
    fn is_world_readable(&self, path: &Path) -> bool;
}

/// The process's own environment and disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct Process;

/// No file that a configuration names is larger than this.
const LARGEST_FILE: u64 = 1 << 20;

impl Outside for Process {
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        use std::io::Read;
        let file = std::fs::File::open(path)?;
        if file.metadata()?.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let mut bytes = Vec::new();
        file.take(LARGEST_FILE + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > LARGEST_FILE {
            return Err(io::Error::other("it is larger than 1 MiB"));
        }
        Ok(bytes)
    }

    fn is_world_readable(&self, path: &Path) -> bool {
        use std::os::unix::fs::PermissionsExt;
        std::fs::metadata(path).is_ok_and(|about| about.permissions().mode() & 0o004 != 0)
    }
}
