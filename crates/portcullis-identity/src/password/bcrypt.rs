//! bcrypt: `$2a$`, `$2b$` and `$2y$`; Django's `bcrypt$…` and `bcrypt_sha256$…`; passlib's `$bcrypt-sha256$…`.
//!
//! bcrypt itself reads 72 bytes and stops at a NUL. Nothing is ever cut here: a password that bcrypt could not read to its
//! end is hashed by HMAC-SHA-256 first where the hash is ours, and is a wrong one where another system made the hash. That
//! system knew 72 bytes of it, and letting in whoever knows so many would be our rule and not the owner's.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig, general_purpose};
use portcullis_core::Secret;

use super::stored::{HashRefused, ended, named, next, number};
use crate::error::IdentityError;

/// The cost of the hashes that we make: 4096 rounds, a fifth of a second.
pub(super) const COST: u32 = 12;
/// The costs that an imported hash may have; each step takes twice as long, 14 about a second.
const COSTS: std::ops::RangeInclusive<u32> = 4..=14;
/// The bytes that bcrypt reads.
const READ: usize = 72;

/// bcrypt's own base64. The last digit of salt and digest has bits to spare, which some libraries do not clear.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::BCRYPT,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(base64::engine::DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true),
);

/// A stored bcrypt hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bcrypt {
    before: Before,
    cost: u32,
    /// As it was written: passlib's HMAC takes these very digits as its key.
    salt: Box<str>,
    pub(super) digest: [u8; 23],
}

/// What happens to the password before bcrypt reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    Nothing,
    /// Django: the hexadecimal digits of SHA-256.
    HexSha256,
    /// passlib's first version: base64 of SHA-256.
    Sha256,
    /// passlib's second version and ours: base64 of HMAC-SHA-256 with the salt's digits as the key.
    HmacSha256,
}

impl Bcrypt {
    pub(super) fn parse(text: &str) -> Result<Self, HashRefused> {
        if let Some(rest) = text.strip_prefix("bcrypt_sha256$") {
            return Self::modular(Before::HexSha256, rest);
        }
        if let Some(rest) = text.strip_prefix("$bcrypt-sha256$") {
            return Self::passlib(rest);
        }
        Self::modular(Before::Nothing, text.strip_prefix("bcrypt$").unwrap_or(text))
    }

    /// `$2b$12$` with 22 digits of salt and 31 of digest.
    fn modular(before: Before, text: &str) -> Result<Self, HashRefused> {
        let mut parts = text.strip_prefix('$').ok_or(HashRefused::Unknown)?.split('$');
        variant(next(&mut parts)?)?;
        let (cost, rest) = (next(&mut parts)?, next(&mut parts)?);
        ended(parts)?;
        if cost.len() != 2 || rest.len() != 53 {
            return Err(HashRefused::Damaged("bcrypt has 2 digits of cost and 53 of salt and hash"));
        }
        let (salt, digest) = rest.split_at(22);
        Self::new(before, cost.strip_prefix('0').unwrap_or(cost), salt, digest)
    }

    /// `v=2,t=2b,r=12$salt$digest`, or `2b,12$salt$digest` of the first version.
    fn passlib(text: &str) -> Result<Self, HashRefused> {
        let mut parts = text.split('$');
        let mut fields = next(&mut parts)?.split(',');
        let first = fields.next();
        let (before, cost) = if first == Some("v=2") {
            variant(named(fields.next(), "t")?)?;
            (Before::HmacSha256, named(fields.next(), "r")?)
        } else {
            variant(first.unwrap_or_default())?;
            (Before::Sha256, fields.next().unwrap_or_default())
        };
        ended(fields)?;
        let (salt, digest) = (next(&mut parts)?, next(&mut parts)?);
        ended(parts)?;
        Self::new(before, cost, salt, digest)
    }

