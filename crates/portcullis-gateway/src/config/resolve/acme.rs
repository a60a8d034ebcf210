//! `[tls.acme]`: from whom a certificate comes, and for which names.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use http::Uri;
use portcullis_auth::certificate::plain_name;
use portcullis_core::Secret;

use super::context::Context;
use super::secrets::{self, Origin};
use crate::acme::{AcmePlan, ChallengeKind, ExternalAccount, LETS_ENCRYPT, LETS_ENCRYPT_STAGING};
use crate::config::diagnostic::Diagnostic;
use crate::config::raw::{AcmeTable, At, ChallengeName, ExternalAccountTable, Raw, Table, Text};
use crate::tls::Material;
use crate::upstream_tls::{TlsRules, UpstreamTls, server_name};

/// The most names that a certificate has; Let's Encrypt takes no more.
const MOST_DOMAINS: usize = 100;

/// The plan; `None` where a finding says why there is none. `redirects` says whether plain HTTP is listened to.
pub(super) fn plan(
    cx: &mut Context<'_>,
    section: &Table<AcmeTable>,
    state_dir: &Path,
    redirects: bool,
) -> Option<AcmePlan> {
    let (table, span) = (section.get(), section.span());
    let agreed = match &table.agree_to_terms {
        Some(at) if *at.get() => true,
        Some(at) => {
            let found =
                Diagnostic::error(at.span(), "without agreeing to its terms no authority gives out a certificate");
            cx.push(found.hint("read them at the authority's, and write agree_to_terms = true"));
            false
        }
        None => {
            cx.missing(
                "tls.acme",
                "agree_to_terms",
                span.clone(),
                "agree_to_terms = true  # to those of the authority",
            );
            false
        }
    };
    let challenge = match table.challenge.as_ref().map(At::get) {
        Some(ChallengeName::Http01) => ChallengeKind::Http01,
        None | Some(ChallengeName::TlsAlpn01) => ChallengeKind::TlsAlpn01,
    };
    if challenge == ChallengeKind::Http01 && !redirects {
        let at = table.challenge.as_ref().map_or_else(|| span.clone(), At::span);
        let found = Diagnostic::error(at, "\"http-01\" is answered at port 80, and nothing listens there");
        cx.push(found.hint("add to [tls]: redirect = \"0.0.0.0:80\", or write challenge = \"tls-alpn-01\""));
    }
    let domains = domains(cx, section);
    let contact = table.email.as_ref().and_then(|at| contact(cx, at));
    let directory = directory(cx, table.directory.as_ref());
    let external_account = table.external_account.as_ref().map(|table| external_account(cx, table));
    let rules = TlsRules { ca: table.directory_ca.as_ref().map(|at| cx.path(at)), ..TlsRules::default() };
    let server = UpstreamTls::new(rules, cx.outside).map_err(|fault| {
        cx.push(Diagnostic::error(table.directory_ca.as_ref().map(At::span), fault.to_string()));
    });
    let directory = directory?;
    let folder = AcmePlan::folder(state_dir, &directory);
    let external_account = match external_account {
        Some(account) => Some(account?),
        None => None,
    };
    (agreed && !domains.is_empty()).then_some(AcmePlan {
        domains,
        contact,
        directory,
        challenge,
        external_account,
        server: server.ok()?,
        folder,
    })
}

/// What shows only beside the rest of the file.
pub(super) fn judge(cx: &mut Context<'_>, section: &Table<AcmeTable>, plan: &AcmePlan, material: &Material, raw: &Raw) {
    for at in section.get().domains.iter().flat_map(|list| &list.0) {
        let name = plain_name(at.get().as_str());
        if material.names().are_from_files(&name) {
            let found =
                Diagnostic::error(at.span(), format!("{name} has a certificate among \"certificates\" already"));
            cx.push(found.hint("remove one of the two: which one a client is shown would be a matter of chance"));
        }
    }
    let Some(at) = &raw.public_url else { return };
    let host = at.get().as_str().parse::<Uri>().ok().and_then(|uri| uri.host().map(plain_name));
    if let Some(host) = host
        && !plan.domains.iter().any(|name| **name == *host)
        && !material.names().covers(&host)
    {
        let found =
            Diagnostic::warning(at.span(), format!("no certificate is for {host}, by which clients know this gate"));
        cx.push(found.hint(format!("add it to [tls.acme] domains: [\"{host}\", …]")));
    }
}

