//! From the file as it is written to settings that cannot be wrong. Each part reads its tables, reports every mistake at
//! its place, and goes on with the default.

mod candidates;
mod context;
mod cors;
mod csrf;
mod exempt;
mod headers;
mod identity;
mod issuers;
mod lease;
mod limits;
mod mail;
mod openapi;
mod operate;
mod pages;
mod preset;
mod quota;
mod reputation;
mod response;
mod routes;
mod secrets;
mod settle;
mod store;
mod tls;
mod transport;
mod upstream_tls;
mod upstreams;

use std::net::SocketAddr;
use std::path::Path;

use portcullis::Otherwise;

use super::diagnostic::Diagnostic;
use super::document::Document;
use super::outside::Outside;
use super::raw::At;
use super::settings::{GateSettings, Settings};
use context::Context;

/// What is known apart from the file.
pub(super) struct Given<'a> {
    pub(super) outside: &'a dyn Outside,
    /// Where relative paths start.
    pub(super) folder: &'a Path,
    /// Where to listen instead of what the file says; empty for nothing.
    pub(super) listen: &'a [SocketAddr],
    /// Where to keep state instead of what the file says.
    pub(super) state_dir: Option<&'a Path>,
    /// Whether mail is caught, whatever the file says.
    pub(super) catches_mail: bool,
}

/// The settings, and what there is to say of them. They may be used only if no finding is an error.
pub(super) fn resolve(document: Document, found: Vec<Diagnostic>, given: &Given<'_>) -> (Settings, Vec<Diagnostic>) {
    let Document { raw, damaged } = document;
    let mut context = Context::new(given.outside, given.folder, damaged, found);
    let cx = &mut context;
    let mut plain = transport::listen(cx, &raw, given.listen);
    let tls = tls::tls(cx, &raw, !given.listen.is_empty(), &mut plain);
    let listen: Vec<SocketAddr> = plain.iter().chain(tls.iter().flat_map(|tls| &tls.listen)).copied().collect();
    let secure = tls.as_ref().and_then(|tls| tls.listen.first()).copied();
    let public_url = transport::public_url(cx, &raw, &listen, secure);
    let state_dir = match (given.state_dir, &raw.state_dir) {
        (Some(path), _) => path.to_owned(),
        (None, Some(at)) => cx.path(at),
        (None, None) => given.folder.join("portcullis-data"),
    };
    let transport = transport::transport(cx, &raw);
    let upstreams = upstreams::upstreams(cx, &raw, &listen);
    let mail = mail::delivery(cx, &raw, given.catches_mail);
    let letters = mail::letters(cx, &raw);
    let identity = identity::identity(cx, &raw, &public_url, mail, letters);
    let issuers = issuers::issuers(cx, &raw, &public_url);
    let roles = routes::roles(cx, &raw);
    if let Some(at) = raw.identity.as_ref().and_then(|table| table.get().default_role.as_ref()) {
        routes::role_reference(cx, at, &roles);
    }
    let defaults = routes::defaults(cx, &raw);
    let headers = headers::headers(cx, &raw, public_url.starts_with("https://"));
    let cors = cors::cors(cx, &raw);
    let around = routes::Around {
        roles: &roles,
        upstreams: &upstreams,
        defaults: &defaults,
        identity: identity.is_some(),
        headers: &headers.responses,
        cors: cors.as_ref(),
    };
    let mut rules = routes::routes(cx, &raw, &around);
    if let Some(contracted) = openapi::contract(cx, &raw, &upstreams) {
        openapi::lay(cx, &contracted, &mut rules, &defaults);
    }
    let hops = raw.client.as_ref().and_then(|table| table.get().trusted_hops.as_ref());
    let trusts_hops = hops.is_some_and(|list| !list.0.is_empty());
    let claims = identity.as_ref().map(|identity| identity::countable_claims(&identity.tokens)).unwrap_or_default();
    let around =
        limits::Around { roles: &roles, issuers: &issuers, claims: &claims, identity: identity.is_some(), trusts_hops };
    let limits = limits::limits(cx, &raw, &around);
    let reputation = reputation::rules(cx, &raw, &limits.rules);
    let csrf = csrf::rules(cx, &raw, &public_url);
    let admin = operate::admin(cx, &raw, &listen);
    let log = operate::log(cx, &raw, &state_dir);
    let ipv6_prefix = raw.client.as_ref().and_then(|table| table.get().ipv6_prefix.as_ref());
    let ipv6_prefix = u8::try_from(cx.number(ipv6_prefix, 64, 32..=128)).unwrap_or(64);
    if identity.is_none()
        && issuers.is_empty()
        && defaults.otherwise == Otherwise::Authenticated
        && raw.issuer.is_none()
    {
        let span = raw.identity.as_ref().and_then(|table| table.get().enabled.as_ref()).map(At::span);
        let found = Diagnostic::warning(
            span,
            "nobody can prove an identity: there are no identity endpoints and no [[issuer]]",
        );
        cx.push(found.hint("every request that needs a login will be answered 401"));
    }
    // What could not be resolved has been told; then nobody uses these settings.
    let resolved = portcullis_auth::access::Roles::new(&roles).unwrap_or_default();
    if let Some(identity) = &identity {
        let around = (&resolved, transport.max_head_bytes);
        identity::token_length(cx, &raw, &public_url, &identity.tokens, around);
    }
    let gate = GateSettings {
        ipv6_prefix,
        routes: rules,
        otherwise: defaults.otherwise,
        max_body: defaults.max_body,
        limits: limits.rules,
        limit_headers: limits.headers,
        reputation,
        max_limit_keys: limits.max_keys,
        limit_store: limits.store,
        remembered_tokens: identity::remembered_tokens(cx, &raw),
        roles: resolved,
        issuers,
        headers: headers.responses.render(),
        cors: cors::render(cors),
        csrf,
        identity_headers: headers.identity,
        forward_credentials: headers.forward_credentials,
    };
    let settings =
        Settings { listen: plain, tls, public_url, state_dir, transport, upstreams, identity, admin, log, gate };
    (settings, context.into_findings())
}
