//! Small secrets in files that only their owner can read.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

/// Why a secret could not be read or made.
#[derive(Debug, thiserror::Error)]
pub enum PrivateFileError {
    /// The file system refused.
    #[error("{path}: {source}", path = .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Others could read the secret, so it is none any more.
    #[error("{path} can be read by others; make a new one, or `chmod 600` it if nobody has", path = .0.display())]
    Exposed(PathBuf),
    /// The file holds something else than it should.
    #[error("{path} does not hold what it should; remove it to get a new one", path = .0.display())]
    Invalid(PathBuf),
}

/// More than any of our secrets needs.
const MAX_BYTES: u64 = 16 * 1_024;

/// Reads the file, or makes it (mode 0600) with what `make` yields. It appears under its name whole or not at all.
///
/// # Errors
/// See [`PrivateFileError`].
pub fn read_or_create(path: &Path, make: impl FnOnce() -> String) -> Result<String, PrivateFileError> {
    let io = |source| PrivateFileError::Io { path: path.to_owned(), source };
    match File::open(path) {
        Ok(file) => read(path, file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let text = make();
            create(path, &text).map_err(io)?;
            Ok(text)
        }
        Err(error) => Err(io(error)),
    }
}

fn read(path: &Path, file: File) -> Result<String, PrivateFileError> {
    let io = |source| PrivateFileError::Io { path: path.to_owned(), source };
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        if file.metadata().map_err(io)?.permissions().mode() & 0o077 != 0 {
            return Err(PrivateFileError::Exposed(path.to_owned()));
        }
    }
    let mut text = String::new();
    file.take(MAX_BYTES).read_to_string(&mut text).map_err(io)?;
    Ok(text)
}

fn create(path: &Path, text: &str) -> io::Result<()> {
    let unfinished = path.with_extension("new");
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&unfinished)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn o3_a_secret_is_made_once_and_for_its_owner_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        assert_eq!(read_or_create(&path, || "one".into()).unwrap(), "one");
        assert_eq!(read_or_create(&path, || "two".into()).unwrap(), "one");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn o3_a_secret_that_others_can_read_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        fs::write(&path, "one").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(read_or_create(&path, || "two".into()), Err(PrivateFileError::Exposed(_))));
    }

    #[test]
    fn what_an_interrupted_start_left_behind_is_no_obstacle() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("secret.new"), "half").unwrap();
        assert_eq!(read_or_create(&directory.path().join("secret"), || "one".into()).unwrap(), "one");
    }
}
