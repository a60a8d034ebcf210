//! The path of a request: what is matched is what is forwarded (H7).

use portcullis_core::NormalizedPath;

/// A path that is accepted has one spelling, and no server that decodes it leaves the folder it names.
///
/// # Panics
/// Where that is not so.
pub fn path(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(accepted) = NormalizedPath::parse(text) else { return };
    let spelt = accepted.as_str();
    let again = NormalizedPath::parse(spelt).expect("what was accepted is accepted again");
    assert_eq!(again.as_str(), spelt, "{text:?}");
    assert!(spelt.starts_with('/') && !spelt.contains("//") && !spelt.contains([';', '\\']), "{spelt:?}");
    assert!(spelt.bytes().all(|byte| byte.is_ascii_graphic()), "{spelt:?}");
    http::uri::PathAndQuery::try_from(spelt).expect("it can be forwarded");
    let mut decoded = spelt.as_bytes().to_vec();
    // Once is what a server does, twice is what a server behind a server does to an escaped percent sign.
    for _ in 0..2 {
        let lower = decoded.to_ascii_lowercase();
        assert!(!decoded.contains(&0), "{spelt:?}");
        for segment in decoded.split(|byte| *byte == b'/') {
            assert!(!matches!(segment, b"." | b".."), "{spelt:?}");
        }
        if lower.windows(3).any(|escape| escape == b"%25") {
            break;
        }
        decoded = unescape(&decoded);
    }
}

/// Decodes as lenient servers do: what is no escape stays.
fn unescape(bytes: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, tail)) = rest.split_first() {
        let value = (*first == b'%')
            .then(|| tail.get(..2))
            .flatten()
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        decoded.push(value.unwrap_or(*first));
        rest = if value.is_some() { &tail[2..] } else { tail };
    }
    decoded
}
