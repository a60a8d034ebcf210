//! scrypt (RFC 7914): PHC strings (`ln=` of passlib, `n=` of Node's phc-format), Django's `scrypt$…` and Werkzeug's
//! `scrypt:…`.

use ::scrypt::Params;
use aws_lc_rs::constant_time::verify_slices_are_equal;

use super::stored::{HashRefused, base64, ended, named, next, number};
use crate::error::IdentityError;

/// The most memory that an imported hash may take: 128 · N · r bytes.
const MAX_MEMORY: u64 = 256 << 20;
/// Memory times p, about a second.
const MAX_WORK: u64 = 512 << 20;

/// A stored scrypt hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scrypt {
    log_n: u8,
    r: u32,
    p: u32,
    salt: Box<[u8]>,
    pub(super) output: Box<[u8]>,
}

impl Scrypt {
    pub(super) fn parse(text: &str) -> Result<Self, HashRefused> {
        if let Some(rest) = text.strip_prefix("$scrypt$") {
            let mut parts = rest.split('$');
            let mut fields = next(&mut parts)?.split(',');
            let cost = fields.next();
            let log_n = match named(cost, "ln") {
                Ok(log_n) => number(log_n)?,
                Err(_) => log2(named(cost, "n")?)?,
            };
            let (r, p) = (number(named(fields.next(), "r")?)?, number(named(fields.next(), "p")?)?);
            ended(fields)?;
            let (salt, output) = (base64(next(&mut parts)?)?, base64(next(&mut parts)?)?);
            ended(parts)?;
            return Self::new(log_n, r, p, salt, output);
        }
        if let Some(rest) = text.strip_prefix("scrypt$") {
            // Django: scrypt$N$salt$r$p$base64, the salt as it stands there.
            let mut parts = rest.split('$');
            let (log_n, salt) = (log2(next(&mut parts)?)?, next(&mut parts)?);
            let (r, p) = (number(next(&mut parts)?)?, number(next(&mut parts)?)?);
            let output = base64(next(&mut parts)?)?;
            ended(parts)?;
            return Self::new(log_n, r, p, salt.as_bytes().to_vec(), output);
        }
        // Werkzeug: scrypt:N:r:p$salt$hexadecimal, the salt as it stands there.
        let mut parts = text.strip_prefix("scrypt:").ok_or(HashRefused::Unknown)?.split('$');
        let mut fields = next(&mut parts)?.split(':');
        let (log_n, r, p) = (log2(next(&mut fields)?)?, number(next(&mut fields)?)?, number(next(&mut fields)?)?);
        ended(fields)?;
        let salt = next(&mut parts)?;
        let output =
            hex::decode(next(&mut parts)?).map_err(|_| HashRefused::Damaged("its hexadecimal cannot be read"))?;
        ended(parts)?;
        Self::new(log_n, r, p, salt.as_bytes().to_vec(), output)
    }

    fn new(log_n: u32, r: u32, p: u32, salt: Vec<u8>, output: Vec<u8>) -> Result<Self, HashRefused> {
        let memory = 1_u64.checked_shl(log_n).and_then(|n| n.checked_mul(128 * u64::from(r)));
        let work = memory.and_then(|memory| memory.checked_mul(u64::from(p)));
        if memory.is_none_or(|memory| memory > MAX_MEMORY) || work.is_none_or(|work| work > MAX_WORK) {
            return Err(HashRefused::TooCostly("scrypt may take 256 MiB (128 N r), and 512 MiB times p"));
        }
        let log_n = u8::try_from(log_n).map_err(|_| HashRefused::Damaged("no such parameters of scrypt"))?;
        // RFC 7914 §2: N is larger than 1.
        if log_n == 0 || Params::new(log_n, r, p).is_err() {
            return Err(HashRefused::Damaged("no such parameters of scrypt"));
        }
        if !(1..=64).contains(&salt.len()) {
            return Err(HashRefused::Damaged("its salt must have 1 to 64 bytes"));
        }
        if !(16..=64).contains(&output.len()) {
            return Err(HashRefused::TooWeak("its output must have 16 to 64 bytes"));
        }
        Ok(Self { log_n, r, p, salt: salt.into(), output: output.into() })
    }

    pub(super) fn matches(&self, password: &[u8]) -> Result<bool, IdentityError> {
        let params = Params::new(self.log_n, self.r, self.p).map_err(|_| IdentityError::Crypto)?;
        let mut output = vec![0; self.output.len()];
        ::scrypt::scrypt(password, &self.salt, &params, &mut output).map_err(|_| IdentityError::Crypto)?;
        Ok(verify_slices_are_equal(&output, &self.output).is_ok())
    }
}

/// The logarithm of an N that is a power of two, as all are.
fn log2(n: &str) -> Result<u32, HashRefused> {
    let n = number(n)?;
    if n.is_power_of_two() { Ok(n.ilog2()) } else { Err(HashRefused::Damaged("N of scrypt is a power of two")) }
}
