//! A Content-Security-Policy as it is configured: checked word by word, because browsers pass over what they do not know,
//! and a policy with a slip in it protects nothing without a word.

use std::str::FromStr;

use http::HeaderValue;

use super::nonce::Nonce;

/// What stands in a policy for the nonce of each answer.
pub const NONCE: &str = "{nonce}";

/// The source expression in which it stands.
const NONCE_SOURCE: &str = "'nonce-{nonce}'";

/// The directives of CSP3 and of the standards that extend it.
const DIRECTIVES: [&str; 29] = [
    "base-uri",
    "block-all-mixed-content",
    "child-src",
    "connect-src",
    "default-src",
    "fenced-frame-src",
    "font-src",
    "form-action",
    "frame-ancestors",
    "frame-src",
    "img-src",
    "manifest-src",
    "media-src",
    "object-src",
    "prefetch-src",
    "report-to",
    "report-uri",
    "require-trusted-types-for",
    "sandbox",
    "script-src",
    "script-src-attr",
    "script-src-elem",
    "style-src",
    "style-src-attr",
    "style-src-elem",
    "trusted-types",
    "upgrade-insecure-requests",
    "webrtc",
    "worker-src",
];

/// Source expressions that are keywords only between single quotes; without them they are the names of hosts.
const KEYWORDS: [&str; 10] = [
    "none",
    "report-sample",
    "self",
    "strict-dynamic",
    "trusted-types-eval",
    "unsafe-eval",
    "unsafe-hashes",
    "unsafe-inline",
    "wasm-unsafe-eval",
    "unsafe-allow-redirects",
];

/// Whose policy an answer of the upstream carries, where both have one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CspFrom {
    /// The upstream's, and ours where it sends none: who made the page knows what it loads.
    #[default]
    Upstream,
    /// Both, each in a header line of its own: a browser allows only what both allow (CSP3 §8.1).
    Merge,
    /// Ours.
    Replace,
}

/// A checked policy, cut where the nonce goes in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CspTemplate {
    text: Box<str>,
    nonces: usize,
}

/// Why a text is not a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CspError {
    /// Nothing in it.
    #[error("the policy is empty")]
    Empty,
    /// A header cannot carry it in one way only.
    #[error("a policy is plain ASCII without line breaks")]
    Characters,
    /// A comma begins another policy (RFC 9110 §5.6.1).
    #[error("a comma begins another policy; directives are divided by \";\", sources by blanks")]
    Comma,
    /// No directive of this name.
    #[error("\"{0}\" is not a directive, and browsers pass over what they do not know")]
    Unknown(Box<str>),
    /// The second one is passed over (CSP3 §2.2.1).
    #[error("\"{0}\" stands there twice, and browsers pass over the second")]
    Twice(Box<str>),
    /// A keyword without its quotes names a host.
    #[error("{0} is the name of a host here; the keyword is written '{0}'")]
    Unquoted(Box<str>),
    /// A brace that is no placeholder, or the placeholder outside of its source expression.
    #[error("\"{0}\" is not the place of the nonce, which is written 'nonce-{{nonce}}'")]
    Placeholder(Box<str>),
    /// A nonce that is the same every time.
    #[error("{0} is known to every attacker; write 'nonce-{{nonce}}', which is another one for each answer")]
    FixedNonce(Box<str>),
}

impl CspTemplate {
    /// Whether each answer needs a nonce.
    #[must_use]
    pub const fn takes_nonce(&self) -> bool {
        self.nonces > 0
    }

    /// The sources of a directive, if it is there.
    #[must_use]
    pub fn directive(&self, name: &str) -> Option<&str> {
        self.text.split(';').find_map(|directive| {
            let (found, sources) = split_directive(directive)?;
            found.eq_ignore_ascii_case(name).then_some(sources)
        })
    }

    /// The policy of every answer, where it takes no nonce.
    pub(super) fn fixed(&self) -> HeaderValue {
        value(self.text.as_bytes().to_vec())
    }

    /// The policy of one answer.
    pub(super) fn with(&self, nonce: &Nonce) -> HeaderValue {
        let nonce = nonce.as_bytes();
        let mut out = Vec::with_capacity(self.text.len() + self.nonces * nonce.len());
        for (index, piece) in self.text.split(NONCE).enumerate() {
            if index > 0 {
                out.extend_from_slice(nonce);
            }
            out.extend_from_slice(piece.as_bytes());
        }
        value(out)
    }
}

/// What was checked when the policy was read is always a header value; what is not would allow nothing.
fn value(bytes: Vec<u8>) -> HeaderValue {
    HeaderValue::try_from(bytes).unwrap_or(STRICT)
}

/// For answers that load nothing.
pub(super) const STRICT: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");

