//! Whose a client's certificate is: one of its names becomes the subject of a principal.

use std::sync::Arc;

use portcullis_core::{Principal, PrincipalParts, Scheme};

use super::CertificateText;

/// The issuer of every principal that a certificate proves. It keeps their names apart from those of accounts and of other
/// issuers.
pub const CERTIFICATE_ISSUER: &str = "client-certificate";

/// SPIFFE-ID §2.3: an id has at most this many bytes.
const MAX_SPIFFE_ID: usize = 2_048;

/// Which of a certificate's names says who its holder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameKind {
    /// The SPIFFE ID: the only URI among its alternative names (X509-SVID §2).
    Spiffe,
    /// The only URI among them.
    Uri,
    /// The only DNS name.
    Dns,
    /// The only mail address.
    Email,
    /// The only common name of its subject, for authorities that know no better.
    CommonName,
}

impl NameKind {
    /// What separates the parts of such a name; a star in a pattern does not reach beyond one.
    const fn separator(self) -> Option<char> {
        match self {
            Self::Spiffe | Self::Uri => Some('/'),
            Self::Dns => Some('.'),
            Self::Email => Some('@'),
            Self::CommonName => None,
        }
    }
}

/// Names that are given roles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamePattern {
    pieces: Vec<Box<str>>,
    separator: Option<char>,
}

/// Why a text is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a \"*\" stands for one whole part of a name, and only where names have parts")]
pub struct InvalidPattern;

impl NamePattern {
    /// Reads a pattern for names of a kind: a name, in which `*` may stand for one part (between `/` in a URI, `.` in a DNS
    /// name, before or behind the `@` of a mail address).
    ///
    /// # Errors
    /// [`InvalidPattern`] where a star is only a piece of a part.
    pub fn new(text: &str, kind: NameKind) -> Result<Self, InvalidPattern> {
        let separator = kind.separator();
        let pieces = parts(text, separator);
        if pieces.iter().any(|piece| piece.contains('*') && (piece.len() > 1 || separator.is_none())) {
            return Err(InvalidPattern);
        }
        Ok(Self { pieces: pieces.into_iter().map(Box::from).collect(), separator })
    }

    fn covers(&self, name: &str) -> bool {
        let parts = parts(name, self.separator);
        parts.len() == self.pieces.len()
            && parts
                .iter()
                .zip(&self.pieces)
                .all(|(part, piece)| **piece == **part || (&**piece == "*" && !part.is_empty()))
    }
}

fn parts(text: &str, separator: Option<char>) -> Vec<&str> {
    match separator {
        Some(separator) => text.split(separator).collect(),
        None => vec![text],
    }
}

/// Whose certificates are whose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateRules {
    /// Which name counts.
    pub name: NameKind,
    /// The trust domains of SPIFFE IDs that are believed.
    pub trust_domains: Vec<Box<str>>,
    /// Roles by name; a name has those of all patterns that cover it.
    pub grants: Vec<(NamePattern, Vec<Box<str>>)>,
}

impl CertificateRules {
    /// Who holds a certificate that was verified. A certificate that could be read in two ways is nobody's.
    ///
    /// # Errors
    /// The reason, for the operator.
    pub fn principal(&self, text: &CertificateText) -> Result<Principal, &'static str> {
        if text.is_authority {
            // X509-SVID §4.1 asks it of SPIFFE; an authority that acts as a client is a mistake anywhere.
            return Err("the client certificate is an authority's");
        }
        let names = match self.name {
            NameKind::Spiffe | NameKind::Uri => &text.uris,
            NameKind::Dns => &text.dns,
            NameKind::Email => &text.emails,
            NameKind::CommonName => &text.common_names,
        };
        let name = match names.as_slice() {
            [name] => name,
            [] => return Err("the client certificate has no name of the kind that counts here"),
            _ => return Err("the client certificate has several names of the kind that counts here"),
        };
        if self.name == NameKind::Spiffe {
            if text.signs_others {
                return Err("the client certificate may sign others, which no SPIFFE SVID may");
            }
            let domain = trust_domain(name).ok_or("the client certificate's URI is not a SPIFFE ID")?;
            if !self.trust_domains.iter().any(|trusted| **trusted == *domain) {
                return Err("the client certificate's SPIFFE trust domain is not believed here");
            }
        }
        if self.name == NameKind::Dns && name.contains('*') {
            return Err("the client certificate names many hosts by a star, and a client is one");
        }
        let mut roles: Vec<&Box<str>> =
            self.grants.iter().filter(|(pattern, _)| pattern.covers(name)).flat_map(|(_, roles)| roles).collect();
        roles.sort_unstable();
        roles.dedup();
        Principal::new(PrincipalParts {
            issuer: Some(Arc::from(CERTIFICATE_ISSUER)),
            roles: roles.into_iter().cloned().collect(),
            ..PrincipalParts::of(name, Scheme::Certificate, text.not_after)
        })
        .map_err(|_| "the client certificate's name cannot be told to an upstream")
    }
}

/// Whether a text is a trust domain as SPIFFE-ID §2.1 has it.
#[must_use]
pub fn is_trust_domain(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
    !text.is_empty() && text.len() <= 255 && text.bytes().all(allowed)
}

/// The trust domain of a SPIFFE ID that names a workload (SPIFFE-ID §2.2).
fn trust_domain(id: &str) -> Option<&str> {
    let (domain, path) = id.strip_prefix("spiffe://")?.split_once('/')?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    let segment = |part: &str| !matches!(part, "" | "." | "..") && part.bytes().all(allowed);
    (id.len() <= MAX_SPIFFE_ID && is_trust_domain(domain) && path.split('/').all(segment)).then_some(domain)
}

#[cfg(test)]
mod tests {
    use portcullis_core::Timestamp;

