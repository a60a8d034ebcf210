//! The operator's token and the sessions that a login with it opens.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use aws_lc_rs::{hmac, rand};
use parking_lot::RwLock;
use portcullis_core::{Secret, Timestamp};

use super::private_file::{self, PrivateFileError};
use crate::config::AdminSettings;

/// The name of the session cookie. Cookies do not tell ports apart, so a browser sends it to the gateway's own listener
/// on the same host as well: the proxy must strip it before anything is forwarded.
pub const SESSION_COOKIE: &str = "portcullis_admin";

/// How long a login lasts.
pub(super) const SESSION_TTL: Duration = Duration::from_secs(8 * 3_600);

/// Characters that a configured token must have; 32 hex digits are 128 bits.
const MIN_TOKEN: usize = 32;

/// The secret that proves an operator.
#[derive(Clone, Debug)]
pub struct OperatorToken(Secret<String>);

/// Why there is no operator token.
#[derive(Debug, thiserror::Error)]
pub enum OperatorTokenError {
    /// The configured token can be guessed or cannot be sent in a header.
    #[error("the admin token must have at least 32 visible ASCII characters; `openssl rand -hex 32` makes a good one")]
    Weak,
    /// The one in the state directory could not be read or made.
    #[error(transparent)]
    File(#[from] PrivateFileError),
}

impl OperatorToken {
    /// The configured token; where there is none, the one in `<state_dir>/admin-token`, made (256 random bits, 64 hex
    /// digits, mode 0600) at the first start.
    ///
    /// # Errors
    /// [`OperatorTokenError`] says which of the two is unusable and what to do about it.
    pub fn resolve(settings: &AdminSettings, state_dir: &Path) -> Result<Self, OperatorTokenError> {
        if let Some(token) = &settings.token {
            return if is_strong(token.expose()) { Ok(Self(token.clone())) } else { Err(OperatorTokenError::Weak) };
        }
        let path = state_dir.join("admin-token");
        let text = private_file::read_or_create(&path, || format!("{}\n", random_hex()))?;
        let token = text.trim_end();
        if !is_strong(token) {
            return Err(PrivateFileError::Invalid(path).into());
        }
        Ok(Self(Secret::new(token.to_owned())))
    }

    /// The token itself, to be shown to the operator (the demo prints it).
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// Whether this is the token; takes the same time wherever they differ.
    pub(super) fn is(&self, presented: &str) -> bool {
        self.0 == Secret::new(presented.to_owned())
    }
}

fn is_strong(token: &str) -> bool {
    let visible = token.bytes().all(|byte| byte.is_ascii_graphic());
    let first = token.bytes().next();
    visible && token.len() >= MIN_TOKEN && token.bytes().any(|byte| Some(byte) != first)
}

/// Logins that are under way. A session is a statement of ours (until when, and a random number) under an HMAC, so there
/// is nothing to store that somebody could fill up; the key lives as long as the process, or until a logout.
pub(super) struct Sessions(RwLock<hmac::Key>);

impl Sessions {
    pub(super) fn new() -> Self {
        Self(RwLock::new(fresh_key()))
    }

    /// A value for the cookie, good until `now` + [`SESSION_TTL`].
    pub(super) fn open(&self, now: Timestamp) -> String {
        let statement = format!("{}.{}", now.after(SESSION_TTL).as_secs(), random_hex());
        let tag = hmac::sign(&self.0.read(), statement.as_bytes());
        format!("{statement}.{}", hex(tag.as_ref()))
    }

    /// Whether the value is one of ours and still good.
    pub(super) fn accepts(&self, value: &str, now: Timestamp) -> bool {
        let Some((statement, tag)) = value.rsplit_once('.') else { return false };
        let Some(tag) = unhex(tag) else { return false };
        if hmac::verify(&self.0.read(), statement.as_bytes(), &tag).is_err() {
            return false;
        }
        let until = statement.split('.').next().and_then(|secs| secs.parse().ok());
        until.is_some_and(|secs: u64| now.as_secs() < secs)
    }

    /// Ends every session.
    pub(super) fn end_all(&self) {
        *self.0.write() = fresh_key();
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sessions(…)")
    }
}

fn fresh_key() -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, &random())
}

/// 256 random bits.
pub(crate) fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes).expect("the operating system yields randomness");
    bytes
}

/// 256 random bits as 64 lower-case hex digits.
fn random_hex() -> String {
    hex(&random())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from(b"0123456789abcdef"[usize::from(digit)]));
        }
        text
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    let digits = digits.filter(|digits| digits.len() == 64)?;
    Some(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(token: Option<&str>) -> AdminSettings {
        AdminSettings { listen: None, token: token.map(|token| Secret::new(token.to_owned())), hosts: Vec::new() }
    }

    #[test]
    fn o4_the_token_is_made_at_the_first_start_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        let first = OperatorToken::resolve(&settings(None), directory.path()).unwrap();
        let second = OperatorToken::resolve(&settings(None), directory.path()).unwrap();
        assert_eq!(first.expose(), second.expose());
        assert_eq!(first.expose().len(), 64);
        assert!(first.is(second.expose()) && !first.is("") && !first.is(&second.expose()[1..]));
        assert_eq!(format!("{first:?}"), "OperatorToken(Secret(…))");
    }

    #[test]
    fn o3_a_weak_token_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        for weak in ["", "admin", "0123456789012345678901234567890", &"a".repeat(64), &"secret token ".repeat(4)] {
            let refused = OperatorToken::resolve(&settings(Some(weak)), directory.path());
            assert!(matches!(refused, Err(OperatorTokenError::Weak)), "{weak}");
        }
        std::fs::write(directory.path().join("admin-token"), "").unwrap();
        assert!(OperatorToken::resolve(&settings(None), directory.path()).is_err());
        OperatorToken::resolve(&settings(Some("0123456789abcdef0123456789abcdef")), directory.path()).unwrap();
    }

    #[test]
    fn o4_a_session_ends_and_cannot_be_forged() {
        let sessions = Sessions::new();
        let now = Timestamp::from_secs(1_000);
        let value = sessions.open(now);
        assert!(sessions.accepts(&value, now));
        assert!(sessions.accepts(&value, now.after(SESSION_TTL).before(Duration::from_secs(1))));
        assert!(!sessions.accepts(&value, now.after(SESSION_TTL)));
        assert!(!sessions.accepts(&value.replacen("29800", "99999", 1), now));
        assert!(!sessions.accepts(&value[..value.len() - 1], now));
        assert!(!Sessions::new().accepts(&value, now));
        for garbage in ["", ".", "..", "29800.x.", "é.é"] {
            assert!(!sessions.accepts(garbage, now));
        }
        sessions.end_all();
        assert!(!sessions.accepts(&value, now));
    }
}
