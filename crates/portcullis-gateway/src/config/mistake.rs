//! Mistakes of shape, and how they are told.

use std::ops::Range;

use super::diagnostic::Diagnostic;
use super::words::{alternatives, closest};

/// What serde found wrong. Its errors are texts only, so this is the one place that reads them; a text of another form
/// is shown as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mistake {
    /// A key that does not exist.
    UnknownKey { key: String, known: Vec<String> },
    /// A word that is none of the choices.
    UnknownWord { word: String, known: Vec<String> },
    /// A value of another kind.
    WrongKind { found: String, expected: String },
    /// Anything else.
    Other(String),
}

impl From<&str> for Mistake {
    fn from(message: &str) -> Self {
        let quoted = |text: &str| text.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
        if let Some(rest) = message.strip_prefix("unknown field `")
            && let Some((key, known)) = rest.split_once("`, ")
        {
            return Self::UnknownKey { key: key.to_owned(), known: quoted(known) };
        }
        if let Some(rest) = message.strip_prefix("unknown variant `")
            && let Some((word, known)) = rest.split_once("`, ")
        {
            return Self::UnknownWord { word: word.to_owned(), known: quoted(known) };
        }
        if let Some(rest) = message.strip_prefix("invalid type: ")
            && let Some((found, expected)) = rest.rsplit_once(", expected ")
        {
            return Self::WrongKind { found: kind(found).to_owned(), expected: kind(expected).to_owned() };
        }
        if message == "wanted string or table" {
            return Self::WrongKind { found: "something else".to_owned(), expected: "a text".to_owned() };
        }
        Self::Other(message.to_owned())
    }
}

/// A kind of value in the words of the file, not of a programming language. The value itself is left out: the line shows
/// it.
fn kind(text: &str) -> &str {
    let first = text.split(' ').next().unwrap_or_default();
    match first {
        "string" => "a text",
        "integer" => "a whole number",
        "floating" => "a number with a fraction",
        "boolean" => "true or false",
        "map" => "a table",
        "sequence" => "a list",
        "u64" => "a whole number from zero up",
        "bool" => "true or false",
        _ if text == "a boolean" => "true or false",
        _ if text == "a sequence" => "a list",
        _ => text,
    }
}

impl Mistake {
    /// The finding, for the key at `path`.
    pub(super) fn diagnostic(self, span: Range<usize>, path: &[String]) -> Diagnostic {
        match self {
            Self::UnknownKey { key, known } => unknown_key(span, path, &key, &known),
            Self::UnknownWord { word, known } => {
                let known = known.iter().map(String::as_str);
                let found = Diagnostic::error(span, format!("\"{word}\" is not a choice here"))
                    .expected(alternatives(known.clone()));
                match closest(&word, known) {
                    Some(meant) => found.hint(format!("did you mean \"{meant}\"?")),
                    None => found,
                }
            }
            Self::WrongKind { found, expected } => {
                let key = path.iter().rfind(|part| part.parse::<usize>().is_err()).map_or("", String::as_str);
                let diagnostic = Diagnostic::error(span, format!("\"{key}\" cannot be {found}")).expected(expected);
                let diagnostic = if may_be_secret(path) { diagnostic.concealed() } else { diagnostic };
                match (key, found.as_str()) {
                    ("routes", "a list") => diagnostic.hint("a route is written [[route]], without the \"s\""),
                    ("limits", "a list") => diagnostic.hint("a limit is written [[limit]], without the \"s\""),
                    ("route" | "limit" | "issuer" | "upstreams", "a table") => {
                        diagnostic.hint(format!("write [[{key}]] with double brackets: there may be several"))
                    }
                    _ => diagnostic,
                }
            }
            Self::Other(message) => Diagnostic::error(span, message),
        }
    }
}

fn unknown_key(span: Range<usize>, path: &[String], key: &str, known: &[String]) -> Diagnostic {
    let section = path.first().map_or("", String::as_str);
    if let Some(instead) = unavailable(section, key) {
        let found = Diagnostic::error(span, format!("\"{key}\" is not available in this version"));
        return if instead.is_empty() { found } else { found.hint(instead) };
    }
    let found = Diagnostic::error(span, format!("unknown key \"{key}\""));
    let found = if may_be_secret(path) { found.concealed() } else { found };
    let known = known.iter().map(String::as_str);
    if may_be_secret(path) {
        return found.hint(
            "a secret is never written into this file: name a file with \"…_file\" or an environment variable with \
             \"…_env\"",
        );
    }
    match closest(key, known.clone()) {
        Some(meant) => found.hint(format!("did you mean \"{meant}\"?")),
        None if known.len() > 20 => found.hint("\"portcullis schema\" prints every key there is"),
        None => found.expected(alternatives(known)),
    }
}

/// Whether the name of a key suggests that its value must not be shown.
fn may_be_secret(path: &[String]) -> bool {
    let Some(key) = path.last() else { return false };
    let key = key.to_lowercase();
    let reference = key.ends_with("_file") || key.ends_with("_env");
    let words =
        ["secret", "password", "passwd", "token", "master_key", "private_key", "database", "credential", "api_key"];
    !reference
        && path[0] != "tokens"
        && words.iter().any(|word| key.contains(word))
        && !matches!(key.as_str(), "password_policy" | "tokens" | "forward_credentials")
}

/// What this version leaves to a later one, and what to do meanwhile.
fn unavailable(section: &str, key: &str) -> Option<&'static str> {
    Some(match (section, key) {
        (_, "redis" | "graphql" | "alerts" | "blocklist") if section == key => "",
        ("health", "health") => "/livez and /readyz are served by the [admin] listener",
        ("client", "proxy_protocol") => "trusted_hops with a forwarding header is what there is",
        ("tokens", "delivery") => "a client chooses it when it logs in",
        ("issuer", "jwks_url" | "discovery") => "fetch the key set into a file and name it with \"jwks_file\"",
        ("route", "policy" | "headers" | "schema" | "allow" | "scopes") => "",
        ("limits", "outage") => "each [[limit]] has an \"outage\" of its own",
        ("limits", "lease") => "each [[limit]] has a \"lease\" of its own",
        ("identity", "oauth") => "",
        ("identity", "mail") => "the mail server is named in a section of its own, [mail]",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serde_is_understood() {
        assert_eq!(
            Mistake::from("unknown field `lisen`, expected one of `listen`, `upstream`"),
            Mistake::UnknownKey { key: "lisen".to_owned(), known: vec!["listen".to_owned(), "upstream".to_owned()] }
        );
        assert_eq!(
            Mistake::from("unknown field `x`, expected `max`"),
            Mistake::UnknownKey { key: "x".to_owned(), known: vec!["max".to_owned()] }
        );
        assert_eq!(
            Mistake::from("invalid type: integer `5`, expected a duration, such as \"15m\""),
            Mistake::WrongKind {
                found: "a whole number".to_owned(),
                expected: "a duration, such as \"15m\"".to_owned()
            }
        );
        assert_eq!(Mistake::from("odd"), Mistake::Other("odd".to_owned()));
    }

    #[test]
    fn a_value_that_may_be_a_secret_is_not_quoted() {
        let path = |text: &str| text.split('.').map(str::to_owned).collect::<Vec<_>>();
        for secret in ["identity.database", "issuer.0.secret", "admin.token", "master_key", "mail.password"] {
            assert!(may_be_secret(&path(secret)), "{secret}");
        }
        for open in
            ["admin.token_file", "identity.password_policy", "tokens.access", "tokens", "headers.forward_credentials"]
        {
            assert!(!may_be_secret(&path(open)), "{open}");
        }
    }
}
