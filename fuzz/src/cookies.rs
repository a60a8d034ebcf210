//! The `Cookie` header: our cookies are found, and none of them is forwarded.

use http::HeaderMap;
use http::header::{COOKIE, SET_COOKIE};
use portcullis_auth::{CookieNames, credential};

/// After stripping none of ours is left, by our reading or by a lenient one; what is not ours stays.
///
/// # Panics
/// Where that is not so.
pub fn cookies(data: &[u8]) {
    let mut headers = HeaderMap::new();
    for value in crate::values(data) {
        headers.append(COOKIE, value.clone());
        headers.append(SET_COOKIE, value);
    }
    let foreign = lenient(&headers).into_iter().filter(|(name, _)| !is_ours(name)).count();
    for https in [false, true] {
        let names = CookieNames::new(https);
        // It must answer, whatever it answers.
        let _ = credential::presented(&headers, &names);
        let mut forwarded = headers.clone();
        credential::strip_cookies(&mut forwarded, None);
        for name in [names.access(), names.refresh(), names.session(), names.form(), names.device()] {
            assert_eq!(credential::cookie(&forwarded, name), Ok(None), "{name} in {headers:?}");
        }
        let left = lenient(&forwarded);
        assert!(left.iter().all(|(name, _)| !is_ours(name)), "{forwarded:?} of {headers:?}");
        assert_eq!(left.len(), foreign, "{forwarded:?} of {headers:?}");
        credential::drop_set_cookies(&mut forwarded);
        for set in forwarded.get_all(SET_COOKIE) {
            let pair = set.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
            // Without "=" it is a value of a cookie that has no name, and comes back as a text that names nothing.
            let Some(at) = pair.iter().position(|byte| *byte == b'=') else { continue };
            assert!(!is_ours(pair[..at].trim_ascii()), "{set:?}");
        }
    }
}

/// The pairs as a server reads them that cares for nothing but `;` and `=`.
fn lenient(headers: &HeaderMap) -> Vec<(Vec<u8>, Vec<u8>)> {
    let pairs = headers.get_all(COOKIE).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b';'));
    pairs
        .filter_map(|pair| {
            let at = pair.iter().position(|byte| *byte == b'=')?;
            Some((pair[..at].trim_ascii().to_vec(), pair[at + 1..].to_vec()))
        })
        .collect()
}

fn is_ours(name: &[u8]) -> bool {
    let bare = name.strip_prefix(b"__Host-").or_else(|| name.strip_prefix(b"__Secure-")).unwrap_or(name);
    bare.starts_with(b"portcullis_")
}
