//! JWKs (RFC 7517, RFC 7518 §6, RFC 8037), and public keys in other forms turned into one.

use serde_json::{Map, Value};

use super::{KeyError, VerificationKey, der, roca};
use crate::algorithm::Algorithm;
use crate::jws;

/// Builds a key from a JWK's members.
pub(super) fn key_from_members(
    members: &Map<String, Value>,
    algorithm: Option<Algorithm>,
) -> Result<VerificationKey, KeyError> {
    check_use(members)?;
    let kid = match members.get("kid") {
        None => None,
        Some(Value::String(kid)) => Some(kid.clone().into_boxed_str()),
        Some(_) => return Err(KeyError::Jwk("\"kid\" is not a text")),
    };
    let named = match members.get("alg") {
        None => None,
        Some(Value::String(name)) => Some(name.parse::<Algorithm>().map_err(|unknown| KeyError::Algorithm(unknown.0))?),
        Some(_) => return Err(KeyError::Jwk("\"alg\" is not a text")),
    };
    if let (Some(named), Some(wanted)) = (named, algorithm)
        && named != wanted
    {
        return Err(KeyError::Mismatch(wanted.to_string()));
    }
    let algorithm = named.or(algorithm);
    match text(members, "kty")? {
        "RSA" => rsa(members, kid, algorithm.unwrap_or(Algorithm::Rs256)),
        "EC" => elliptic(members, kid, algorithm),
        "OKP" => edwards(members, kid, algorithm),
        "oct" => {
            let secret = bytes(members, "k")?;
            VerificationKey::from_secret(algorithm.unwrap_or(Algorithm::Hs256), kid.as_deref(), &secret)
        }
        _ => Err(KeyError::Jwk("unknown \"kty\"")),
    }
}

/// `use` must be `sig` and `key_ops` must hold `verify`, where they are given (RFC 7517 §4.2, §4.3).
fn check_use(members: &Map<String, Value>) -> Result<(), KeyError> {
    if members.get("use").is_some_and(|value| value != "sig") {
        return Err(KeyError::Use);
    }
    match members.get("key_ops") {
        None => Ok(()),
        Some(Value::Array(ops)) if ops.iter().any(|op| op == "verify") => Ok(()),
        Some(_) => Err(KeyError::Use),
    }
}

fn rsa(members: &Map<String, Value>, kid: Option<Box<str>>, algorithm: Algorithm) -> Result<VerificationKey, KeyError> {
    use Algorithm::{Ps256, Ps384, Ps512, Rs256, Rs384, Rs512};
    if !matches!(algorithm, Rs256 | Rs384 | Rs512 | Ps256 | Ps384 | Ps512) {
        return Err(KeyError::Mismatch(algorithm.to_string()));
    }
    let (modulus, exponent) = (bytes(members, "n")?, bytes(members, "e")?);
    let (modulus, exponent) = (trimmed(&modulus), trimmed(&exponent));
    let bits = modulus.len() * 8 - modulus.first().map_or(0, |first| first.leading_zeros() as usize);
    if bits < 2048 {
        return Err(KeyError::Weak("an RSA modulus must have at least 2048 bits"));
    }
    if bits > 8192 {
        return Err(KeyError::Weak("an RSA modulus of more than 8192 bits makes every signature slow"));
    }
    // NIST SP 800-56B asks for an odd exponent over 65,536; 3 and 17 are still about and not broken by themselves.
    let odd = exponent.last().is_some_and(|last| last & 1 == 1);
    if !odd || exponent == [1] || exponent.len() > 4 {
        return Err(KeyError::Weak("an RSA exponent must be odd, over 1 and at most 32 bits"));
    }
    if roca::is_vulnerable(modulus) {
        return Err(KeyError::Weak("the RSA modulus was made by a faulty generator (ROCA, CVE-2017-15361)"));
    }
    let pkcs1 = der::element(der::SEQUENCE, &[der::positive(modulus), der::positive(exponent)].concat());
    let public = public_members(&[("kty", "RSA"), ("n", &jws::encode(modulus)), ("e", &jws::encode(exponent))]);
    VerificationKey::from_public_bytes(algorithm, kid, &pkcs1, public)
}

fn elliptic(
    members: &Map<String, Value>,
    kid: Option<Box<str>>,
    algorithm: Option<Algorithm>,
) -> Result<VerificationKey, KeyError> {
    let curve = text(members, "crv")?;
    let (only, size) = match curve {
        "P-256" => (Algorithm::Es256, 32),
        "P-384" => (Algorithm::Es384, 48),
        "P-521" => (Algorithm::Es512, 66),
        other => return Err(KeyError::Curve(other.to_owned())),
    };
    if algorithm.is_some_and(|algorithm| algorithm != only) {
        return Err(KeyError::Mismatch(algorithm.unwrap_or(only).to_string()));
    }
    let (x, y) = (bytes(members, "x")?, bytes(members, "y")?);
    if x.len() != size || y.len() != size {
        return Err(KeyError::Invalid);
    }
    let point = [&[4][..], &x, &y].concat();
    let public = public_members(&[("kty", "EC"), ("crv", curve), ("x", &jws::encode(&x)), ("y", &jws::encode(&y))]);
    VerificationKey::from_public_bytes(only, kid, &point, public)
}

