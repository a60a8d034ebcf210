//! PBKDF2 (RFC 8018) with HMAC of SHA-1, SHA-256 and SHA-512: PHC strings, passlib's `$pbkdf2-sha256$…`, Django's
//! `pbkdf2_sha256$…` and Werkzeug's `pbkdf2:sha256:…`.

use std::num::NonZeroU32;

use aws_lc_rs::pbkdf2::{self, PBKDF2_HMAC_SHA1, PBKDF2_HMAC_SHA256, PBKDF2_HMAC_SHA512};

use super::stored::{HashRefused, base64, ended, next, number};

/// Iterations, times the blocks of the derived key: about a second.
const MAX_WORK: u64 = 2_000_000;

/// A stored PBKDF2 hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pbkdf2 {
    digest: Digest,
    iterations: NonZeroU32,
    salt: Box<[u8]>,
    pub(super) output: Box<[u8]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Digest {
    Sha1,
    Sha256,
    Sha512,
}

impl Digest {
    fn parse(name: &str) -> Result<Self, HashRefused> {
        match name {
            "sha1" => Ok(Self::Sha1),
            "sha256" => Ok(Self::Sha256),
            "sha512" => Ok(Self::Sha512),
            _ => Err(HashRefused::Damaged("PBKDF2 is known with sha1, sha256 and sha512")),
        }
    }

    const fn bytes(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }
}

impl Pbkdf2 {
    pub(super) fn parse(text: &str) -> Result<Self, HashRefused> {
        if let Some(rest) = text.strip_prefix("$pbkdf2") {
            // PHC and passlib: a suffix names the digest, none is SHA-1; salt and key in base64.
            let (name, rest) = rest.split_once('$').ok_or(HashRefused::Damaged("a part is missing"))?;
            let digest = name.strip_prefix('-').map_or(Ok(Digest::Sha1), Digest::parse)?;
            let mut parts = rest.split('$');
            let (iterations, length) = parameters(next(&mut parts)?)?;
            let (salt, output) = (base64(next(&mut parts)?)?, base64(next(&mut parts)?)?);
            ended(parts)?;
            if length.is_some_and(|length| usize::try_from(length) != Ok(output.len())) {
                return Err(HashRefused::Damaged("its length is not the one it names"));
            }
            return Self::new(digest, iterations, salt, output);
        }
        if let Some(rest) = text.strip_prefix("pbkdf2_") {
            // Django: the salt as it stands there, the key in base64.
            let mut parts = rest.split('$');
            let (digest, iterations) = (Digest::parse(next(&mut parts)?)?, number(next(&mut parts)?)?);
            let (salt, output) = (next(&mut parts)?, base64(next(&mut parts)?)?);
            ended(parts)?;
            return Self::new(digest, iterations, salt.as_bytes().to_vec(), output);
        }
        // Werkzeug: the salt as it stands there, the key in hexadecimal.
        let mut parts = text.strip_prefix("pbkdf2:").ok_or(HashRefused::Unknown)?.split('$');
        let mut fields = next(&mut parts)?.split(':');
        let (digest, iterations) = (Digest::parse(next(&mut fields)?)?, number(next(&mut fields)?)?);
        ended(fields)?;
        let salt = next(&mut parts)?;
        let output =
            hex::decode(next(&mut parts)?).map_err(|_| HashRefused::Damaged("its hexadecimal cannot be read"))?;
        ended(parts)?;
        Self::new(digest, iterations, salt.as_bytes().to_vec(), output)
    }

    fn new(digest: Digest, iterations: u32, salt: Vec<u8>, output: Vec<u8>) -> Result<Self, HashRefused> {
        let iterations = NonZeroU32::new(iterations).ok_or(HashRefused::Damaged("it has no iterations"))?;
        let blocks = u64::try_from(output.len().div_ceil(digest.bytes())).unwrap_or(u64::MAX);
        if u64::from(iterations.get()).saturating_mul(blocks) > MAX_WORK {
            return Err(HashRefused::TooCostly("PBKDF2 may take 2,000,000 iterations times blocks of its output"));
        }
        if !(1..=256).contains(&salt.len()) {
            return Err(HashRefused::Damaged("its salt must have 1 to 256 bytes"));
        }
        if !(16..=512).contains(&output.len()) {
            return Err(HashRefused::TooWeak("its output must have 16 to 512 bytes"));
        }
        Ok(Self { digest, iterations, salt: salt.into(), output: output.into() })
    }

    pub(super) fn matches(&self, password: &[u8]) -> bool {
        let algorithm = match self.digest {
            Digest::Sha1 => PBKDF2_HMAC_SHA1,
            Digest::Sha256 => PBKDF2_HMAC_SHA256,
            Digest::Sha512 => PBKDF2_HMAC_SHA512,
        };
        pbkdf2::verify(algorithm, self.iterations, &self.salt, password, &self.output).is_ok()
    }
}

/// Iterations alone (passlib), or `i=…` with an optional `l=…` (PHC).
fn parameters(text: &str) -> Result<(u32, Option<u32>), HashRefused> {
    let mut fields = text.split(',');
    let first = fields.next().unwrap_or_default();
    let iterations = number(first.strip_prefix("i=").unwrap_or(first))?;
    let length = match fields.next() {
        Some(field) => Some(number(field.strip_prefix("l=").ok_or(HashRefused::Damaged("a parameter is not known"))?)?),
        None => None,
    };
    ended(fields)?;
    Ok((iterations, length))
}
