//! Opaque tokens: 256 random bits in 64 hexadecimal digits, of which only the SHA-256 is stored (A5, T4).

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use portcullis_core::Secret;

use crate::error::IdentityError;

/// A new token.
pub(crate) fn random() -> Result<Secret<String>, IdentityError> {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| IdentityError::Crypto)?;
    Ok(Secret::new(hex::encode(bytes)))
}

/// What is stored of a token; `None` for a text that is no token, so that nothing long is ever hashed or looked up.
pub(crate) fn hash(token: &str) -> Option<Vec<u8>> {
    let digits = token.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (token.len() == 64 && digits).then(|| digest(&SHA256, token.as_bytes()).as_ref().to_vec())
}

/// The one successor of a spent refresh token (T5): derived, so that two tabs that spend the same token get the same one
/// and no plain token is stored.
pub(crate) fn successor(key: &hmac::Key, family: &str, spent: &str) -> Secret<String> {
    let mut context = hmac::Context::with_key(key);
    // The family has a fixed length (a UUID), so the two cannot run into each other.
    context.update(family.as_bytes());
    context.update(spent.as_bytes());
    Secret::new(hex::encode(context.sign()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t4_tokens_have_64_hexadecimal_digits_and_anything_else_is_none() {
        let token = random().unwrap();
        assert_eq!(token.expose().len(), 64);
        assert!(hash(token.expose()).is_some());
        for bad in ["", "abc", &"g".repeat(64), &"A".repeat(64), &"a".repeat(65), &"a".repeat(1_000_000)] {
            assert!(hash(bad).is_none());
        }
    }

    #[test]
    fn t5_a_successor_is_derived_from_family_and_spent_token() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &[1; 32]);
        let other = hmac::Key::new(hmac::HMAC_SHA256, &[2; 32]);
        assert!(successor(&key, "f", "t") == successor(&key, "f", "t"));
        assert!(successor(&key, "f", "t") != successor(&key, "g", "t"));
        assert!(successor(&key, "f", "t") != successor(&key, "f", "u"));
        assert!(successor(&key, "f", "t") != successor(&other, "f", "t"));
        assert!(hash(successor(&key, "f", "t").expose()).is_some());
    }
}
