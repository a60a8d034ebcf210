//! Secrets: from the environment or from files, never from the configuration itself, and never weak (O3).

use std::ops::Range;
use std::path::Path;

use portcullis_core::Secret;

use super::context::Context;
use crate::config::diagnostic::Diagnostic;
use crate::config::raw::{At, PathText, VariableText};

/// Bytes below which a secret can be guessed or, for HS256, is refused by RFC 7518 §3.2.
const SHORTEST: usize = 32;

/// Words that people write where a secret shall stand later.
const PLACEHOLDERS: [&str; 12] = [
    "changeme",
    "change-me",
    "change_me",
    "secret",
    "password",
    "default",
    "example",
    "insert",
    "replace",
    "your-",
    "your_",
    "placeholder",
];

/// Why a secret is refused. The secret itself is told to nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Weak {
    #[error("is empty")]
    Empty,
    #[error("has {0} bytes, and at least {SHORTEST} are needed")]
    Short(usize),
    #[error("contains the word \"{0}\", which stands in examples and word lists")]
    Placeholder(&'static str),
    #[error("repeats itself")]
    Repetition,
    #[error("counts up or down")]
    Sequence,
}

/// Checks that a secret is not one of those that people fill in to get something running.
pub(super) fn check(secret: &[u8]) -> Result<(), Weak> {
    if secret.is_empty() {
        return Err(Weak::Empty);
    }
    let lower = secret.to_ascii_lowercase();
    let contains = |word: &str| lower.windows(word.len()).any(|part| part == word.as_bytes());
    if let Some(word) = PLACEHOLDERS.into_iter().find(|word| contains(word)) {
        return Err(Weak::Placeholder(word));
    }
    if secret.len() < SHORTEST {
        return Err(Weak::Short(secret.len()));
    }
    let mut distinct = lower.clone();
    distinct.sort_unstable();
    distinct.dedup();
    let has_period = (1..=secret.len() / 2).any(|period| secret[period..] == secret[..secret.len() - period]);
    if distinct.len() < 8 || has_period {
        return Err(Weak::Repetition);
    }
    let steps = |by: i16| lower.windows(2).filter(|pair| i16::from(pair[1]) - i16::from(pair[0]) == by).count();
    if steps(1).max(steps(-1)) > secret.len() / 2 {
        return Err(Weak::Sequence);
    }
    Ok(())
}

/// Where a secret comes from.
pub(super) struct Origin<'r> {
    pub(super) file: Option<&'r At<PathText>>,
    pub(super) variable: Option<&'r At<VariableText>>,
    /// The variable that is read where the file names neither; also with `_FILE` behind it.
    pub(super) fallback: Option<&'static str>,
}

/// A secret, and where the file names its origin.
type Found = (Secret<Vec<u8>>, Option<Range<usize>>);

/// Reads a secret's text, without the line end that editors add. `None` where there is none or an error was reported.
fn read(cx: &mut Context<'_>, origin: &Origin<'_>) -> Option<Found> {
    if let (Some(file), Some(variable)) = (origin.file, origin.variable) {
        let found = Diagnostic::error(variable.span(), "the secret is named twice, by a file and by a variable");
        cx.push(found.hint(format!("remove one of the two; the file is {}", cx.path(file).display())));
        return None;
    }
    if let Some(file) = origin.file {
        let path = cx.path(file);
        return Some((from_file(cx, &path, Some(file.span()))?, Some(file.span())));
    }
    if let Some(variable) = origin.variable {
        let name = variable.get().as_str();
        let Some(value) = cx.outside.variable(name) else {
            let found = Diagnostic::error(variable.span(), format!("the environment variable {name} is not set"));
            cx.push(found);
            return None;
        };
        return Some((trimmed(value.into_bytes()), Some(variable.span())));
    }
    let fallback = origin.fallback?;
    if let Some(value) = cx.outside.variable(fallback) {
        return Some((trimmed(value.into_bytes()), None));
    }
    let path = cx.outside.variable(&format!("{fallback}_FILE"))?;
    Some((from_file(cx, Path::new(&path), None)?, None))
}

/// Reads a file with a secret.
fn from_file(cx: &mut Context<'_>, path: &Path, span: Option<Range<usize>>) -> Option<Secret<Vec<u8>>> {
    match cx.outside.read(path) {
        Ok(bytes) => {
            if cx.outside.is_world_readable(path) {
                let found = Diagnostic::warning(span, format!("everyone on this machine can read {}", path.display()));
                cx.push(found.hint(format!("chmod 600 {}", path.display())));
            }
            Some(trimmed(bytes))
        }
        Err(error) => {
            cx.push(Diagnostic::error(span, format!("cannot read {}: {error}", path.display())));
            None
        }
    }
}

