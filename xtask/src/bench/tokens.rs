//! The bench's one signing key and the access tokens made with it, kept between runs because signing takes time.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::json;

use super::peer::{AUDIENCE, ISSUER, KEY_ID, ROLE};

/// The users whose tokens a warm run uses.
pub(crate) const USERS: u64 = 1_000;
/// The tokens of a cold run, each of which is seen once.
pub(crate) const COLD: u64 = 80_000;
/// The users of the run with very many of them.
pub(crate) const MANY: u64 = 1_000_000;
/// How long a token lives, in seconds: no run may outlive it, and files of an older run are made anew long before.
const LIFE: u64 = 30 * 24 * 3600;

/// The secret of the tokens of very many users, which are signed by HMAC because a million RSA signatures take minutes.
pub(crate) const SECRET: &[u8; 32] = b"6f0b1e5d9c3a47828d41e7b0c25f96a3";

/// Where the key and the tokens lie.
#[derive(Debug)]
pub(crate) struct Tokens {
    directory: PathBuf,
    key: KeyPair,
}

impl Tokens {
    /// Takes the key of an earlier run or makes one.
    pub(crate) fn open(directory: &Path) -> Result<Self, String> {
        fs::create_dir_all(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
        let path = directory.join("key.der");
        let fresh = fs::metadata(&path)
            .and_then(|file| file.modified())
            .is_ok_and(|made| made.elapsed().is_ok_and(|age| age.as_secs() < LIFE / 2));
        if !fresh {
            fs::remove_dir_all(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
            fs::create_dir_all(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
            let key = KeyPair::generate(KeySize::Rsa2048).map_err(|error| format!("an RSA key: {error}"))?;
            let der = key.as_der().map_err(|error| format!("an RSA key: {error}"))?;
            write(&path, der.as_ref())?;
        }
        let der = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let key = KeyPair::from_pkcs8(&der).map_err(|error| format!("{}: {error}", path.display()))?;
        let tokens = Self { directory: directory.to_path_buf(), key };
        tokens.write_public()?;
        Ok(tokens)
    }

    /// The public key as PEM.
    pub(crate) fn public_key(&self) -> PathBuf {
        self.directory.join("public.pem")
    }

    /// The public key as a JWK Set.
    pub(crate) fn jwks(&self) -> PathBuf {
        self.directory.join("jwks.json")
    }

    /// The secret of the HMAC tokens.
    pub(crate) fn secret(&self) -> PathBuf {
        self.directory.join("secret")
    }

    fn write_public(&self) -> Result<(), String> {
        let public = self.key.public_key();
        let der: PublicKeyX509Der<'_> = public.as_der().map_err(|error| format!("the public key: {error}"))?;
        let text = STANDARD.encode(der.as_ref());
        let lines: Vec<&str> = text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"));
        write(&self.public_key(), pem.as_bytes())?;
        // RSAPublicKey (RFC 8017 A.1.1) of 2048 bits and the usual exponent has one layout: two heads, a zero, the modulus,
        // a head, the exponent.
        let numbers: &[u8] = public.as_ref();
        let (Some(modulus), Some(exponent)) = (numbers.get(9..265), numbers.get(267..)) else {
            return Err("the public key is not laid out as expected".to_owned());
        };
        let set = json!({ "keys": [{
            "kty": "RSA", "use": "sig", "alg": "RS256", "kid": KEY_ID,
            "n": URL_SAFE_NO_PAD.encode(modulus), "e": URL_SAFE_NO_PAD.encode(exponent),
        }] });
        write(&self.jwks(), set.to_string().as_bytes())?;
        write(&self.secret(), SECRET)
    }

    /// A token of the user with these claims in place of the usual ones.
    pub(crate) fn sign(&self, user: u64, other: &[(&str, serde_json::Value)]) -> Result<String, String> {
        let mut claims = claims(user);
        for (name, value) in other {
            claims[*name] = value.clone();
        }
        let header = json!({ "alg": "RS256", "typ": "at+jwt", "kid": KEY_ID });
        let signed = format!("{}.{}", encode(&header), encode(&claims));
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .map_err(|error| format!("signing: {error}"))?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// A file with the tokens of these users, one in a line.
    pub(crate) fn file(&self, users: Range<u64>) -> Result<PathBuf, String> {
        self.lines("rs256", users, |user| self.sign(user, &[]))
    }

    /// The same, signed by HMAC. All lines are equally long.
    pub(crate) fn hmac_file(&self, users: Range<u64>) -> Result<PathBuf, String> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET);
        let header = encode(&json!({ "alg": "HS256", "typ": "at+jwt" }));
        self.lines("hs256", users, |user| {
            let signed = format!("{header}.{}", encode(&claims(user)));
            let signature = hmac::sign(&key, signed.as_bytes());
            Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
        })
    }

    fn lines(
        &self,
        algorithm: &str,
        users: Range<u64>,
        mut make: impl FnMut(u64) -> Result<String, String>,
    ) -> Result<PathBuf, String> {
        let name = format!("{algorithm}-{}-{}", users.start, users.end);
        let path = self.directory.join(&name);
        if path.exists() {
            return Ok(path);
        }
        println!("signing {} tokens", users.end - users.start);
        let unfinished = self.directory.join(format!("{name}.unfinished"));
        let failed = |error: std::io::Error| format!("{}: {error}", unfinished.display());
        let mut file = BufWriter::new(File::create(&unfinished).map_err(failed)?);
        for user in users {
            writeln!(file, "{}", make(user)?).map_err(failed)?;
        }
        file.into_inner().map_err(|error| failed(error.into_error()))?;
        fs::rename(&unfinished, &path).map_err(failed)?;
        Ok(path)
    }
}

fn claims(user: u64) -> serde_json::Value {
    let now = now();
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": format!("user-{user:07}"), "client_id": "bench", "iat": now - 60,
        "exp": now + LIFE, "jti": format!("{user:032x}"), "role": ROLE,
    })
}

/// Seconds since 1970.
#[expect(clippy::disallowed_methods, reason = "the bench stands at the edge: its tokens are dated like anybody's")]
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn encode(value: &serde_json::Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    fs::write(path, bytes).map_err(|error| format!("{}: {error}", path.display()))
}
