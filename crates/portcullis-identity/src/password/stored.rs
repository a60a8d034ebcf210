//! A password hash as it is stored, our own or one that another system made: read once, bounded, verified.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::own::PasswordHash;
use super::{argon, bcrypt, pbkdf2, scrypt};
use crate::error::IdentityError;

/// No known format needs more; the longest is PBKDF2 with a derived key of 512 bytes.
const MAX_TEXT: usize = 1024;

/// A hash that can be verified within the bounds of its algorithm's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StoredHash {
    /// Argon2i, Argon2d or Argon2id.
    Argon(argon::Argon),
    /// bcrypt, with or without a digest before it.
    Bcrypt(bcrypt::Bcrypt),
    /// scrypt.
    Scrypt(scrypt::Scrypt),
    /// PBKDF2 with HMAC.
    Pbkdf2(pbkdf2::Pbkdf2),
}

/// Why a password hash is not taken. It never repeats the hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HashRefused {
    /// None of the formats that are known.
    #[error("the format of the password hash is not known")]
    Unknown,
    /// A known format with something missing or wrong inside.
    #[error("the password hash is damaged: {0}")]
    Damaged(&'static str),
    /// It would take more than a login may take.
    #[error("the password hash costs too much: {0}")]
    TooCostly(&'static str),
    /// It could be matched by chance or is known to be broken.
    #[error("the password hash is too weak: {0}")]
    TooWeak(&'static str),
}

impl StoredHash {
    /// Reads a hash in one of the spellings that `docs/import.md` lists.
    pub(crate) fn parse(text: &str) -> Result<Self, HashRefused> {
        if text.len() > MAX_TEXT || !text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return Err(HashRefused::Unknown);
        }
        // The first word names the algorithm in every spelling: `$word$…` (PHC, modular crypt), `word$…` (Django) and
        // `word:…` (Werkzeug).
        let bare = text.strip_prefix('$').unwrap_or(text);
        let word = bare.split(['$', ':']).next().unwrap_or_default();
        match word {
            "argon2i" | "argon2d" | "argon2id" | "argon2" => argon::Argon::parse(text).map(Self::Argon),
            "2" | "2a" | "2b" | "2x" | "2y" | "bcrypt" | "bcrypt_sha256" | "bcrypt-sha256" => {
                bcrypt::Bcrypt::parse(text).map(Self::Bcrypt)
            }
            "scrypt" => scrypt::Scrypt::parse(text).map(Self::Scrypt),
            "pbkdf2" | "pbkdf2-sha1" | "pbkdf2-sha256" | "pbkdf2-sha512" | "pbkdf2_sha1" | "pbkdf2_sha256"
            | "pbkdf2_sha512" => pbkdf2::Pbkdf2::parse(text).map(Self::Pbkdf2),
            _ => Err(HashRefused::Unknown),
        }
    }

    /// Whether it is the hash of these bytes. The comparison takes constant time.
    pub(crate) fn matches(&self, password: &[u8]) -> Result<bool, IdentityError> {
        match self {
            Self::Argon(hash) => hash.matches(password),
            Self::Bcrypt(hash) => hash.matches(password),
            Self::Scrypt(hash) => hash.matches(password),
            Self::Pbkdf2(hash) => Ok(hash.matches(password)),
        }
    }

    /// The same work with an outcome that no password has: for a stand-in, which must not be done sooner for whoever knows
    /// the password of the account that its hash came from.
    pub(super) fn of_nobody(mut self) -> Self {
        match &mut self {
            Self::Argon(hash) => hash.output.fill(0),
            Self::Bcrypt(hash) => hash.digest.fill(0),
            Self::Scrypt(hash) => hash.output.fill(0),
            Self::Pbkdf2(hash) => hash.output.fill(0),
        }
        self
    }

    /// Whether it is what would be made today, so that nothing has to be done at a login.
    pub(crate) fn is_as_configured(&self, own: PasswordHash) -> bool {
        match (self, own) {
            (Self::Argon(hash), PasswordHash::Argon2id) => hash.is_own(),
            (Self::Bcrypt(hash), PasswordHash::Bcrypt) => hash.is_own(),
            _ => false,
        }
    }
}

/// Reads base64 with or without padding, and with passlib's `.` for `+`.
pub(super) fn base64(text: &str) -> Result<Vec<u8>, HashRefused> {
    const CONFIG: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, CONFIG);
    STANDARD.decode(text.replace('.', "+")).map_err(|_| HashRefused::Damaged("its base64 cannot be read"))
}

/// Reads a whole number in its one spelling: digits without sign or leading zero.
pub(super) fn number(text: &str) -> Result<u32, HashRefused> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain).ok_or(HashRefused::Damaged("a number in it cannot be read"))
}

/// Takes the value of `name=value`.
pub(super) fn named<'a>(field: Option<&'a str>, name: &str) -> Result<&'a str, HashRefused> {
    field
        .and_then(|field| field.strip_prefix(name)?.strip_prefix('='))
        .ok_or(HashRefused::Damaged("a parameter is missing"))
}

/// Refuses what follows when everything has been read.
pub(super) fn ended<'a>(mut rest: impl Iterator<Item = &'a str>) -> Result<(), HashRefused> {
    if rest.next().is_some() { Err(HashRefused::Damaged("it goes on after its end")) } else { Ok(()) }
}

/// The next part of a hash.
pub(super) fn next<'a>(parts: &mut impl Iterator<Item = &'a str>) -> Result<&'a str, HashRefused> {
    parts.next().filter(|part| !part.is_empty()).ok_or(HashRefused::Damaged("a part is missing"))
}

#[cfg(test)]
pub(super) fn refused(text: &str) -> HashRefused {
    StoredHash::parse(text).expect_err(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a3_what_is_no_known_hash_is_refused_and_never_repeated() {
        for text in [
            "",
            "!",
            "secret-in-plain-text",
            "5f4dcc3b5aa765d61d8327deb882cf99",
            "{SSHA}abcdefgh",
            "$1$salt$22characters",
            "$6$salt$hash",
            "$7$C6..../....SodiumChloride$kBGj9fHznVYFQMEn/qDCfrDevf9YDtcDdKvEqHJLV8D",
            "$y$j9T$salt$hash",
            "$argon2x$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aaaa",
            "$2b$12$\u{e9}",
            &"$".repeat(5000),
        ] {
            assert_eq!(refused(text), HashRefused::Unknown, "{text:?}");
        }
        let told = refused("$2b$12$secretsecret").to_string();
        assert!(!told.contains("secretsecret"), "{told}");
    }

    #[test]
    fn a3_a_number_has_one_spelling() {
        assert_eq!(number("0"), Ok(0));
        assert_eq!(number("4294967295"), Ok(u32::MAX));
        for bad in ["", "+1", "-1", "01", " 1", "1e3", "4294967296"] {
            assert!(number(bad).is_err(), "{bad}");
        }
    }
}
