//! `[tls]`: which addresses speak what, and what for.

use std::net::SocketAddr;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use portcullis_auth::certificate::{CertificateRules, NameKind, NamePattern, is_trust_domain};

use super::acme;
use super::context::Context;
use super::routes::{Roles, role_reference};
use super::transport::socket;
use crate::acme::AcmePlan;
use crate::config::diagnostic::Diagnostic;
use crate::config::raw::{
    At, CertificateTable, GrantTable, OneOrMany, PrincipalName, Raw, SocketText, Table, TlsClientTable, TlsTable,
    TlsVersionName, UnknownNameName,
};
use crate::config::settings::TlsSettings;
use crate::tls::{ClientPlan, Finding, PairFiles, Place, TlsPlan, UnknownName};

/// TLS with clients, where there is any. `listen` is what the file or the command line says for all requests; what remains of
/// it is what stays plain.
pub(super) fn tls(
    cx: &mut Context<'_>,
    raw: &Raw,
    over: bool,
    listen: &mut Vec<SocketAddr>,
    roles: &Roles,
    state_dir: &Path,
) -> Option<TlsSettings> {
    let section = raw.tls.as_ref()?;
    let table = section.get();
    let own = addresses(cx, table.listen.as_ref(), &[]);
    let speaks = if own.is_empty() {
        std::mem::take(listen)
    } else if raw.listen.is_none() && !over {
        listen.clear();
        own
    } else {
        own
    };
    warn_of_plain(cx, raw, listen);
    warn_of_idle_h2c(cx, raw, listen);
    for address in speaks.iter().filter(|address| listen.contains(address)) {
        let span = table.listen.as_ref().and_then(|list| list.0.first()).map(At::span);
        cx.push(Diagnostic::error(span, format!("{address} cannot speak both plain HTTP and HTTPS")));
    }
    let taken: Vec<SocketAddr> = speaks.iter().chain(&*listen).copied().collect();
    let redirect = addresses(cx, table.redirect.as_ref(), &taken);
    let acme = table.acme.as_ref().map(|table| acme::plan(cx, table, state_dir, !redirect.is_empty()));
    let pairs = pairs(cx, section);
    let client = match &table.client {
        Some(table) => Some(client(cx, table, roles)?),
        None => None,
    };
    let pairs = pairs?;
    // What is wrong with it has been told.
    let acme = match acme {
        Some(plan) => Some(Arc::new(plan?)),
        None => None,
    };
    let (files, spans): (Vec<PairFiles>, Vec<[Range<usize>; 2]>) = pairs.into_iter().unzip();
    let plan = TlsPlan {
        pairs: files,
        acme: acme.as_ref().map(|plan| AcmePlan::certificate(&plan.folder)),
        unknown: match table.unknown_name.as_ref().map(At::get) {
            None | Some(UnknownNameName::First) => UnknownName::First,
            Some(UnknownNameName::Refuse) => UnknownName::Refuse,
        },
        client,
        http2: raw.client.as_ref().and_then(|client| client.get().http2.as_ref()).is_none_or(|at| *at.get()),
        tls12: !matches!(table.min_version.as_ref().map(At::get), Some(TlsVersionName::V13)),
    };
    let clients = table.client.as_ref().map(Table::get);
    let authorities = clients.and_then(|clients| clients.ca.as_ref()).map(At::span);
    let lists = clients.and_then(|clients| clients.crl.as_ref()).into_iter().flat_map(|crl| &crl.0).map(At::span);
    let client_spans: Vec<Range<usize>> = authorities.into_iter().chain(lists).collect();
    let acme_span = table.acme.as_ref().map(Table::span);
    let (material, found) = plan.load(cx.outside, None);
    for finding in found {
        let span = match finding.place {
            Place::Cert(index) => spans.get(index).map(|[cert, _]| cert),
            Place::Key(index) => spans.get(index).map(|[_, key]| key),
            Place::Ca => client_spans.first(),
            Place::Crl(index) => client_spans.get(index + 1),
            Place::Acme => acme_span.as_ref(),
        };
        cx.push(diagnostic(span.cloned(), finding));
    }
    let material = material?;
    if let (Some(written), Some(plan)) = (&table.acme, &acme) {
        acme::judge(cx, written, plan, &material, raw);
    }
    Some(TlsSettings { listen: speaks, redirect, acme, material })
}

fn diagnostic(span: Option<Range<usize>>, finding: Finding) -> Diagnostic {
    let Finding { message, hint, is_warning, .. } = finding;
    let shown = if is_warning { Diagnostic::warning(span, message) } else { Diagnostic::error(span, message) };
    match hint {
        Some(hint) => shown.hint(hint),
        None => shown,
    }
}

fn addresses(cx: &mut Context<'_>, list: Option<&OneOrMany<SocketText>>, taken: &[SocketAddr]) -> Vec<SocketAddr> {
    let mut addresses = Vec::new();
    for at in list.iter().flat_map(|list| &list.0) {
        let Some(address) = socket(cx, at.get().as_str(), at.span()) else { continue };
        if addresses.contains(&address) || taken.contains(&address) {
            cx.push(Diagnostic::error(at.span(), format!("{address} is written twice")));
        } else {
            addresses.push(address);
        }
    }
    addresses
}

/// HTTP/2 from the first byte on is for listeners without TLS.
fn warn_of_idle_h2c(cx: &mut Context<'_>, raw: &Raw, plain: &[SocketAddr]) {
    let at = raw.client.as_ref().and_then(|client| client.get().h2c.as_ref()).filter(|at| *at.get());
    if let Some(at) = at
        && plain.is_empty()
    {
        let found = Diagnostic::warning(at.span(), "\"h2c\" is for listeners without TLS, and there is none");
        cx.push(found.hint("clients that connect by TLS choose HTTP/2 by themselves (\"http2\"); remove the line"));
    }
}

