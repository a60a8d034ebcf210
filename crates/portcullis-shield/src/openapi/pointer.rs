//! JSON Pointers (RFC 6901): where something stands in the document.

/// Appends one segment.
pub(super) fn push(pointer: &mut String, segment: &str) {
    pointer.push('/');
    for c in segment.chars() {
        match c {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            c => pointer.push(c),
        }
    }
}

/// A pointer with some segments more.
pub(super) fn join(pointer: &str, segments: &[&str]) -> String {
    let mut joined = pointer.to_owned();
    for segment in segments {
        push(&mut joined, segment);
    }
    joined
}

/// The last segment, as it is.
pub(super) fn last(pointer: &str) -> String {
    pointer.rsplit('/').next().unwrap_or_default().replace("~1", "/").replace("~0", "~")
}
