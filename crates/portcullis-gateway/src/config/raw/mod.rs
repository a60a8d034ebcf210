//! The file as it is written: every key optional, unknown keys refused, nothing interpreted yet. The documentation of
//! these types is the documentation of the file: `portcullis schema` prints it.

mod acme;
mod body;
mod cors;
mod csrf;
mod graphql;
mod headers;
mod identity;
mod limit;
mod mail;
mod openapi;
mod operate;
mod reputation;
mod response;
mod route;
mod settle;
mod tls;
mod transport;
mod upstream;
mod value;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

pub(crate) use acme::{AcmeTable, ChallengeName, ExternalAccountTable};
pub(crate) use body::{BodyTable, NumbersName, SchemaTable, UnlistedName};
pub(crate) use cors::CorsTable;
pub(crate) use csrf::{CsrfMode, CsrfTable};
pub(crate) use graphql::GraphqlTable;
pub(crate) use headers::{CspFromName, HeadersPreset, HeadersTable, HstsTable, RouteHeadersTable};
pub(crate) use identity::{
    ApiKeysTable, ClaimsTable, HashName, IdentityTable, IssuerTable, LockoutTable, PagesTable, PasswordTable,
    PolicyName, SessionsTable, TokensTable,
};
pub(crate) use limit::{
    ByChoice, CountName, LimitHeadersName, LimitTable, LimitsTable, ModeName, OutageName, PresetName, ScopeName,
};
pub(crate) use mail::{MailTable, MailTlsName};
pub(crate) use openapi::{OpenApi, OpenApiTable, RequestsName, ResponsesName, UnknownName};
pub(crate) use operate::{AdminTable, LogTable};
pub(crate) use reputation::{ReputationTable, WeightsTable};
pub(crate) use response::{
    AllowTable, ErrorsName, ForeignName, OtherTypesName, OwnerTable, ResponseTable, UnlessTable,
};
pub(crate) use route::{AccessName, OtherwiseName, RoleTable, RouteTable, RoutesTable};
pub(crate) use settle::{CostChoice, CostTable, CountChoice, StatusText};
pub(crate) use tls::{
    CertificateTable, GrantTable, PrincipalName, TlsClientTable, TlsTable, TlsVersionName, UnknownNameName,
};
pub(crate) use transport::ClientTable;
pub(crate) use upstream::{UpstreamTable, UpstreamTlsTable};
pub(crate) use value::{
    At, DurationText, HeaderText, KeyText, NetworkText, OneOrMany, OriginText, PathText, PatternText, QuotaText,
    ShortOrLong, SizeText, SocketText, Table, Text, UrlText, VariableText,
};

/// The configuration of Portcullis. Every key is optional; `upstream` (or `[[upstreams]]`) must be given here or on the
/// command line. Relative paths start at the folder of the file.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "portcullis.toml")]
pub(crate) struct Raw {
    /// Where clients connect: one address with a port, or several. Default: `127.0.0.1:8080`. With `[tls]` they speak HTTPS.
    pub(crate) listen: Option<OneOrMany<SocketText>>,
    /// Where admitted requests go: `http://host:port` or `https://host:port`, with an optional path that every request is put
    /// behind. It is the upstream named `default`.
    pub(crate) upstream: Option<At<UrlText>>,
    /// The URL under which clients know this gate: issuer of tokens, links in mails, cookies, Origin check. Never taken
    /// from a `Host` header. Default: `http://127.0.0.1:PORT`, or `https://…` with `[tls]`.
    pub(crate) public_url: Option<At<UrlText>>,
    /// Where state is kept: database, keys, logs. Default: `./portcullis-data`.
    pub(crate) state_dir: Option<At<PathText>>,
    /// A file that holds the key which encrypts private keys at rest: 32 bytes in hexadecimal or base64. Also by the
    /// variable `PORTCULLIS_MASTER_KEY` or `PORTCULLIS_MASTER_KEY_FILE`. Default: made in the state directory.
    pub(crate) master_key_file: Option<At<PathText>>,
    /// The environment variable that holds the master key.
    pub(crate) master_key_env: Option<At<VariableText>>,
    /// How many cores accept connections. Default: all.
    pub(crate) cores: Option<At<u64>>,
    /// How long a stop waits for requests under way. Default: `30s`.
    pub(crate) drain_timeout: Option<At<DurationText>>,
    /// TLS with clients.
    pub(crate) tls: Option<Table<TlsTable>>,
    /// The client's side of the transport.
    pub(crate) client: Option<Table<ClientTable>>,
    /// Further upstreams, which routes name.
    pub(crate) upstreams: Option<Vec<Table<UpstreamTable>>>,
    /// The identity endpoints under `/auth`.
    pub(crate) identity: Option<Table<IdentityTable>>,
    /// The server that mail is handed to; with it, strangers can register.
    pub(crate) mail: Option<Table<MailTable>>,
    /// The tokens that the identity endpoints issue.
    pub(crate) tokens: Option<Table<TokensTable>>,
    /// Other people's tokens that are believed.
    pub(crate) issuer: Option<Vec<Table<IssuerTable>>>,
    /// What roles permit, by name.
    pub(crate) roles: Option<BTreeMap<String, Table<RoleTable>>>,
    /// What holds for all routes.
    pub(crate) routes: Option<Table<RoutesTable>>,
    /// Routes: which requests may pass, and what they must prove. The most specific pattern wins, whatever the order.
    pub(crate) route: Option<Vec<Table<RouteTable>>>,
    /// An OpenAPI document as the contract of an upstream.
    pub(crate) openapi: Option<OpenApi>,
    /// What holds for all limits.
    pub(crate) limits: Option<Table<LimitsTable>>,
    /// Limits: how often requests may pass. Where none is written, the preset limits apply.
    pub(crate) limit: Option<Vec<Table<LimitTable>>>,
    /// How addresses are judged by what comes from them, for limits that go by it.
    pub(crate) reputation: Option<Table<ReputationTable>>,
    /// Requests that change something and that a cookie authenticates.
    pub(crate) csrf: Option<Table<CsrfTable>>,
    /// Response headers, and the headers in which the upstream believes this gate.
    pub(crate) headers: Option<Table<HeadersTable>>,
    /// Which pages of other origins may ask.
    pub(crate) cors: Option<Table<CorsTable>>,
    /// The operator's listener.
    pub(crate) admin: Option<Table<AdminTable>>,
    /// What is logged where.
    pub(crate) log: Option<Table<LogTable>>,
}