/// A plain listener beside HTTPS is for this machine, or for somebody who knows what they do.
fn warn_of_plain(cx: &mut Context<'_>, raw: &Raw, plain: &[SocketAddr]) {
    if plain.iter().any(|address| !address.ip().is_loopback()) {
        let span = raw.listen.as_ref().and_then(|list| list.0.first()).map(At::span);
        let found = Diagnostic::warning(span, "other machines can send requests past HTTPS");
        cx.push(found.hint(
            "remove \"listen\", or [tls] listen; to send people from http:// to https:// there is [tls] redirect",
        ));
    }
}

/// A pair of files and the places that name them.
type Named = (PairFiles, [Range<usize>; 2]);

fn pairs(cx: &mut Context<'_>, section: &Table<TlsTable>) -> Option<Vec<Named>> {
    const EXAMPLE: &str = "certificates = [{ cert = \"fullchain.pem\", key = \"key.pem\" }]";
    let given = section.get().certificates.as_deref().unwrap_or_default();
    if given.is_empty() && section.get().acme.is_none() {
        cx.missing("tls", "certificates", section.span(), EXAMPLE);
        return None;
    }
    (0..).zip(given).map(|(index, table)| pair(cx, table, &format!("tls.certificates.{index}"))).collect()
}

fn pair(cx: &mut Context<'_>, table: &Table<CertificateTable>, path: &str) -> Option<Named> {
    let CertificateTable { cert, key } = table.get();
    if cert.is_none() {
        cx.missing(path, "cert", table.span(), "cert = \"fullchain.pem\"");
    }
    if key.is_none() {
        cx.missing(path, "key", table.span(), "key = \"key.pem\"");
    }
    let (cert, key) = (cert.as_ref()?, key.as_ref()?);
    Some((PairFiles { cert: cx.path(cert), key: cx.path(key) }, [cert.span(), key.span()]))
}

/// How clients prove themselves. Nothing is guessed: who is let in follows from it.
fn client(cx: &mut Context<'_>, section: &Table<TlsClientTable>, roles: &Roles) -> Option<ClientPlan> {
    let (table, span) = (section.get(), section.span());
    if table.ca.is_none() {
        cx.missing("tls.client", "ca", span.clone(), "ca = \"clients-ca.pem\"");
    }
    let name = match table.principal.as_ref().map(At::get) {
        None => {
            cx.missing("tls.client", "principal", span.clone(), "principal = \"spiffe\"");
            return None;
        }
        Some(PrincipalName::Spiffe) => NameKind::Spiffe,
        Some(PrincipalName::Uri) => NameKind::Uri,
        Some(PrincipalName::Dns) => NameKind::Dns,
        Some(PrincipalName::Email) => NameKind::Email,
        Some(PrincipalName::SubjectCn) => NameKind::CommonName,
    };
    let mut trust_domains = Vec::new();
    for at in table.trust_domains.iter().flat_map(|list| &list.0) {
        let text = at.get().as_str();
        if is_trust_domain(text) {
            trust_domains.push(text.into());
        } else {
            let found = Diagnostic::error(at.span(), format!("{text:?} is not a SPIFFE trust domain"));
            cx.push(found.expected("for example \"prod.example.com\", in lower case and without \"spiffe://\""));
        }
    }
    if name == NameKind::Spiffe && table.trust_domains.as_ref().is_none_or(|list| list.0.is_empty()) {
        cx.missing("tls.client", "trust_domains", span.clone(), "trust_domains = [\"prod.example.com\"]");
        return None;
    }
    if let Some(list) = table.trust_domains.as_ref().filter(|_| name != NameKind::Spiffe) {
        let found = Diagnostic::error(list.0.first().map_or(span, At::span), "trust domains are of SPIFFE IDs only");
        cx.push(found.hint("write principal = \"spiffe\", or remove them"));
    }
    let grants = (0..)
        .zip(table.grants.iter().flatten())
        .filter_map(|(index, grant): (usize, _)| {
            self::grant(cx, grant, &format!("tls.client.grants.{index}"), name, roles)
        })
        .collect();
    let crls = table.crl.iter().flat_map(|list| &list.0).map(|at| cx.path(at)).collect();
    Some(ClientPlan {
        ca: cx.path(table.ca.as_ref()?),
        crls,
        required: table.required.as_ref().is_none_or(|at| *at.get()),
        rules: CertificateRules { name, trust_domains, grants },
    })
}

fn grant(
    cx: &mut Context<'_>,
    table: &Table<GrantTable>,
    path: &str,
    kind: NameKind,
    roles: &Roles,
) -> Option<(NamePattern, Vec<Box<str>>)> {
    let GrantTable { pattern, roles: named } = table.get();
    if pattern.is_none() {
        cx.missing(path, "match", table.span(), "match = \"spiffe://prod.example.com/billing/*\"");
    }
    if named.as_ref().is_none_or(|list| list.0.is_empty()) {
        cx.missing(path, "roles", table.span(), "roles = [\"editor\"]");
    }
    let at = pattern.as_ref()?;
    let pattern = match NamePattern::new(at.get().as_str(), kind) {
        Ok(pattern) => pattern,
        Err(error) => {
            cx.push(Diagnostic::error(at.span(), error.to_string()));
            return None;
        }
    };
    Some((pattern, named.iter().flat_map(|list| &list.0).filter_map(|at| role_reference(cx, at, roles)).collect()))
}
