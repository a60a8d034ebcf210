//! `[mail]`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{At, PathText, Text, VariableText};

/// The server that mail is handed to by SMTP. Where it is given, strangers can register.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct MailTable {
    /// Its name, as its certificate says it, or its IP address. Required.
    pub(crate) host: Option<At<Text>>,
    /// Its port. Default: 587 for `starttls`, 465 for `tls`, 25 for `none`.
    pub(crate) port: Option<At<u64>>,
    /// How the way to it is protected. Default: `starttls`.
    pub(crate) tls: Option<At<MailTlsName>>,
    /// A file with certificate authorities as PEM that are believed instead of those of the web.
    pub(crate) ca_file: Option<At<PathText>>,
    /// The user's name there; a password must be given with it.
    pub(crate) username: Option<At<Text>>,
    /// A file that holds the user's password. Also by the variable `PORTCULLIS_MAIL_PASSWORD` or
    /// `PORTCULLIS_MAIL_PASSWORD_FILE`.
    pub(crate) password_file: Option<At<PathText>>,
    /// The environment variable that holds the user's password.
    pub(crate) password_env: Option<At<VariableText>>,
    /// Whom mails are from: `gate@example.com` or `The Gate <gate@example.com>`. Required.
    pub(crate) from: Option<At<Text>>,
    /// How many mails of one kind a mailbox is sent within an hour, so that nobody can fill a stranger's. Default: 5.
    pub(crate) per_recipient: Option<At<u64>>,
}

/// How the way to the mail server is protected.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum MailTlsName {
    /// The server must offer STARTTLS; without it nothing is sent.
    Starttls,
    /// TLS from the first byte on.
    Tls,
    /// None: to this machine only.
    None,
}
