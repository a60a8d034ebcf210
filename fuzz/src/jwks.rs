//! Key sets of other issuers.

use portcullis_auth::KeySet;

/// A key set that is read can be published and read again, and publishes no secret.
///
/// # Panics
/// Where that is not so.
pub fn jwks(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(keys) = KeySet::from_jwks(text) else { return };
    let published = keys.public_jwks_json();
    let value: serde_json::Value = serde_json::from_str(&published).expect("what is published is JSON");
    for key in value["keys"].as_array().expect("a list of keys") {
        for secret in ["d", "p", "q", "dp", "dq", "qi", "oth", "k"] {
            assert!(key.get(secret).is_none(), "{secret} in {published}");
        }
    }
    let count = value["keys"].as_array().map_or(0, Vec::len);
    if count > 0 {
        let again = KeySet::from_jwks(&published).expect("what is published can be read");
        assert_eq!(again.keys().len(), count, "{published}");
    }
}
