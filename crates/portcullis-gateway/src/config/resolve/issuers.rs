//! `[[issuer]]`: other people's tokens.

use std::ops::Range;
use std::time::Duration;

use portcullis_auth::certificate::CERTIFICATE_ISSUER;
use portcullis_auth::{Algorithm, ClaimNames, Issuer, KeyError, KeySet, KeySource, VerificationKey};

use super::context::Context;
use super::identity::algorithm;
use super::secrets::{self, Origin};
use crate::config::diagnostic::Diagnostic;
use crate::config::raw::{At, ClaimsTable, IssuerTable, OneOrMany, PathText, Raw, Table, Text};
use crate::config::words::alternatives;

const KEYS: [&str; 4] = ["jwks_file", "pem_file", "secret_file", "secret_env"];

/// Other people's tokens that are believed.
pub(super) fn issuers(cx: &mut Context<'_>, raw: &Raw, public_url: &str) -> Vec<Issuer> {
    let mut issuers: Vec<Issuer> = Vec::new();
    for (index, table) in raw.issuer.iter().flatten().enumerate() {
        let Some(issuer) = issuer(cx, table, &format!("issuer.{index}")) else { continue };
        let span = |at: &Option<At<Text>>| at.as_ref().map_or(table.span(), At::span);
        let (name, iss) = (span(&table.get().name), span(&table.get().issuer));
        if issuers.iter().any(|other| other.name == issuer.name) {
            let twice = issuer.name.as_deref().unwrap_or_default();
            cx.push(Diagnostic::error(name, format!("there are two issuers named \"{twice}\"")));
        }
        if issuers.iter().any(|other| other.iss == issuer.iss) {
            cx.push(Diagnostic::error(iss, format!("there are two issuers for {:?}", issuer.iss)));
        } else if &*issuer.iss == public_url {
            let found = Diagnostic::error(iss, "this is the issuer of this gate's own tokens");
            cx.push(found.hint("whoever has this name could speak for our accounts; change it, or public_url"));
        }
        issuers.push(issuer);
    }
    issuers
}

fn issuer(cx: &mut Context<'_>, table: &Table<IssuerTable>, path: &str) -> Option<Issuer> {
    let (raw, span) = (table.get(), table.span());
    if raw.name.is_none() {
        cx.missing(path, "name", span.clone(), "name = \"partner\"");
    }
    if raw.issuer.is_none() {
        cx.missing(path, "issuer", span.clone(), "issuer = \"https://id.example.com\"");
    }
    if raw.audience.as_ref().is_none_or(|list| list.0.is_empty()) {
        // Without an audience, a token made for any other service of that issuer would open this one (RFC 8725 §3.9).
        cx.missing(path, "audience", span.clone(), "audience = \"https://api.example.com\"");
    }
    let name = raw.name.as_ref().and_then(|at| {
        let name = cx.name(at)?;
        if &*name == CERTIFICATE_ISSUER {
            let found = Diagnostic::error(at.span(), format!("the name {name} is that of clients' certificates"));
            cx.push(found.hint("two people of one name would be one; take another"));
        }
        Some(name)
    });
    let iss = raw.issuer.as_ref().and_then(|at| cx.text(at));
    let algorithms = algorithms(cx, raw, path, &span);
    let keys = keys(cx, raw, path, &span, algorithms.as_deref());
    let audiences = texts(cx, raw.audience.as_ref());
    let leeway = cx.duration(raw.leeway.as_ref(), Duration::from_secs(30), Duration::ZERO..=Duration::from_secs(300));
    let typ = raw.token_type.as_ref().and_then(|at| cx.text(at));
    let claims = claims(cx, raw.claims.as_ref());
    Some(Issuer {
        name: Some(name?.into()),
        iss: iss?,
        audiences,
        algorithms: algorithms?,
        leeway,
        typ,
        keys: KeySource::new(keys?),
        claims,
    })
}

fn texts(cx: &mut Context<'_>, list: Option<&OneOrMany<Text>>) -> Vec<Box<str>> {
    list.iter().flat_map(|list| &list.0).filter_map(|at| cx.text(at)).collect()
}

