//! Certificates by ACME (RFC 8555): this gate asks an authority for them, proves that it is the host of their names, and
//! renews them.
//!
//! An [`AcmePlan`] says from whom and for which names. `keep` is a chore of the service runtime: it decides when to order
//! (`schedule`), orders (`order`, over `client`), and writes what it gets into one file (`store`) that the material of TLS is
//! loaded from like any other. `challenge` is what the cores answer meanwhile to whoever verifies us.

mod challenge;
mod client;
mod keep;
mod order;
mod schedule;
mod store;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use portcullis_core::Secret;

pub(crate) use self::challenge::Challenges;
pub(crate) use self::keep::{Keeper, Status};
use crate::upstream_tls::UpstreamTls;

/// The directory of Let's Encrypt whose certificates browsers believe.
pub(crate) const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// The one for trying things out: its limits are wide, and nobody believes its certificates.
pub(crate) const LETS_ENCRYPT_STAGING: &str = "https://acme-staging-v02.api.letsencrypt.org/directory";

/// How the authority makes sure that this gate is the host of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChallengeKind {
    /// By a file at port 80 (RFC 8555 §8.3): the listener of `[tls] redirect` serves it.
    Http01,
    /// By a handshake at port 443 (RFC 8737): the listeners of TLS answer it.
    TlsAlpn01,
}

impl ChallengeKind {
    /// Its name in the standards.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Http01 => "http-01",
            Self::TlsAlpn01 => "tls-alpn-01",
        }
    }
}

/// An account that somebody has with the authority already (RFC 8555 §7.3.4).
#[derive(Clone, Debug)]
pub struct ExternalAccount {
    /// The key's id, as the authority gave it.
    pub key_id: Box<str>,
    /// The key itself, decoded.
    pub key: Secret<Vec<u8>>,
}

/// From whom certificates come, and for which names.
#[derive(Clone, Debug)]
pub struct AcmePlan {
    /// The names, in lower case; all of them stand in one certificate. Never empty.
    pub domains: Vec<Box<str>>,
    /// Where the authority writes to, as a URL (`mailto:…`).
    pub contact: Option<Box<str>>,
    /// The URL of the authority's directory, https.
    pub directory: Box<str>,
    /// How it verifies us.
    pub challenge: ChallengeKind,
    /// An account elsewhere that ours is bound to.
    pub external_account: Option<ExternalAccount>,
    /// TLS to the authority.
    pub(crate) server: UpstreamTls,
    /// Where what belongs to this authority is kept.
    pub folder: PathBuf,
}

impl AcmePlan {
    /// Where an authority's things are kept: each has a place of its own, so that nobody's account and no certificate for
    /// trying things out is taken for another's.
    pub(crate) fn folder(state_dir: &Path, directory: &str) -> PathBuf {
        let host = directory.split("://").nth(1).and_then(|rest| rest.split(['/', ':']).next()).unwrap_or_default();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, directory.as_bytes());
        state_dir.join("acme").join(format!("{host}-{}", hex::encode(&digest.as_ref()[..4])))
    }

    /// The file with the chain and its key.
    pub(crate) fn certificate(folder: &Path) -> PathBuf {
        folder.join("certificate.pem")
    }
}

/// The plan of the moment; empty where no certificate comes by ACME.
pub(crate) type Planned = tokio::sync::watch::Sender<Option<Arc<AcmePlan>>>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_authority_has_a_place_of_its_own() {
        let folder = |directory| AcmePlan::folder(Path::new("/state"), directory);
        assert!(folder(LETS_ENCRYPT).starts_with("/state/acme"));
        assert_ne!(folder(LETS_ENCRYPT), folder(LETS_ENCRYPT_STAGING));
        assert_ne!(folder("https://ca.example/a"), folder("https://ca.example/b"));
        let name = folder("https://ca.example:14000/dir").file_name().unwrap().to_str().unwrap().to_owned();
        assert!(name.starts_with("ca.example-") && name.len() == "ca.example-".len() + 8, "{name}");
    }
}
