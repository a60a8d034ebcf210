//! `[mail]`.

use std::net::IpAddr;

use portcullis_identity::{Authorities, Sender, SmtpConfig, SmtpLogin, SmtpProtection};

use super::context::Context;
use super::secrets::{self, Origin};
use crate::config::diagnostic::Diagnostic;
use crate::config::raw::{At, MailTable, MailTlsName, Raw, Table};
use crate::config::settings::MailDelivery;

/// Where mail goes: nowhere, too, where what is said of the server is wrong.
pub(super) fn delivery(cx: &mut Context<'_>, raw: &Raw, catches: bool) -> MailDelivery {
    let server = server(cx, raw);
    let at = raw.identity.as_ref().and_then(|table| table.get().danger_mail_catcher.as_ref()).filter(|at| *at.get());
    if let Some(at) = at {
        let found = Diagnostic::warning(at.span(), "mail is caught and shown on the admin listener, never sent");
        cx.push(found.hint("whoever reads it can confirm any address; for development only"));
    }
    match server {
        _ if catches || at.is_some() => MailDelivery::Catcher,
        Some(server) => MailDelivery::Server(Box::new(server)),
        None => MailDelivery::None,
    }
}

fn server(cx: &mut Context<'_>, raw: &Raw) -> Option<SmtpConfig> {
    let section = raw.mail.as_ref()?;
    let table = section.get();
    let protection = match table.tls.as_ref().map(At::get) {
        None | Some(MailTlsName::Starttls) => SmtpProtection::Starttls,
        Some(MailTlsName::Tls) => SmtpProtection::Tls,
        Some(MailTlsName::None) => SmtpProtection::None,
    };
    let usual = match protection {
        SmtpProtection::Starttls => 587,
        SmtpProtection::Tls => 465,
        SmtpProtection::None => 25,
    };
    let host = host(cx, section);
    let port = cx.number(table.port.as_ref(), usual, 1..=65_535);
    if let (Some(host), Some(at), SmtpProtection::None) = (&host, &table.tls, protection)
        && !is_loopback(host)
    {
        let found = Diagnostic::error(at.span(), format!("mail to {host} would go over the network unprotected"));
        cx.push(found.hint("write \"starttls\" or \"tls\"; \"none\" is for a server on this machine"));
    }
    let authorities = authorities(cx, table, protection);
    let login = login(cx, table);
    let from = from(cx, section);
    let per_recipient = cx.number(table.per_recipient.as_ref(), 5, 1..=1_000);
    Some(SmtpConfig {
        host: host?,
        port: u16::try_from(port).ok()?,
        protection,
        authorities,
        login,
        from: from?,
        per_recipient: u32::try_from(per_recipient).ok()?,
        retries: SmtpConfig::RETRIES.to_vec(),
    })
}

fn host(cx: &mut Context<'_>, section: &Table<MailTable>) -> Option<String> {
    let Some(at) = &section.get().host else {
        cx.missing("mail", "host", section.span(), "host = \"smtp.example.com\"");
        return None;
    };
    let text = at.get().as_str();
    if is_host(text) {
        return Some(text.to_owned());
    }
    let found = Diagnostic::error(at.span(), format!("{text:?} is not the name of a host"));
    let found = found.expected("a name or an IP address, such as \"smtp.example.com\"");
    cx.push(match text.rsplit_once(':') {
        Some((_, port)) if port.parse::<u16>().is_ok() => found.hint(format!("write the port apart: port = {port}")),
        _ => found,
    });
    None
}

/// Whether a text is an IP address, or a name as a certificate can hold it.
fn is_host(text: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    text.parse::<IpAddr>().is_ok() || (text.len() <= 253 && text.split('.').all(label))
}

/// Whether a host is this machine, whoever resolves names: `x.localhost` is left to a name server by some.
fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn authorities(cx: &mut Context<'_>, table: &MailTable, protection: SmtpProtection) -> Option<Authorities> {
    let at = table.ca_file.as_ref()?;
    let path = cx.path(at);
    if protection == SmtpProtection::None {
        let found = Diagnostic::error(at.span(), "without TLS there is no certificate to check");
        cx.push(found.hint("remove \"ca_file\", or write tls = \"starttls\" or \"tls\""));
        return None;
    }
    let read = cx.outside.read(&path).map_err(|error| format!("cannot read {}: {error}", path.display()));
    let parsed =
        read.and_then(|pem| Authorities::from_pem(&pem).map_err(|error| format!("{} {error}", path.display())));
    parsed.map_err(|problem| cx.push(Diagnostic::error(at.span(), problem))).ok()
}

/// The variable that holds the password where the file names no other place; also with `_FILE` behind it.
const PASSWORD: &str = "PORTCULLIS_MAIL_PASSWORD";

fn login(cx: &mut Context<'_>, table: &MailTable) -> Option<SmtpLogin> {
    let named = table.password_file.as_ref().map(At::span).or_else(|| table.password_env.as_ref().map(At::span));
    let Some(at) = &table.username else {
        if let Some(span) = named
            && !cx.is_damaged("mail.username")
        {
            let found = Diagnostic::error(span, "there is a password for the mail server, but no user");
            cx.push(found.hint("add for example: username = \"gate@example.com\""));
        }
        return None;
    };
    let username = cx.text(at);
    let is_named = named.is_some()
        || cx.is_damaged("mail.password_file")
        || cx.is_damaged("mail.password_env")
        || [PASSWORD.to_owned(), format!("{PASSWORD}_FILE")].iter().any(|name| cx.outside.variable(name).is_some());
    if !is_named {
        let found = Diagnostic::error(at.span(), "there is no password for this user of the mail server");
        cx.push(found.hint(format!("name a file with \"password_file\", or set {PASSWORD}")));
        return None;
    }
    let origin =
        Origin { file: table.password_file.as_ref(), variable: table.password_env.as_ref(), fallback: Some(PASSWORD) };
    let password = secrets::foreign(cx, "password of the mail server", &origin)?;
    Some(SmtpLogin { username: username?.into(), password })
}

fn from(cx: &mut Context<'_>, section: &Table<MailTable>) -> Option<Sender> {
    let Some(at) = &section.get().from else {
        cx.missing("mail", "from", section.span(), "from = \"The Gate <gate@example.com>\"");
        return None;
    };
    let text = at.get().as_str();
    let parsed = text.parse::<Sender>().map_err(|error| {
        let found = Diagnostic::error(at.span(), format!("{text:?} {error}"));
        cx.push(found.expected("\"gate@example.com\" or \"The Gate <gate@example.com>\""));
    });
    parsed.ok()
}
