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

    /// The bytes of a file that may be larger than others: a document of an API.
    ///
    /// # Errors
    /// What the system says.
    fn read_document(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.read(path)
    }

    /// The names of what lies in a directory, in any order.
    ///
    /// # Errors
    /// What the system says.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;

    /// Whether everyone on this machine may read the file; `false` where nobody can say.
    fn is_world_readable(&self, path: &Path) -> bool;
}

/// The process's own environment and disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct Process;

/// No file that a configuration names is larger than this (MiB).
const LARGEST_FILE: u64 = 1;
/// No document of an API is (MiB).
const LARGEST_DOCUMENT: u64 = 32;
/// No directory that a configuration names is looked through beyond this many entries.
const LONGEST_LIST: usize = 10_000;

impl Outside for Process {
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        read_up_to(path, LARGEST_FILE)
    }

    fn read_document(&self, path: &Path) -> io::Result<Vec<u8>> {
        read_up_to(path, LARGEST_DOCUMENT)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let names = std::fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.file_name().into_string()));
        // What is not UTF-8 is nothing that we look for.
        names.filter_map(|name| name.map(Result::ok).transpose()).take(LONGEST_LIST).collect()
    }

    fn is_world_readable(&self, path: &Path) -> bool {
        use std::os::unix::fs::PermissionsExt;
        std::fs::metadata(path).is_ok_and(|about| about.permissions().mode() & 0o004 != 0)
    }
}

/// A file of at most so many MiB.
fn read_up_to(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    use std::io::Read;
    let file = std::fs::File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let mut bytes = Vec::new();
    file.take((most << 20) + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most << 20 {
        return Err(io::Error::other(format!("it is larger than {most} MiB")));
    }
    Ok(bytes)
}
