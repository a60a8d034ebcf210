//! Tokens: nothing verifies that our key did not sign.

use std::sync::LazyLock;

use portcullis_auth::{Algorithm, KeySet, SigningKey, VerificationKey, jws};

/// What the only signed tokens say.
const CLAIMS: &[u8] = b"{\"iss\":\"https://issuer.example\",\"sub\":\"u\",\"exp\":4102444800}";

/// A shared secret, and public keys of which nobody has the private halves any more. One set may not hold both.
static KEYS: LazyLock<[KeySet; 2]> = LazyLock::new(|| {
    let secret = VerificationKey::from_secret(Algorithm::Hs256, None, b"a secret of thirty-two bytes....");
    let public = [Algorithm::Es256, Algorithm::EdDsa]
        .map(|algorithm| SigningKey::generate(algorithm).expect("a key").verification_key().clone());
    [vec![secret.expect("a secret that is long enough")], public.into()]
        .map(|keys| KeySet::new(keys).expect("a key set"))
});

/// Whatever the token, it is not believed unless it says exactly what was signed.
///
/// # Panics
/// Where that is not so.
pub fn jwt(data: &[u8]) {
    let Ok(token) = std::str::from_utf8(data) else { return };
    for claims in KEYS.iter().filter_map(|keys| jws::verify(token, keys).ok()) {
        assert_eq!(claims, CLAIMS, "{token}");
    }
}
