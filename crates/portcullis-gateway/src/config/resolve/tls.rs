//! `[tls]`: which addresses speak what, and what for.

use std::net::SocketAddr;
use std::ops::Range;

use super::context::Context;
use super::transport::socket;
use crate::config::diagnostic::Diagnostic;
use crate::config::raw::{
    At, CertificateTable, OneOrMany, Raw, SocketText, Table, TlsTable, TlsVersionName, UnknownNameName,
};
use crate::config::settings::TlsSettings;
use crate::tls::{Finding, PairFiles, Place, TlsPlan, UnknownName};

/// TLS with clients, where there is any. `listen` is what the file or the command line says for all requests; what remains of
/// it is what stays plain.
pub(super) fn tls(cx: &mut Context<'_>, raw: &Raw, over: bool, listen: &mut Vec<SocketAddr>) -> Option<TlsSettings> {
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
    for address in speaks.iter().filter(|address| listen.contains(address)) {
        let span = table.listen.as_ref().and_then(|list| list.0.first()).map(At::span);
        cx.push(Diagnostic::error(span, format!("{address} cannot speak both plain HTTP and HTTPS")));
    }
    let taken: Vec<SocketAddr> = speaks.iter().chain(&*listen).copied().collect();
    let redirect = addresses(cx, table.redirect.as_ref(), &taken);
    let pairs = pairs(cx, section)?;
    let (files, spans): (Vec<PairFiles>, Vec<[Range<usize>; 2]>) = pairs.into_iter().unzip();
    let plan = TlsPlan {
        pairs: files,
        unknown: match table.unknown_name.as_ref().map(At::get) {
            None | Some(UnknownNameName::First) => UnknownName::First,
            Some(UnknownNameName::Refuse) => UnknownName::Refuse,
        },
        tls12: !matches!(table.min_version.as_ref().map(At::get), Some(TlsVersionName::V13)),
    };
    let (material, found) = plan.load(cx.outside, None);
    for finding in found {
        let span = match finding.place {
            Place::Cert(index) => spans.get(index).map(|[cert, _]| cert),
            Place::Key(index) => spans.get(index).map(|[_, key]| key),
        };
        cx.push(diagnostic(span.cloned(), finding));
    }
    Some(TlsSettings { listen: speaks, redirect, material: material? })
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
    if given.is_empty() {
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
