//! The state directory: private to its owner, and served from by one process at a time.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// The lock on a state directory; released when dropped, and by the system when the process dies.
#[derive(Debug)]
pub struct StateDir {
    _lock: File,
}

/// Why a state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateDirError {
    /// It cannot be made or opened.
    #[error("cannot use the state directory {}: {error}", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Another process serves from it.
    #[error("another portcullis is running from {}; stop it or choose another state_dir", .0.display())]
    InUse(PathBuf),
}

impl StateDir {
    /// Makes the directory (mode 0700) if it is absent and locks it for this process.
    ///
    /// SO_REUSEPORT lets a second instance share a port without an error, so the lock is what keeps two processes from
    /// writing one database with two ideas of its keys.
    ///
    /// # Errors
    /// [`StateDirError`] when it cannot be made, opened or locked.
    pub fn lock(path: &Path) -> Result<Self, StateDirError> {
        let io = |error| StateDirError::Io { path: path.to_owned(), error };
        Self::make(path)?;
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path.join("lock"))
            .map_err(io)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _lock: file }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(StateDirError::InUse(path.to_owned())),
            Err(error) => Err(io(error.into())),
        }
    }

    /// Makes the directory (mode 0700) if it is absent, without locking it: a command beside a serving process reaches
    /// the database, whose own locks say who writes.
    ///
    /// # Errors
    /// [`StateDirError::Io`] when it cannot be made.
    pub fn make(path: &Path) -> Result<(), StateDirError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(|error| StateDirError::Io { path: path.to_owned(), error })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn one_process_at_a_time_serves_from_a_private_directory() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("state");
        let first = StateDir::lock(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(matches!(StateDir::lock(&path), Err(StateDirError::InUse(_))));
        drop(first);
        StateDir::lock(&path).unwrap();
    }

    #[test]
    fn a_file_in_its_place_is_told() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = StateDir::lock(file.path()).unwrap_err().to_string();
        assert!(error.starts_with("cannot use the state directory"), "{error}");
    }
}