    use super::*;

    fn text() -> CertificateText {
        CertificateText {
            dns: Vec::new(),
            uris: Vec::new(),
            emails: Vec::new(),
            common_names: Vec::new(),
            not_before: Timestamp::EPOCH,
            not_after: Timestamp::MAX,
            is_authority: false,
            signs_others: false,
        }
    }

    fn rules(name: NameKind) -> CertificateRules {
        CertificateRules { name, trust_domains: vec!["prod.example".into()], grants: Vec::new() }
    }

    fn with_uris(uris: &[&str]) -> CertificateText {
        CertificateText { uris: uris.iter().map(|uri| (*uri).into()).collect(), ..text() }
    }

    #[test]
    fn h6_a_spiffe_id_of_a_believed_trust_domain_is_the_subject() {
        let rules = rules(NameKind::Spiffe);
        let principal = rules.principal(&with_uris(&["spiffe://prod.example/ns/a/sa/b"])).unwrap();
        assert_eq!(principal.subject(), "spiffe://prod.example/ns/a/sa/b");
        assert_eq!(principal.parts().issuer.as_deref(), Some(CERTIFICATE_ISSUER));
        assert!(!principal.is_local() && principal.parts().scheme.is_ambient());
        for uris in [
            &[][..],
            &["spiffe://prod.example/a", "spiffe://prod.example/b"],
            &["spiffe://prod.example"],
            &["spiffe://prod.example/"],
            &["spiffe://prod.example//a"],
            &["spiffe://prod.example/a/"],
            &["spiffe://prod.example/../a"],
            &["spiffe://prod.example/./a"],
            &["spiffe://prod.example/%61"],
            &["spiffe://prod.example/a?b"],
            &["spiffe://prod.example:443/a"],
            &["spiffe://u@prod.example/a"],
            &["spiffe://Prod.example/a"],
            &["SPIFFE://prod.example/a"],
            &["spiffe://evil.example/a"],
            &["spiffe://prod.example.evil.example/a"],
            &["spiffe://evil-prod.example/a"],
            &["spiffe:///a"],
            &["https://prod.example/a"],
        ] {
            assert!(rules.principal(&with_uris(uris)).is_err(), "{uris:?}");
        }
        let good = with_uris(&["spiffe://prod.example/a"]);
        assert!(rules.principal(&CertificateText { is_authority: true, ..good.clone() }).is_err());
        assert!(rules.principal(&CertificateText { signs_others: true, ..good }).is_err());
    }

    #[test]
    fn h6_only_the_kind_of_name_that_counts_says_who_it_is() {
        let all = CertificateText {
            dns: vec!["a.example".into()],
            uris: vec!["urn:b".into()],
            emails: vec!["c@example".into()],
            common_names: vec!["d".into()],
            ..text()
        };
        for (kind, subject) in [
            (NameKind::Dns, "a.example"),
            (NameKind::Uri, "urn:b"),
            (NameKind::Email, "c@example"),
            (NameKind::CommonName, "d"),
        ] {
            assert_eq!(rules(kind).principal(&all).unwrap().subject(), subject);
            assert!(rules(kind).principal(&text()).is_err(), "{kind:?}: none");
        }
        let two = CertificateText { dns: vec!["a.example".into(), "b.example".into()], ..text() };
        assert!(rules(NameKind::Dns).principal(&two).is_err());
        let star = CertificateText { dns: vec!["*.example".into()], ..text() };
        assert!(rules(NameKind::Dns).principal(&star).is_err());
        let hostile = CertificateText { common_names: vec!["a\r\nX-User-Role: admin".into()], ..text() };
        assert!(rules(NameKind::CommonName).principal(&hostile).is_err());
    }

    #[test]
    fn h6_roles_follow_from_names_and_a_star_is_one_part() {
        let grant = |pattern: &str, kind| (NamePattern::new(pattern, kind).unwrap(), vec!["editor".into()]);
        for (kind, pattern, yes, no) in [
            (
                NameKind::Uri,
                "spiffe://a/ns/*/x",
                &["spiffe://a/ns/b/x"][..],
                &[
                    "spiffe://a/ns/b/c/x",
                    "spiffe://a/ns//x",
                    "spiffe://a/ns/x",
                    "spiffe://a/ns/b/x/y",
                    "spiffe://b/ns/b/x",
                ][..],
            ),
            (NameKind::Dns, "*.b.example", &["a.b.example"], &["b.example", "a.a.b.example", "a.c.example"]),
            (NameKind::Email, "*@example", &["a@example"], &["a@example.evil", "@example", "a@b@example"]),
            (NameKind::CommonName, "robot", &["robot"], &["robots", "Robot"]),
        ] {
            let grants = vec![grant(pattern, kind), grant(pattern, kind)];
            let rules = CertificateRules { grants, ..rules(kind) };
            let roles = |name: &str| {
                let names = vec![name.into()];
                let held = match kind {
                    NameKind::Dns => CertificateText { dns: names, ..text() },
                    NameKind::Email => CertificateText { emails: names, ..text() },
                    NameKind::CommonName => CertificateText { common_names: names, ..text() },
                    _ => CertificateText { uris: names, ..text() },
                };
                rules.principal(&held).unwrap().parts().roles.join(",")
            };
            yes.iter().for_each(|name| assert_eq!(roles(name), "editor", "{pattern} and {name}"));
            no.iter().for_each(|name| assert_eq!(roles(name), "", "{pattern} and {name}"));
        }
        for (pattern, kind) in [("a*", NameKind::Dns), ("spiffe://a/b*", NameKind::Uri), ("*", NameKind::CommonName)] {
            assert_eq!(NamePattern::new(pattern, kind), Err(InvalidPattern), "{pattern}");
        }
    }
}