fn edwards(
    members: &Map<String, Value>,
    kid: Option<Box<str>>,
    algorithm: Option<Algorithm>,
) -> Result<VerificationKey, KeyError> {
    let curve = text(members, "crv")?;
    if curve != "Ed25519" {
        return Err(KeyError::Curve(curve.to_owned()));
    }
    if algorithm.is_some_and(|algorithm| algorithm != Algorithm::EdDsa) {
        return Err(KeyError::Mismatch(algorithm.unwrap_or(Algorithm::EdDsa).to_string()));
    }
    let x = bytes(members, "x")?;
    let point = <[u8; 32]>::try_from(x.as_slice()).map_err(|_| KeyError::Invalid)?;
    if is_of_small_order(point) {
        return Err(KeyError::Weak("an Ed25519 point of small order accepts signatures that anybody can make"));
    }
    let public = public_members(&[("kty", "OKP"), ("crv", "Ed25519"), ("x", &jws::encode(&x))]);
    VerificationKey::from_public_bytes(Algorithm::EdDsa, kid, &x, public)
}

/// Whether an Ed25519 public key is one of the eight points whose multiples are few (RFC 8032 §5.1.7 leaves them to the
/// verifier): under the neutral one, a signature of `R = 1, S = 0` verifies for every message.
fn is_of_small_order(mut point: [u8; 32]) -> bool {
    /// The coordinate y of each, little-endian, in hexadecimal: 0, 1, -1 and the two of order eight; then 0 and 1 again,
    /// written as p and p + 1.
    const COORDINATES: [&str; 7] = [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ];
    // The highest bit is the sign of x.
    point[31] &= 0x7f;
    let mut text = String::with_capacity(64);
    for byte in point {
        text.push(char::from_digit(u32::from(byte >> 4), 16).unwrap_or_default());
        text.push(char::from_digit(u32::from(byte & 15), 16).unwrap_or_default());
    }
    COORDINATES.contains(&text.as_str())
}

/// The object identifiers of kinds of keys (RFC 8017 §A.1, RFC 5480 §2.1.1, RFC 8410 §3).
pub(super) const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
pub(super) const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
pub(super) const ED25519: &[u8] = &[0x2b, 0x65, 0x70];

/// The JWK members of a SubjectPublicKeyInfo, read as the algorithm says it must be.
pub(super) fn members_of_spki(algorithm: Algorithm, spki: &[u8]) -> Result<Map<String, Value>, KeyError> {
    use Algorithm::{EdDsa, Es256, Es384, Es512, Hs256, Hs384, Hs512};
    let (kind, key) = split_spki(spki).ok_or(KeyError::Pem("not a SubjectPublicKeyInfo"))?;
    let mismatch = || KeyError::Mismatch(algorithm.to_string());
    match algorithm {
        Hs256 | Hs384 | Hs512 => Err(mismatch()),
        EdDsa if kind == ED25519 => Ok(public_members(&[("kty", "OKP"), ("crv", "Ed25519"), ("x", &jws::encode(key))])),
        Es256 | Es384 | Es512 if kind == EC => {
            let curve = match algorithm {
                Es256 => "P-256",
                Es384 => "P-384",
                _ => "P-521",
            };
            let point = key.strip_prefix(&[4]).ok_or(KeyError::Pem("the point is not in uncompressed form"))?;
            let (x, y) = point.split_at(point.len() / 2);
            let (x, y) = (jws::encode(x), jws::encode(y));
            Ok(public_members(&[("kty", "EC"), ("crv", curve), ("x", &x), ("y", &y)]))
        }
        EdDsa | Es256 | Es384 | Es512 => Err(mismatch()),
        _ if kind == RSA => {
            let (modulus, exponent) = split_rsa(key).ok_or(KeyError::Pem("not an RSA public key"))?;
            let (n, e) = (jws::encode(trimmed(modulus)), jws::encode(trimmed(exponent)));
            Ok(public_members(&[("kty", "RSA"), ("n", &n), ("e", &e)]))
        }
        _ => Err(mismatch()),
    }
}

/// The algorithm's object identifier and the key's bytes.
fn split_spki(mut spki: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut inside = der::take(&mut spki, der::SEQUENCE)?;
    if !spki.is_empty() {
        return None;
    }
    let mut algorithm = der::take(&mut inside, der::SEQUENCE)?;
    let kind = der::take(&mut algorithm, der::OBJECT_IDENTIFIER)?;
    let key = der::take(&mut inside, der::BIT_STRING)?;
    if !inside.is_empty() {
        return None;
    }
    // The first byte of a bit string counts unused bits; a key has none.
    Some((kind, key.strip_prefix(&[0])?))
}

/// Modulus and exponent of an RSAPublicKey (RFC 8017 §A.1.1).
fn split_rsa(mut key: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut numbers = der::take(&mut key, der::SEQUENCE)?;
    let modulus = der::take(&mut numbers, der::INTEGER)?;
    let exponent = der::take(&mut numbers, der::INTEGER)?;
    (key.is_empty() && numbers.is_empty()).then_some((modulus, exponent))
}

fn public_members(pairs: &[(&str, &str)]) -> Map<String, Value> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))).collect()
}

fn text<'a>(members: &'a Map<String, Value>, name: &'static str) -> Result<&'a str, KeyError> {
    members.get(name).and_then(Value::as_str).ok_or(KeyError::Jwk("a member is missing or not a text"))
}

fn bytes(members: &Map<String, Value>, name: &'static str) -> Result<Vec<u8>, KeyError> {
    jws::decode(text(members, name)?).map_err(|_| KeyError::Jwk("a member is not base64url"))
}

/// A number's bytes without leading zeros.
fn trimmed(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}
