//! `[headers]`, `[admin]` and `[log]`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{At, HeaderText, OneOrMany, PathText, SocketText, Text, VariableText};

/// Response headers, and the headers that tell the upstream who a request is.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct HeadersTable {
    /// The security headers that every response carries. Default: `web`.
    pub(crate) preset: Option<At<HeadersPreset>>,
    /// The header that carries the verified user's id. Default: `X-User-Id`.
    pub(crate) user: Option<At<HeaderText>>,
    /// The header that carries the verified roles. Default: `X-User-Role`.
    pub(crate) role: Option<At<HeaderText>>,
    /// The header that carries the verified plan. Default: `X-User-Plan`.
    pub(crate) plan: Option<At<HeaderText>>,
    /// Whether the upstream receives the credential that this gate consumed. Default: false.
    pub(crate) forward_credentials: Option<At<bool>>,
}

/// A named set of response headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum HeadersPreset {
    /// For answers that a browser may show.
    Web,
    /// For answers that no browser shows as a page.
    Api,
    /// None: for an upstream that sets all of them itself.
    DangerOff,
}

/// The operator's listener: health, metrics, administration.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct AdminTable {
    /// Whether it is served. Default: true.
    pub(crate) enabled: Option<At<bool>>,
    /// Where it listens. Default: `127.0.0.1:9090`.
    pub(crate) listen: Option<At<SocketText>>,
    /// A file that holds the operator's token. Also by the variable `PORTCULLIS_ADMIN_TOKEN` or
    /// `PORTCULLIS_ADMIN_TOKEN_FILE`. Default: made in the state directory (`admin-token`).
    pub(crate) token_file: Option<At<PathText>>,
    /// The environment variable that holds the operator's token.
    pub(crate) token_env: Option<At<VariableText>>,
    /// Further `Host` values that are accepted besides the loopback names.
    pub(crate) hosts: Option<OneOrMany<Text>>,
}

/// What is logged where.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LogTable {
    /// Whether each request is logged on standard error; a line costs more than deciding about the request. Default: false.
    pub(crate) access: Option<At<bool>>,
    /// Whether events are written as JSON lines. Default: true.
    pub(crate) events: Option<At<bool>>,
    /// The directory of the JSON lines (`events.jsonl`, `limits.jsonl`). Default: `logs` in the state directory.
    pub(crate) events_dir: Option<At<PathText>>,
}
