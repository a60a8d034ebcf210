//! What is kept of an authority: the account with its key, the certificate with its key, and the ledger of orders. Every file
//! is replaced in one step and readable for its owner only.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use instant_acme::{AccountCredentials, CertificateIdentifier};
use portcullis_auth::certificate::CertificateText;
use portcullis_core::Timestamp;
use zeroize::Zeroizing;

use super::AcmePlan;
use super::schedule::Ledger;
use crate::pem;

/// The certificate that is there.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) names: Vec<Box<str>>,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
    /// What the authority calls it (RFC 9773 §4.1); `None` where it has no such name.
    pub(super) id: Option<CertificateIdentifier<'static>>,
}

impl Held {
    /// Reads a chain with its key.
    ///
    /// # Errors
    /// Why it is not usable.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let certified = pem::certified_key(text.as_bytes(), text.as_bytes()).map_err(|error| error.to_string())?;
        let leaf = certified.cert.first().ok_or("there is no certificate in it")?;
        let read = CertificateText::read(leaf).map_err(|error| error.to_string())?;
        let id = CertificateIdentifier::try_from(leaf).ok().map(CertificateIdentifier::into_owned);
        Ok(Self { names: read.dns, not_before: read.not_before, not_after: read.not_after, id })
    }

    /// Whether it has all these names and is good at this time.
    pub(super) fn fits(&self, domains: &[Box<str>], now: Timestamp) -> bool {
        now < self.not_after && domains.iter().all(|name| self.names.contains(name))
    }
}

/// The folder of one authority.
#[derive(Clone, Debug)]
pub(super) struct Store(PathBuf);

impl Store {
    pub(super) fn new(folder: &Path) -> Self {
        Self(folder.to_owned())
    }

    /// The certificate that is there; `None` where there is none that can be used.
    pub(super) fn held(&self) -> Option<Held> {
        let text = Zeroizing::new(std::fs::read_to_string(AcmePlan::certificate(&self.0)).ok()?);
        match Held::read(&text) {
            Ok(held) => Some(held),
            Err(why) => {
                tracing::warn!("{} is not used: {why}", AcmePlan::certificate(&self.0).display());
                None
            }
        }
    }

    /// Keeps a chain with its key.
    pub(super) fn keep(&self, text: &str) -> io::Result<()> {
        self.write("certificate.pem", text.as_bytes())
    }

    /// The account with this authority, where there is one.
    pub(super) fn account(&self) -> io::Result<Option<AccountCredentials>> {
        match std::fs::read(self.0.join("account.json")) {
            Ok(bytes) => serde_json::from_slice(&Zeroizing::new(bytes)).map(Some).map_err(io::Error::other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Keeps an account.
    pub(super) fn keep_account(&self, account: &AccountCredentials) -> io::Result<()> {
        let text = Zeroizing::new(serde_json::to_vec(account).map_err(io::Error::other)?);
        self.write("account.json", &text)
    }

    /// Puts an account aside that the authority does not know any more; its key stays, for whoever looks into it.
    pub(super) fn drop_account(&self) -> io::Result<()> {
        std::fs::rename(self.0.join("account.json"), self.0.join("account.json.unknown"))
    }

    /// The ledger. One that cannot be read is begun anew: what it holds back is patience, not a secret.
    pub(super) fn ledger(&self) -> Ledger {
        let bytes = std::fs::read(self.0.join("orders.json")).unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    pub(super) fn keep_ledger(&self, ledger: &Ledger) -> io::Result<()> {
        self.write("orders.json", &serde_json::to_vec(ledger).map_err(io::Error::other)?)
    }

    /// Replaces a file: whoever reads it sees the old or the new, and a power failure leaves one of them.
    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.0)?;
        let (path, new) = (self.0.join(name), self.0.join(format!("{name}.new")));
        match std::fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&new, &path)?;
        File::open(&self.0)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn h6_acme_what_is_kept_is_for_its_owner_only_and_read_again() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("acme").join("ca.example-1");
        let store = Store::new(&folder);
        assert!(store.held().is_none() && store.account().unwrap().is_none());
        assert_eq!(store.ledger(), Ledger::default());

        let made = rcgen::generate_simple_self_signed(["a.example".to_owned(), "B.example".to_owned()]).unwrap();
        let text = format!("{}{}", made.cert.pem(), made.signing_key.serialize_pem());
        store.keep(&text).unwrap();
        store.keep(&text).unwrap();
        let held = store.held().unwrap();
        let now = held.not_before;
        assert!(held.fits(&["a.example".into(), "b.example".into()], now));
        assert!(!held.fits(&["a.example".into(), "c.example".into()], now), "a name is missing");
        assert!(!held.fits(&["a.example".into()], held.not_after), "it has ended");

        let mut ledger = Ledger::default();
        ledger.begin(now);
        store.keep_ledger(&ledger).unwrap();
        assert_eq!(store.ledger(), ledger);
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder), mode(&folder.join("certificate.pem"))), (0o700, 0o600));
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2, "nothing is left over");
    }

    #[test]
    fn a_chain_without_its_own_key_is_none() {
        let [one, other] =
            ["a.example", "b.example"].map(|name| rcgen::generate_simple_self_signed([name.to_owned()]).unwrap());
        let text = format!("{}{}", one.cert.pem(), other.signing_key.serialize_pem());
        assert!(Held::read(&text).unwrap_err().contains("does not belong"));
        assert!(Held::read("").is_err());
    }
}
