//! The hashes that we make.

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::{argon, bcrypt};
use crate::error::IdentityError;

/// Which hash is made of a password.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PasswordHash {
    /// Argon2id with 19 MiB, two passes and one lane, as OWASP's cheat sheet gives it.
    #[default]
    Argon2id,
    /// bcrypt with a cost of 12: for a table that other programs read too. A password that bcrypt cannot read to its end
    /// is stored as passlib's `bcrypt-sha256`.
    Bcrypt,
}

impl PasswordHash {
    /// What the hashes that it makes begin with, but for those of passwords that bcrypt cannot read whole.
    pub(super) const fn prefix(self) -> &'static str {
        match self {
            Self::Argon2id => "$argon2id$v=19$m=19456,t=2,p=1$",
            Self::Bcrypt => "$2b$12$",
        }
    }

    /// Makes a hash with a new salt.
    pub(super) fn hash(self, password: &[u8]) -> Result<String, IdentityError> {
        let mut salt = [0; 16];
        aws_lc_rs::rand::fill(&mut salt).map_err(|_| IdentityError::Crypto)?;
        match self {
            Self::Argon2id => argon2id(password, &salt),
            Self::Bcrypt => bcrypt::hash(password, salt),
        }
    }
}

fn argon2id(password: &[u8], salt: &[u8]) -> Result<String, IdentityError> {
    let (memory, passes) = (argon::MEMORY_KIB, argon::PASSES);
    let params = Params::new(memory, passes, 1, None).map_err(|_| IdentityError::Crypto)?;
    let mut output = [0; 32];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(password, salt, &mut output)
        .map_err(|_| IdentityError::Crypto)?;
    let (salt, output) = (STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(output));
    Ok(format!("$argon2id$v=19$m={memory},t={passes},p=1${salt}${output}"))
}

#[cfg(test)]
mod tests {
    use super::super::stored::StoredHash;
    use super::*;

    #[test]
    fn a3_passwords_are_hashed_with_argon2id_at_owasps_parameters_or_bcrypt_at_cost_12() {
        let argon = PasswordHash::Argon2id.hash(b"Str0ngEnough").unwrap();
        assert!(argon.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{argon}");
        let bcrypt = PasswordHash::Bcrypt.hash(b"Str0ngEnough").unwrap();
        assert!(bcrypt.starts_with("$2b$12$") && bcrypt.len() == 60, "{bcrypt}");
        for (text, own, other) in [
            (argon, PasswordHash::Argon2id, PasswordHash::Bcrypt),
            (bcrypt, PasswordHash::Bcrypt, PasswordHash::Argon2id),
        ] {
            let stored = StoredHash::parse(&text).unwrap();
            assert!(stored.matches(b"Str0ngEnough").unwrap() && !stored.matches(b"Str0ngEnougH").unwrap());
            assert!(text.starts_with(own.prefix()));
            assert!(stored.is_as_configured(own) && !stored.is_as_configured(other), "{text}");
        }
    }

    #[test]
    fn a3_bcrypt_never_cuts_a_password() {
        let long = "x".repeat(72) + "Y";
        for password in [long.as_bytes(), b"before\0after"] {
            let text = PasswordHash::Bcrypt.hash(password).unwrap();
            assert!(text.starts_with("$bcrypt-sha256$v=2,t=2b,r=12$"), "{text}");
            let stored = StoredHash::parse(&text).unwrap();
            assert!(stored.matches(password).unwrap() && stored.is_as_configured(PasswordHash::Bcrypt));
            let cut = password.iter().position(|byte| *byte == 0).unwrap_or(72);
            assert!(!stored.matches(&password[..cut]).unwrap());
        }
        // What bcrypt reads whole stays in the form that other programs read.
        assert!(PasswordHash::Bcrypt.hash(&long.as_bytes()[..72]).unwrap().starts_with("$2b$12$"));
    }
}