fn domains(cx: &mut Context<'_>, section: &Table<AcmeTable>) -> Vec<Box<str>> {
    let written = section.get().domains.as_ref().map_or(&[][..], |list| &list.0);
    if written.is_empty() {
        cx.missing("tls.acme", "domains", section.span(), "domains = [\"api.example.com\"]");
    }
    let mut domains: Vec<Box<str>> = Vec::new();
    for at in written {
        let name = plain_name(at.get().as_str());
        let wrong = if name.starts_with("*.") {
            Some(("is a wildcard, which neither \"http-01\" nor \"tls-alpn-01\" can prove", WILDCARD))
        } else if !is_public_name(&name) {
            Some((
                "is not the name of a host on the internet",
                "for example \"api.example.com\"; one with umlauts as \"xn--…\"",
            ))
        } else if domains.iter().any(|known| **known == *name) {
            Some(("is written twice", "remove one of the two"))
        } else {
            None
        };
        match wrong {
            Some((what, hint)) => cx.push(Diagnostic::error(at.span(), format!("\"{name}\" {what}")).hint(hint)),
            None => domains.push(name.into()),
        }
    }
    if let Some(at) = written.get(MOST_DOMAINS) {
        cx.push(Diagnostic::error(at.span(), format!("a certificate has at most {MOST_DOMAINS} names")));
    }
    domains
}

const WILDCARD: &str =
    "write the names one by one, or get it by a DNS challenge with another tool and name its files in \"certificates\"";

/// Whether a name may stand in a certificate of a public authority: it has a dot, and is no address.
fn is_public_name(name: &str) -> bool {
    let is_label = |label: &str| {
        let inner = label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        inner && !label.is_empty() && label.len() <= 63 && !label.starts_with('-') && !label.ends_with('-')
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    name.len() <= 253
        && name.contains('.')
        && name.split('.').all(is_label)
        && !last.bytes().all(|byte| byte.is_ascii_digit())
        && server_name(name).is_some()
}

fn contact(cx: &mut Context<'_>, at: &At<Text>) -> Option<Box<str>> {
    let text = at.get().as_str();
    let is_plain = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_graphic() && !b"?&,<>\"%".contains(&byte))
    };
    match text.split_once('@') {
        Some((local, domain)) if is_plain(local) && is_public_name(&plain_name(domain)) => {
            Some(format!("mailto:{text}").into())
        }
        _ => {
            let found = Diagnostic::error(at.span(), format!("{text:?} is not an e-mail address"));
            cx.push(found.expected("for example \"ops@example.com\""));
            None
        }
    }
}

fn directory(cx: &mut Context<'_>, written: Option<&At<Text>>) -> Option<Box<str>> {
    let Some(at) = written else { return Some(LETS_ENCRYPT.into()) };
    match at.get().as_str() {
        "letsencrypt" => Some(LETS_ENCRYPT.into()),
        "letsencrypt-staging" => Some(LETS_ENCRYPT_STAGING.into()),
        text => {
            let uri = text.parse::<Uri>().ok();
            let good = uri.is_some_and(|uri| {
                let authority = uri.authority().map_or("", |authority| authority.as_str());
                uri.scheme_str() == Some("https") && !authority.is_empty() && !authority.contains('@')
            });
            if good {
                return Some(text.into());
            }
            let found = Diagnostic::error(at.span(), format!("{text:?} is not the directory of an authority"));
            cx.push(found.expected("\"letsencrypt\", \"letsencrypt-staging\" or an https URL"));
            None
        }
    }
}

fn external_account(cx: &mut Context<'_>, section: &Table<ExternalAccountTable>) -> Option<ExternalAccount> {
    const PATH: &str = "tls.acme.external_account";
    let ExternalAccountTable { key_id, key_file, key_env } = section.get();
    if key_id.is_none() {
        cx.missing(PATH, "key_id", section.span(), "key_id = \"kid-1\"");
    }
    if key_file.is_none() && key_env.is_none() {
        cx.missing(PATH, "key_file", section.span(), "key_file = \"acme-account.key\"");
        return None;
    }
    let key_id = key_id.as_ref().and_then(|at| cx.text(at));
    let origin = Origin { file: key_file.as_ref(), variable: key_env.as_ref(), fallback: None };
    let text = secrets::foreign(cx, "key of the external account", &origin)?;
    let engines = [URL_SAFE_NO_PAD, URL_SAFE, STANDARD];
    let key = engines.iter().find_map(|engine| engine.decode(text.expose()).ok()).filter(|key| !key.is_empty());
    let Some(key) = key else {
        let span = key_file.as_ref().map(At::span).or_else(|| key_env.as_ref().map(At::span));
        cx.push(Diagnostic::error(span, "the key of the external account is not base64url"));
        return None;
    };
    Some(ExternalAccount { key_id: key_id?, key: Secret::new(key) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_hosts_on_the_internet_are_told_from_others() {
        for good in ["a.example", "api.example.com", "xn--bcher-kva.example", "1.example"] {
            assert!(is_public_name(good), "{good}");
        }
        let long = format!("{}.example", "a".repeat(64));
        for wrong in
            ["", "localhost", "a..b", "-a.example", "a_b.example", "10.0.0.1", "[::1]", "a.example:80", "a b.c", &long]
        {
            assert!(!is_public_name(wrong), "{wrong}");
        }
    }
}