impl FromStr for CspTemplate {
    type Err = CspError;

    fn from_str(text: &str) -> Result<Self, CspError> {
        if !text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
            return Err(CspError::Characters);
        }
        if text.contains(',') {
            return Err(CspError::Comma);
        }
        let text = text.trim().trim_end_matches([';', ' ']);
        let mut seen: Vec<String> = Vec::new();
        for (name, sources) in text.split(';').filter_map(split_directive) {
            let lower = name.to_ascii_lowercase();
            if !DIRECTIVES.contains(&lower.as_str()) {
                return Err(CspError::Unknown(name.into()));
            }
            if seen.contains(&lower) {
                return Err(CspError::Twice(name.into()));
            }
            let takes_sources = lower.ends_with("-src")
                || lower.contains("-src-")
                || matches!(lower.as_str(), "base-uri" | "form-action" | "frame-ancestors");
            sources.split(' ').filter(|source| !source.is_empty()).try_for_each(|word| source(word, takes_sources))?;
            seen.push(lower);
        }
        if seen.is_empty() {
            return Err(CspError::Empty);
        }
        Ok(Self { text: text.into(), nonces: text.matches(NONCE).count() })
    }
}

/// A directive's name and what follows it; `None` for an empty one.
fn split_directive(directive: &str) -> Option<(&str, &str)> {
    let directive = directive.trim();
    let (name, rest) = directive.split_once(' ').unwrap_or((directive, ""));
    (!name.is_empty()).then(|| (name, rest.trim()))
}

/// Checks one source expression.
fn source(word: &str, in_list: bool) -> Result<(), CspError> {
    if word.contains(['{', '}']) && word != NONCE_SOURCE {
        return Err(CspError::Placeholder(word.into()));
    }
    let lower = word.to_ascii_lowercase();
    if lower.starts_with("'nonce-") && word != NONCE_SOURCE {
        return Err(CspError::FixedNonce(word.into()));
    }
    let keyword = KEYWORDS.contains(&lower.as_str()) || lower.starts_with("nonce-") || lower.starts_with("sha256-");
    if in_list && keyword {
        return Err(CspError::Unquoted(word.into()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h1_the_nonce_is_put_wherever_its_place_is() {
        let template: CspTemplate =
            "default-src 'self'; script-src 'nonce-{nonce}' 'strict-dynamic'; style-src 'nonce-{nonce}';"
                .parse()
                .unwrap();
        assert!(template.takes_nonce());
        let nonce = Nonce::draw();
        let drawn = String::from_utf8(nonce.as_bytes().to_vec()).unwrap();
        let expected =
            format!("default-src 'self'; script-src 'nonce-{drawn}' 'strict-dynamic'; style-src 'nonce-{drawn}'");
        assert_eq!(template.with(&nonce), expected);
        assert_eq!(template.directive("style-src"), Some("'nonce-{nonce}'"));
        assert_eq!(template.directive("img-src"), None);
    }

    #[test]
    fn h1_a_policy_that_browsers_would_pass_over_is_refused() {
        for (text, wrong) in [
            ("", CspError::Empty),
            (" ; ;", CspError::Empty),
            ("default-src 'self'\r\nX: y", CspError::Characters),
            ("default-src 'sélf'", CspError::Characters),
            ("default-src 'self', script-src 'none'", CspError::Comma),
            ("defualt-src 'self'", CspError::Unknown("defualt-src".into())),
            ("img-src 'self'; IMG-SRC *", CspError::Twice("IMG-SRC".into())),
            ("default-src self", CspError::Unquoted("self".into())),
            ("frame-ancestors none", CspError::Unquoted("none".into())),
            ("script-src nonce-{nonce}", CspError::Placeholder("nonce-{nonce}".into())),
            ("script-src {nonce}", CspError::Placeholder("{nonce}".into())),
            ("script-src 'nonce-{Nonce}'", CspError::Placeholder("'nonce-{Nonce}'".into())),
            ("script-src 'nonce-abc'", CspError::FixedNonce("'nonce-abc'".into())),
            ("script-src 'NONCE-abc'", CspError::FixedNonce("'NONCE-abc'".into())),
        ] {
            assert_eq!(text.parse::<CspTemplate>(), Err(wrong), "{text}");
        }
        for right in [
            "default-src 'none'",
            "default-src 'self' https: data: *.example.com:8443; upgrade-insecure-requests",
            "sandbox allow-scripts; report-uri /csp",
            "require-trusted-types-for 'script'; trusted-types none",
        ] {
            let template: CspTemplate = right.parse().unwrap_or_else(|error| panic!("{right}: {error}"));
            assert!(!template.takes_nonce());
            assert_eq!(template.fixed(), right);
        }
    }
}
