//! `[admin]` and `[log]`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{At, OneOrMany, PathText, SocketText, Text, VariableText};

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