    fn new(before: Before, cost: &str, salt: &str, digest: &str) -> Result<Self, HashRefused> {
        let cost = number(cost)?;
        let damaged = || HashRefused::Damaged("its salt or hash cannot be read");
        let bytes = |text: &str| BASE64.decode(text).map_err(|_| damaged());
        if salt.len() != 22 || bytes(salt)?.len() != 16 {
            return Err(damaged());
        }
        let digest = <[u8; 23]>::try_from(bytes(digest)?).map_err(|_| damaged())?;
        if cost > *COSTS.end() {
            return Err(HashRefused::TooCostly("the cost of bcrypt may be 14"));
        }
        if cost < *COSTS.start() {
            return Err(HashRefused::Damaged("the cost of bcrypt is at least 4"));
        }
        Ok(Self { before, cost, salt: salt.into(), digest })
    }

    pub(super) fn matches(&self, password: &[u8]) -> Result<bool, IdentityError> {
        let read = Secret::new(match self.before {
            Before::Nothing => password[..password.len().min(READ)].to_vec(),
            Before::HexSha256 => hex::encode(digest::digest(&digest::SHA256, password)).into_bytes(),
            Before::Sha256 => {
                let digest = digest::digest(&digest::SHA256, password);
                general_purpose::STANDARD.encode(digest).into_bytes()
            }
            Before::HmacSha256 => keyed(&self.salt, password),
        });
        let digest = rounds(self.cost, &self.salt, read.expose())?;
        // Asked after the work, so that the time says nothing.
        let complete = self.before != Before::Nothing || is_read_whole(password);
        Ok(verify_slices_are_equal(&digest, &self.digest).is_ok() && complete)
    }

    /// Whether its parameters are those of the hashes that we make.
    pub(super) fn is_own(&self) -> bool {
        self.cost == COST && matches!(self.before, Before::Nothing | Before::HmacSha256)
    }
}

/// Makes a hash: the plain one that every library reads where bcrypt reads the whole password, passlib's `bcrypt-sha256`
/// where it does not.
pub(super) fn hash(password: &[u8], salt: [u8; 16]) -> Result<String, IdentityError> {
    let salt = BASE64.encode(salt);
    Ok(if is_read_whole(password) {
        format!("$2b${COST}${salt}{}", BASE64.encode(rounds(COST, &salt, password)?))
    } else {
        let read = Secret::new(keyed(&salt, password));
        format!("$bcrypt-sha256$v=2,t=2b,r={COST}${salt}${}", BASE64.encode(rounds(COST, &salt, read.expose())?))
    })
}

fn is_read_whole(password: &[u8]) -> bool {
    password.len() <= READ && !password.contains(&0)
}

/// `$2x$` is what PHP called the hashes of a library that confused bytes beyond ASCII, `$2$` the first of all, which wrote
/// no end to the password.
fn variant(name: &str) -> Result<(), HashRefused> {
    match name {
        "2a" | "2b" | "2y" => Ok(()),
        "2" | "2x" => Err(HashRefused::TooWeak("bcrypt's variants 2 and 2x are broken")),
        _ => Err(HashRefused::Damaged("no such variant of bcrypt")),
    }
}

fn keyed(salt: &str, password: &[u8]) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, salt.as_bytes());
    general_purpose::STANDARD.encode(hmac::sign(&key, password)).into_bytes()
}

/// bcrypt of at most 72 bytes.
fn rounds(cost: u32, salt: &str, password: &[u8]) -> Result<[u8; 23], IdentityError> {
    let salt =
        BASE64.decode(salt).ok().and_then(|salt| <[u8; 16]>::try_from(salt).ok()).ok_or(IdentityError::Crypto)?;
    let mut read = password.to_vec();
    read.push(0);
    read.truncate(READ);
    let read = Secret::new(read);
    let digest = ::bcrypt::bcrypt(cost, salt, read.expose());
    let mut kept = [0; 23];
    kept.copy_from_slice(&digest[..23]);
    Ok(kept)
}
