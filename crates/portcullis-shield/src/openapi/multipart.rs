//! `multipart/form-data` (RFC 7578), read so strictly that no other reader can find other parts in it.
//!
//! Of files only the name of their field, their number, their length and their declared type are looked at.

use memchr::memmem;

use crate::media::MediaType;

/// A form has not more parts.
const MOST_PARTS: usize = 1_000;

/// One part.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part<'b> {
    pub(super) name: &'b str,
    /// Whether it says that it is a file.
    pub(super) file: bool,
    pub(super) media: Option<&'b str>,
    pub(super) data: &'b [u8],
}

/// Reads the parts of a body with the boundary of its media type.
pub(super) fn parts<'b>(media: &MediaType<'_>, body: &'b [u8]) -> Result<Vec<Part<'b>>, &'static str> {
    let boundary = media.parameter("boundary").ok_or("the media type names no boundary")?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&byte);
    if boundary.is_empty() || boundary.len() > 70 || boundary.ends_with(' ') || !boundary.bytes().all(allowed) {
        return Err("the boundary is not one that RFC 2046 allows");
    }
    let delimiter = format!("\r\n--{boundary}");
    let finder = memmem::Finder::new(delimiter.as_bytes());
    let mut rest = body.strip_prefix(&delimiter.as_bytes()[2..]).ok_or("the body does not begin with its boundary")?;
    let mut parts = Vec::new();
    loop {
        if let Some(end) = rest.strip_prefix(b"--") {
            return if end.is_empty() || end == b"\r\n" {
                Ok(parts)
            } else {
                Err("something follows the last boundary")
            };
        }
        rest = rest.strip_prefix(b"\r\n").ok_or("a boundary does not stand on a line of its own")?;
        let end = finder.find(rest).ok_or("the last boundary is missing")?;
        if parts.len() >= MOST_PARTS {
            return Err("the form has too many parts");
        }
        parts.push(part(&rest[..end])?);
        rest = &rest[end + delimiter.len()..];
    }
}

fn part(text: &[u8]) -> Result<Part<'_>, &'static str> {
    let end = memmem::find(text, b"\r\n\r\n").ok_or("a part has no end of its headers")?;
    let head = std::str::from_utf8(&text[..end]).map_err(|_| "the headers of a part are not UTF-8")?;
    let data = &text[end + 4..];
    let (mut disposition, mut media) = (None, None);
    for line in head.split("\r\n") {
        let (name, value) = line.split_once(':').ok_or("a header of a part has no colon")?;
        let token = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        if !token || value.chars().any(|c| c.is_control() && c != '\t') {
            return Err("a header of a part is malformed");
        }
        let value = value.trim_matches([' ', '\t']);
        let slot = match name.to_ascii_lowercase().as_str() {
            "content-disposition" => &mut disposition,
            "content-type" => &mut media,
            "content-transfer-encoding" if matches!(value, "binary" | "8bit" | "7bit") => continue,
            "content-transfer-encoding" | "content-encoding" => return Err("a part is encoded once more"),
            _ => continue,
        };
        if slot.replace(value).is_some() {
            return Err("a part has a header twice");
        }
    }
    let (name, file) = field(disposition.ok_or("a part does not say which field it is")?)?;
    Ok(Part { name, file, media, data })
}

/// The name of the field, and whether it is a file.
fn field(disposition: &str) -> Result<(&str, bool), &'static str> {
    const ODD: &str = "a part does not say clearly which field it is";
    let mut rest = disposition
        .get(..9)
        .filter(|kind| kind.eq_ignore_ascii_case("form-data"))
        .map(|_| &disposition[9..])
        .ok_or(ODD)?;
    let (mut field, mut file) = (None, None);
    while !rest.is_empty() {
        let after = rest.trim_start_matches([' ', '\t']).strip_prefix(';').ok_or(ODD)?;
        let (key, after) = after.trim_start_matches([' ', '\t']).split_once('=').ok_or(ODD)?;
        // Without quotes, or with a backslash inside of them, programs disagree where a value ends.
        let (value, after) = after.strip_prefix('"').and_then(|after| after.split_once('"')).ok_or(ODD)?;
        if value.contains('\\') {
            return Err(ODD);
        }
        let slot = match key.to_ascii_lowercase().as_str() {
            "name" => &mut field,
            "filename" => &mut file,
            _ => return Err(ODD),
        };
        if slot.replace(value).is_some() {
            return Err(ODD);
        }
        rest = after;
    }
    Ok((field.ok_or(ODD)?, file.is_some()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<Vec<(String, bool, usize)>, &'static str> {
        let media = MediaType::parse("multipart/form-data; boundary=XX").unwrap();
        let parts = parts(&media, body.as_bytes())?;
        Ok(parts.iter().map(|part| (part.name.to_owned(), part.file, part.data.len())).collect())
    }

    #[test]
    fn a_form_has_its_parts() {
        let body = "--XX\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\none\r\n\
                    --XX\r\ncontent-type: image/png\r\nContent-Disposition: form-data; name=\"b\"; filename=\"x.png\"\r\n\r\n\r\n--X\r\n\
                    --XX--\r\n";
        assert_eq!(read(body), Ok(vec![("a".to_owned(), false, 3), ("b".to_owned(), true, 5)]));
        assert_eq!(read("--XX--"), Ok(vec![]));
    }

    #[test]
    fn what_readers_disagree_about_is_refused() {
        let with = |head: &str| format!("--XX\r\n{head}\r\n\r\nx\r\n--XX--");
        let good = "Content-Disposition: form-data; name=\"a\"";
        assert!(read(&with(good)).is_ok());
        for head in [
            "Content-Type: text/plain",
            "Content-Disposition: form-data; name=a",
            "Content-Disposition: form-data; name=\"a\"; name=\"b\"",
            "Content-Disposition: form-data; name=\"a\\\"b\"",
            "Content-Disposition: form-data; name=\"a\"; filename*=UTF-8''x",
            "Content-Disposition: form-data; name=\"a\"\r\n ; filename=\"x\"",
            "Content-Disposition: attachment; name=\"a\"",
            "Content-Disposition: form-data; name=\"a\"\r\nContent-Disposition: form-data; name=\"b\"",
            "Content-Disposition: form-data; name=\"a\"\r\nContent-Transfer-Encoding: base64",
            "Content-Disposition: form-data; name=\"a\"\nX: y",
            "Content-Disposition : form-data; name=\"a\"",
        ] {
            assert!(read(&with(head)).is_err(), "{head}");
        }
        for body in [
            String::new(),
            format!("preamble\r\n{}", with(good)),
            format!("{}epilogue", with(good)),
            with(good).replace("--XX--", "--XX"),
            with(good).replace("\r\n", "\n"),
            with(good).replacen("--XX\r\n", "--XX \r\n", 1),
            with(good).replacen("x\r\n--XX--", "x\r\n--XXX--\r\n--XX--", 1),
        ] {
            assert!(read(&body).is_err(), "{body:?}");
        }
        for boundary in ["", "a\"b", &"x".repeat(71), "ä"] {
            let text = format!("multipart/form-data; boundary=\"{boundary}\"");
            assert!(MediaType::parse(&text).is_none_or(|media| parts(&media, b"--").is_err()), "{boundary}");
        }
    }
}