fn trimmed(mut bytes: Vec<u8>) -> Secret<Vec<u8>> {
    while bytes.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
        bytes.pop();
    }
    Secret::new(bytes)
}

/// Reads a secret and refuses a weak one.
pub(super) fn strong(cx: &mut Context<'_>, what: &str, origin: &Origin<'_>) -> Option<Secret<Vec<u8>>> {
    let (secret, span) = read(cx, origin)?;
    match check(secret.expose()) {
        Ok(()) => Some(secret),
        Err(weak) => {
            let found = Diagnostic::error(span, format!("the {what} {weak}"));
            cx.push(found.hint("make one: openssl rand -hex 32"));
            None
        }
    }
}

/// Reads a secret that somebody else chose, such as a provider of mail, so that its strength is not ours to judge.
pub(super) fn foreign(cx: &mut Context<'_>, what: &str, origin: &Origin<'_>) -> Option<Secret<String>> {
    let (secret, span) = read(cx, origin)?;
    let problem = match std::str::from_utf8(secret.expose()) {
        Ok("") => "is empty",
        Ok(text) if text.contains(char::is_control) => "holds a control character",
        Ok(text) => return Some(Secret::new(text.to_owned())),
        Err(_) => "is not written in UTF-8",
    };
    cx.push(Diagnostic::error(span, format!("the {what} {problem}")));
    None
}

/// A key of 32 bytes, written in hexadecimal or base64.
pub(super) fn key(cx: &mut Context<'_>, what: &str, origin: &Origin<'_>) -> Option<Secret<Vec<u8>>> {
    let (text, span) = read(cx, origin)?;
    let Some(key) = decode_key(text.expose()) else {
        let found = Diagnostic::error(span, format!("the {what} is not 32 bytes in hexadecimal or base64"));
        cx.push(found.hint("make one: openssl rand -hex 32"));
        return None;
    };
    if let Err(weak) = check(key.expose()) {
        cx.push(Diagnostic::error(span, format!("the {what} {weak}")).hint("make one: openssl rand -hex 32"));
        return None;
    }
    Some(key)
}

fn decode_key(text: &[u8]) -> Option<Secret<Vec<u8>>> {
    use base64::Engine;
    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
    if let Ok(key) = hex::decode(text) {
        return (key.len() == 32).then(|| Secret::new(key));
    }
    let engines = [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD];
    engines.iter().find_map(|engine| engine.decode(text).ok()).filter(|key| key.len() == 32).map(Secret::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weak_secrets_are_refused() {
        assert_eq!(check(b""), Err(Weak::Empty));
        assert_eq!(check(b"short but fine"), Err(Weak::Short(14)));
        assert_eq!(check(b"changeme"), Err(Weak::Placeholder("changeme")));
        assert_eq!(check(b"My-Super-SECRET-key-for-production-use-1"), Err(Weak::Placeholder("secret")));
        assert_eq!(check(&[b'a'; 64]), Err(Weak::Repetition));
        assert_eq!(check(b"0123456789abcdef0123456789abcdef"), Err(Weak::Repetition));
        assert_eq!(check(b"abcdefghijklmnopqrstuvwxyz0123456789"), Err(Weak::Sequence));
        assert_eq!(check(b"zyxwvutsrqponmlkjihgfedcba9876543210"), Err(Weak::Sequence));
    }

    #[test]
    fn random_secrets_pass() {
        assert_eq!(check(b"8f2c1b7a90de4f53c6a1e8d7b4902f6135ac7e98d0b1f4c2"), Ok(()));
        assert_eq!(check(b"q3Jx9/0vKc7wLrT2mZs8Yf1uN5bHd4Ga"), Ok(()));
    }

    #[test]
    fn keys_are_read_in_hexadecimal_and_base64() {
        let key: Vec<u8> = (0..32_u8).map(|i| i.wrapping_mul(37) ^ 0x5a).collect();
        let hex = hex::encode(&key);
        assert_eq!(decode_key(hex.as_bytes()).unwrap().expose(), &key);
        assert!(decode_key(&hex.as_bytes()[..62]).is_none());
        assert!(decode_key(b"not a key").is_none());
    }
}