/// The algorithms that are accepted. Secrets and public keys never share a list: a public key that is taken for a secret
/// lets everyone write tokens (RFC 8725 §2.1).
fn algorithms(cx: &mut Context<'_>, raw: &IssuerTable, path: &str, span: &Range<usize>) -> Option<Vec<Algorithm>> {
    let shared = raw.secret_file.is_some() || raw.secret_env.is_some();
    let is_shared = |algorithm: &Algorithm| matches!(algorithm, Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512);
    let choices: Vec<Algorithm> = Algorithm::ALL.into_iter().filter(|choice| is_shared(choice) == shared).collect();
    let Some(list) = &raw.algorithms else {
        if shared {
            return Some(vec![Algorithm::Hs256]);
        }
        if raw.pem_file.is_some() {
            // A key set names its algorithms itself; a bare key does not, and guessing is how tokens get confused.
            cx.missing(path, "algorithms", span.clone(), "algorithms = \"RS256\"");
            return None;
        }
        return Some(choices);
    };
    let mut algorithms = Vec::new();
    for at in &list.0 {
        if let Some(algorithm) = algorithm(cx, at.get().as_str(), at.span(), &choices)
            && !algorithms.contains(&algorithm)
        {
            algorithms.push(algorithm);
        }
    }
    if algorithms.len() > 1
        && raw.jwks_file.is_none()
        && let Some(second) = list.0.get(1)
    {
        let found = Diagnostic::error(second.span(), "a single key has a single algorithm (RFC 8725 §3.1)");
        cx.push(found.hint("name the one that its tokens are signed with"));
    }
    if list.0.is_empty() {
        cx.push(Diagnostic::error(span.clone(), "an empty list of algorithms accepts no token"));
    }
    (!algorithms.is_empty()).then_some(algorithms)
}

fn keys(
    cx: &mut Context<'_>,
    raw: &IssuerTable,
    path: &str,
    span: &Range<usize>,
    algorithms: Option<&[Algorithm]>,
) -> Option<KeySet> {
    let spans = [
        raw.jwks_file.as_ref().map(At::span),
        raw.pem_file.as_ref().map(At::span),
        raw.secret_file.as_ref().map(At::span),
        raw.secret_env.as_ref().map(At::span),
    ];
    let given: Vec<(&str, Range<usize>)> =
        KEYS.into_iter().zip(spans).filter_map(|(key, span)| Some((key, span?))).collect();
    let at = match given.as_slice() {
        [] => {
            if !KEYS.iter().any(|key| cx.is_damaged(&format!("{path}.{key}"))) {
                let found = Diagnostic::error(span.clone(), "the issuer's keys are missing");
                cx.push(found.expected(format!("one of {}", alternatives(KEYS))));
            }
            return None;
        }
        [(_, span)] => span.clone(),
        [(first, _), (second, span), ..] => {
            cx.push(Diagnostic::error(span.clone(), format!("\"{first}\" and \"{second}\" cannot stand together")));
            return None;
        }
    };
    let set = if let Some(file) = &raw.jwks_file {
        KeySet::from_jwks(&public_file(cx, file)?)
    } else if let Some(file) = &raw.pem_file {
        let text = public_file(cx, file)?;
        VerificationKey::from_pem(*algorithms?.first()?, None, &text).and_then(|key| KeySet::new(vec![key]))
    } else {
        let origin = Origin { file: raw.secret_file.as_ref(), variable: raw.secret_env.as_ref(), fallback: None };
        let secret = secrets::strong(cx, "shared secret", &origin)?;
        let key = VerificationKey::from_secret(*algorithms?.first()?, None, secret.expose());
        key.and_then(|key| KeySet::new(vec![key]))
    };
    let usable = set.and_then(|set| {
        let fits = algorithms.is_none_or(|list| set.keys().iter().any(|key| list.contains(&key.algorithm())));
        if fits { Ok(set) } else { Err(KeyError::Empty) }
    });
    match usable {
        Ok(set) => Some(set),
        Err(KeyError::Empty) => {
            let found = Diagnostic::error(at, "none of its keys is for an algorithm that is accepted");
            cx.push(
                found.hint("compare \"alg\" of the keys with \"algorithms\"; shared secrets cannot stand in a key set"),
            );
            None
        }
        Err(error) => {
            cx.push(Diagnostic::error(at, error.to_string()));
            None
        }
    }
}

/// A file that holds nothing secret.
fn public_file(cx: &mut Context<'_>, at: &At<PathText>) -> Option<String> {
    let path = cx.path(at);
    let text = cx.outside.read(&path).map_err(|error| error.to_string());
    match text.and_then(|bytes| String::from_utf8(bytes).map_err(|_| "it is not text".to_owned())) {
        Ok(text) => Some(text),
        Err(error) => {
            cx.push(Diagnostic::error(at.span(), format!("cannot read {}: {error}", path.display())));
            None
        }
    }
}

fn claims(cx: &mut Context<'_>, table: Option<&Table<ClaimsTable>>) -> ClaimNames {
    let standard = ClaimNames::default();
    let Some(raw) = table.map(Table::get) else { return standard };
    let mut claim = |at: &Option<At<Text>>| at.as_ref().and_then(|at| cx.text(at));
    ClaimNames {
        user: claim(&raw.user).unwrap_or(standard.user),
        roles: claim(&raw.roles).unwrap_or(standard.roles),
        plan: claim(&raw.plan).unwrap_or(standard.plan),
        permissions: claim(&raw.permissions),
        keep: texts(cx, raw.keep.as_ref()),
    }
}
