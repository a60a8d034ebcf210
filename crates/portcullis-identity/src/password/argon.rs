//! Argon2 (RFC 9106) in the PHC string format, and Django's `argon2$…` around it.

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::constant_time::verify_slices_are_equal;

use super::stored::{HashRefused, base64, ended, named, next, number};
use crate::error::IdentityError;

/// The parameters that OWASP's cheat sheet gives for Argon2id: 19 MiB, two passes, one lane.
pub(super) const MEMORY_KIB: u32 = 19_456;
pub(super) const PASSES: u32 = 2;

/// The most memory that an imported hash may take: 256 MiB, what libsodium calls "moderate".
const MAX_MEMORY_KIB: u32 = 256 * 1024;
/// Memory times passes, about a second: 1 GiB.
const MAX_WORK_KIB: u64 = 1024 * 1024;
/// Lanes are worked through one after the other here.
const MAX_LANES: u32 = 16;

/// A stored Argon2 hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Argon {
    algorithm: Algorithm,
    version: Version,
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: Box<[u8]>,
    pub(super) output: Box<[u8]>,
}

impl Argon {
    pub(super) fn parse(text: &str) -> Result<Self, HashRefused> {
        let text = text.strip_prefix("argon2$").unwrap_or(text).trim_start_matches('$');
        let mut parts = text.split('$');
        let algorithm = match next(&mut parts)? {
            "argon2i" => Algorithm::Argon2i,
            "argon2d" => Algorithm::Argon2d,
            "argon2id" => Algorithm::Argon2id,
            _ => return Err(HashRefused::Unknown),
        };
        let mut parameters = next(&mut parts)?;
        // Hashes from before version 1.3 do not name theirs.
        let version = match parameters {
            "v=19" => Version::V0x13,
            "v=16" => Version::V0x10,
            _ if parameters.starts_with("v=") => return Err(HashRefused::Damaged("no such version of Argon2")),
            _ => Version::V0x10,
        };
        if parameters.starts_with("v=") {
            parameters = next(&mut parts)?;
        }
        let mut fields = parameters.split(',');
        let memory_kib = number(named(fields.next(), "m")?)?;
        let passes = number(named(fields.next(), "t")?)?;
        let lanes = number(named(fields.next(), "p")?)?;
        if fields.next().is_some() {
            return Err(HashRefused::Damaged("keyid and data are not supported"));
        }
        let (salt, output) = (base64(next(&mut parts)?)?, base64(next(&mut parts)?)?);
        ended(parts)?;
        if memory_kib > MAX_MEMORY_KIB || u64::from(memory_kib) * u64::from(passes) > MAX_WORK_KIB || lanes > MAX_LANES
        {
            return Err(HashRefused::TooCostly("Argon2 may take 256 MiB, memory times passes 1 GiB, 16 lanes"));
        }
        if !(8..=64).contains(&salt.len()) {
            return Err(HashRefused::Damaged("its salt must have 8 to 64 bytes"));
        }
        if !(16..=64).contains(&output.len()) {
            return Err(HashRefused::TooWeak("its output must have 16 to 64 bytes"));
        }
        if Params::new(memory_kib, passes, lanes, None).is_err() {
            return Err(HashRefused::Damaged("no such parameters of Argon2"));
        }
        Ok(Self { algorithm, version, memory_kib, passes, lanes, salt: salt.into(), output: output.into() })
    }

    pub(super) fn matches(&self, password: &[u8]) -> Result<bool, IdentityError> {
        let params = Params::new(self.memory_kib, self.passes, self.lanes, None).map_err(|_| IdentityError::Crypto)?;
        let mut output = vec![0; self.output.len()];
        Argon2::new(self.algorithm, self.version, params)
            .hash_password_into(password, &self.salt, &mut output)
            .map_err(|_| IdentityError::Crypto)?;
        Ok(verify_slices_are_equal(&output, &self.output).is_ok())
    }

    /// Whether its parameters are those of the hashes that we make.
    pub(super) fn is_own(&self) -> bool {
        self.algorithm == Algorithm::Argon2id
            && self.version == Version::V0x13
            && (self.memory_kib, self.passes, self.lanes) == (MEMORY_KIB, PASSES, 1)
            && self.salt.len() >= 16
            && self.output.len() >= 32
    }
}
