//! Asking a contract about requests.

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use portcullis_core::{NormalizedPath, Reason, Violation};
use portcullis_shield::openapi::{Contract, Format, Mode, Terms, Unknown};
use portcullis_shield::{Check, Reported, Seen};

pub(crate) const SHOP: &str = include_str!("shop.yaml");

pub(crate) fn shop() -> Contract {
    compile(SHOP, Terms::default())
}

pub(crate) fn compile(text: &str, terms: Terms) -> Contract {
    match Contract::compile(text, Format::Yaml, terms) {
        Ok(compiled) => compiled.contract,
        Err(faults) => panic!("{}", faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
    }
}

/// What a contract says of a request: `ok`, the slug of a reason, or each violation as `path rule`. What it reports stands
/// behind a `?`.
pub(crate) fn told(contract: &Contract, request: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<String> {
    let Some((answer, reported)) = ask(contract, request, headers, body) else {
        return vec!["ambiguous_path".to_owned()];
    };
    let mut told = match answer {
        Ok(()) => vec![],
        Err(Reason::ValidationFailed(details)) => {
            details.iter().map(|one| format!("{} {}", one.path, one.rule)).collect()
        }
        Err(other) => vec![other.slug().to_owned()],
    };
    told.extend(reported.iter().map(|one| format!("? {} {}", one.path, one.rule)));
    if told.is_empty() {
        told.push("ok".to_owned());
    }
    told
}

/// The whole answer to a request, as it would be printed.
pub(crate) fn raw(contract: &Contract, request: &str, headers: &[(&str, &str)], body: &[u8]) -> String {
    let (answer, reported) = ask(contract, request, headers, body).expect("the path is one");
    format!("{answer:?} {reported:?}")
}

/// Asks about requests without a body.
pub(crate) fn table(contract: &Contract, rows: &[(&str, &str)]) {
    let mut wrong = Vec::new();
    for (request, expected) in rows {
        let told = told(contract, request, &[], b"");
        if told.first().map(String::as_str) != Some(expected) {
            wrong.push(format!("{request}\n  expected {expected}\n  told {told:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

pub(crate) const JSON: (&str, &str) = ("content-type", "application/json");

pub(crate) fn reporting() -> Terms {
    Terms {
        unknown_paths: Unknown::Report,
        unknown_parameters: Unknown::Report,
        unknown_members: Unknown::Report,
        requests: Mode::Report,
        base_path: None,
    }
}

/// The answer to a request and what is reported of it; `None` where its path is refused before.
fn ask(
    contract: &Contract,
    request: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Option<(Result<(), Reason>, Vec<Violation>)> {
    let (method, target) = request.split_once(' ').unwrap();
    let method: Method = method.parse().unwrap();
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let path = match NormalizedPath::parse(path) {
        Ok(path) => path,
        Err(_) => return None,
    };
    let mut map = HeaderMap::new();
    if !body.is_empty() {
        map.insert("content-length", body.len().into());
    }
    for (name, value) in headers {
        map.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
    }
    let reported = Reported::default();
    let seen =
        Seen { method: &method, path: path.as_str(), query, headers: &map, principal: None, reported: &reported };
    let answer = contract.before(&seen).and_then(|()| contract.check(&seen, body));
    Some((answer, reported.into_inner()))
}
