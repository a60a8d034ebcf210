//! Secrets at rest: AES-256-GCM under the master key, each bound to its place by the additional data.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use portcullis_core::Secret;

use crate::error::OpenError;

/// The key that encrypts all others.
pub(crate) struct MasterKey(RandomizedNonceKey);

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MasterKey(…)")
    }
}

impl MasterKey {
    /// From 32 bytes.
    ///
    /// # Errors
    /// [`OpenError::MasterKey`] for another length or for a key that somebody typed (one byte repeated).
    pub(crate) fn new(bytes: &[u8]) -> Result<Self, OpenError> {
        if bytes.len() != 32 {
            return Err(OpenError::MasterKey("must have 32 bytes (64 hexadecimal digits)"));
        }
        if bytes.iter().all(|byte| *byte == bytes[0]) {
            return Err(OpenError::MasterKey("is one byte repeated; draw it at random"));
        }
        RandomizedNonceKey::new(&AES_256_GCM, bytes).map(Self).map_err(|_| OpenError::Crypto)
    }

    /// Reads the key of an embedded database from a file of 64 hexadecimal digits; makes it (mode 0600) where neither it
    /// nor the database exists.
    ///
    /// # Errors
    /// [`OpenError`] where the file cannot be read or made, or is missing beside an existing database: a new key could
    /// not read what is in there.
    pub(crate) fn load_or_create(file: &Path, database_exists: bool) -> Result<Self, OpenError> {
        let io = |error| OpenError::MasterKeyFile { path: file.to_owned(), error };
        match std::fs::read_to_string(file) {
            Ok(text) => {
                let text = Secret::new(text);
                let bytes = hex::decode(text.expose().trim())
                    .map_err(|_| OpenError::MasterKey("must be 64 hexadecimal digits"))?;
                Self::new(Secret::new(bytes).expose())
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && database_exists => {
                Err(OpenError::MasterKey("of this database is missing; put its file (master.key) back"))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                create(file)?;
                // Read back, because another process may have been first.
                Self::load_or_create(file, true)
            }
            Err(error) => Err(io(error)),
        }
    }

    /// Encrypts a secret for one place.
    pub(crate) fn seal(&self, place: &str, secret: &[u8]) -> Result<Vec<u8>, OpenError> {
        let mut sealed = secret.to_vec();
        let nonce =
            self.0.seal_in_place_append_tag(Aad::from(place.as_bytes()), &mut sealed).map_err(|_| OpenError::Crypto)?;
        Ok([&nonce.as_ref()[..], &sealed].concat())
    }

    /// Decrypts what was sealed for that place.
    pub(crate) fn open(&self, place: &str, sealed: &[u8]) -> Result<Secret<Vec<u8>>, OpenError> {
        let wrong = || OpenError::MasterKey("does not open this database; it belongs to another one");
        let (nonce, ciphertext) = sealed.split_at_checked(NONCE_LEN).ok_or_else(wrong)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| wrong())?;
        let mut buffer = ciphertext.to_vec();
        let plain = self.0.open_in_place(nonce, Aad::from(place.as_bytes()), &mut buffer).map_err(|_| wrong())?;
        Ok(Secret::new(plain.to_vec()))
    }
}

/// Makes the key's file, unless somebody else has. The name appears with the whole key behind it or not at all: a kill in
/// between leaves nothing that a later start would stumble over.
fn create(file: &Path) -> Result<(), OpenError> {
    let io = |error| OpenError::MasterKeyFile { path: file.to_owned(), error };
    let mut key = vec![0; 32];
    let mut name = [0; 8];
    aws_lc_rs::rand::fill(&mut key).and_then(|()| aws_lc_rs::rand::fill(&mut name)).map_err(|_| OpenError::Crypto)?;
    let text = Secret::new(hex::encode(Secret::new(key).expose()));
    let draft = file.with_extension(hex::encode(name));
    let written = (|| {
        let mut out = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        out.write_all(text.expose().as_bytes())?;
        out.sync_all()?;
        match std::fs::hard_link(&draft, file) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            linked => linked,
        }
    })();
    let removed = std::fs::remove_file(&draft);
    written.and(removed).map_err(io)?;
    // The name must be as durable as the bytes: the database will depend on it.
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_secret_opens_only_at_its_place_and_under_its_key() {
        let key = MasterKey::new(&(0..32).collect::<Vec<u8>>()).unwrap();
        let sealed = key.seal("a", b"secret").unwrap();
        assert_eq!(key.open("a", &sealed).unwrap().expose(), b"secret");
        assert!(key.open("b", &sealed).is_err());
        assert!(MasterKey::new(&(1..33).collect::<Vec<u8>>()).unwrap().open("a", &sealed).is_err());
        assert!(key.open("a", &sealed[..5]).is_err());
        assert_ne!(sealed, key.seal("a", b"secret").unwrap());
    }

    #[test]
    fn weak_master_keys_are_refused() {
        assert!(MasterKey::new(&[7; 32]).is_err());
        assert!(MasterKey::new(&[1, 2, 3]).is_err());
    }

    #[test]
    fn a_missing_master_key_is_made_only_for_a_new_database() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("master.key");
        let error = MasterKey::load_or_create(&file, true).unwrap_err().to_string();
        assert!(error.contains("missing"), "{error}");
        assert!(!file.exists(), "nothing half-written");
        let sealed = MasterKey::load_or_create(&file, false).unwrap().seal("a", b"s").unwrap();
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(MasterKey::load_or_create(&file, true).unwrap().open("a", &sealed).is_ok());
        std::fs::write(&file, "zz").unwrap();
        assert!(MasterKey::load_or_create(&file, true).is_err());
    }

    #[test]
    fn processes_that_start_at_once_agree_on_one_master_key() {
        for _ in 0..50 {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("master.key");
            let start = std::sync::Barrier::new(8);
            let sealed: Vec<_> = std::thread::scope(|scope| {
                let open = || {
                    start.wait();
                    MasterKey::load_or_create(&file, false).map(|key| key.seal("a", b"s").unwrap())
                };
                let threads: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap().unwrap()).collect()
            });
            let key = MasterKey::load_or_create(&file, true).unwrap();
            assert!(sealed.iter().all(|sealed| key.open("a", sealed).is_ok()));
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside the key");
        }
    }
}
