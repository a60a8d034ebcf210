//! `[route.owner]` and `[route.response]`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{At, OneOrMany, ShortOrLong, SizeText, Table, Text};

/// What must be the caller's own. One of `path` and `member`, or both, must be given. What is compared is the id that the
/// upstream gets in `X-User-Id`, to the last byte.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct OwnerTable {
    /// The name of a variable segment of the route's path, such as `user_id` for `/users/{user_id}/orders`: it must be the
    /// caller's id, or nothing is forwarded.
    pub(crate) path: Option<At<Text>>,
    /// A member of the response, such as `owner.id`: it must be the caller's id, or the response is not told. An array in
    /// the place of the response is a list of things, each with this member. Only for `GET` and `HEAD`: what changes
    /// something has changed it when its response comes.
    pub(crate) member: Option<At<Text>>,
    /// The member of the response that is the list of things, such as `items`, where the list is not the response itself.
    pub(crate) list: Option<At<Text>>,
    /// What becomes of a list in which something belongs to others. Default: `remove`.
    pub(crate) foreign: Option<At<ForeignName>>,
    /// Who may see and do it to others' as well.
    pub(crate) unless: Option<Table<UnlessTable>>,
    /// The answer to what belongs to others: 404, as if it did not exist, or 403. Default: 404.
    pub(crate) answer: Option<At<u64>>,
}

/// What becomes of a list in which something belongs to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ForeignName {
    /// What is not the caller's is left out.
    Remove,
    /// The whole list is refused.
    Refuse,
}

/// Roles and permissions of which one is enough.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct UnlessTable {
    /// Roles.
    pub(crate) roles: Option<OneOrMany<Text>>,
    /// Permissions.
    pub(crate) permissions: Option<OneOrMany<Text>>,
}

/// What is asked of responses. Where a response has to be looked at, it is collected, and asked for without content coding,
/// whole and unconditionally.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ResponseTable {
    /// The members that may be seen: a list for everyone, or lists by role, with `otherwise` for whoever holds none of them.
    /// A path names members from the outermost inwards: `owner.id`; `*` stands for any one member or element
    /// (`items.*.id`), `**` at the end for all that is there. Whoever holds several roles sees what any of them may.
    pub(crate) allow: Option<At<ShortOrLong<Vec<Text>, AllowTable>>>,
    /// The largest response that is looked at; a larger one is refused. Default: `1MiB`.
    pub(crate) max: Option<At<SizeText>>,
    /// What becomes of the upstream's own errors. Default: `hide`.
    pub(crate) errors: Option<At<ErrorsName>>,
    /// What becomes of responses that are not JSON. Default: `refuse`.
    pub(crate) other_types: Option<At<OtherTypesName>>,
}

/// Lists of members by role.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct AllowTable(pub(crate) BTreeMap<String, Vec<Text>>);

/// What becomes of answers with a status code of 400 and above.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ErrorsName {
    /// Their content is replaced by problem details that say the status code and no more.
    Hide,
    /// The members that may be seen are those of `allow` here too; what is not JSON is hidden.
    Shape,
    /// They go on as they come, whatever they say.
    DangerPass,
}

/// What becomes of responses that are not JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum OtherTypesName {
    /// They are refused.
    Refuse,
    /// They go on as they come: whoever can make the upstream answer in another format sees everything.
    DangerPass,
}
