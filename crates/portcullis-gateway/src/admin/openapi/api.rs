//! Rows of accounts and keys.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::admin::accounts::{
    Details, Ended, Everybody, NewAccountBody, NewPassword, Page, PatchBody, Sessions, Shown,
};
use crate::admin::export::{Export, JSON_LINES};
use crate::admin::keys::{Keys, Rotated};
use crate::admin::limit_acts::{BlockBody, Blocked, Reopened, Reset, Taken, Unblocked, UnitsBody};
use crate::admin::limits::{Comparisons, Limits, Standing, WhomBody};
use crate::openapi::{Operation, Parameter, in_path, in_query, json, media, nothing, operation};

/// How an id may look.
struct AccountId;

impl JsonSchema for AccountId {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "AccountId".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[A-Za-z0-9_.:|-]{1,64}$" })
    }
}

/// How many accounts a page may have.
struct PageLength;

impl JsonSchema for PageLength {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PageLength".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 1, "maximum": portcullis_identity::MAX_PAGE, "default": 50 })
    }
}

/// How the name of a role may look.
struct RoleName;

impl JsonSchema for RoleName {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "RoleName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$" })
    }
}

const ID: Parameter = in_path::<AccountId>("id", "The account's id.");
const LIMIT: Parameter = in_path::<String>("name", "The limit's name.");
const NOT_DESCRIBED: (u16, &str) =
    (400, "It does not say what the limit counts by, or not in a form that is read here.");
const NO_LIMIT: (u16, &str) = (404, "There is no such limit, or no such account.");
const CANNOT: (u16, &str) = (501, "The store of the limits cannot do it.");
const UNREADABLE: (u16, &str) = (400, "The body is not what this endpoint reads.");
const BAD_MEDIA: (u16, &str) = (415, "The body is not JSON.");
const NOBODY: (u16, &str) = (404, "There is no such account.");
const RULES: (u16, &str) =
    (400, "Something breaks a rule; `details` names every one, or `detail` the roles there are.");

pub(super) const OPERATIONS: &[Operation] = &[
    operation("GET /api/accounts", "listAccounts", "The accounts, in pages")
        .with(&[
            in_query::<AccountId>("cursor", "The `next` of the page before."),
            in_query::<PageLength>("limit", "Accounts of the page at most."),
            in_query::<String>("email", "Only the one with this address."),
            in_query::<RoleName>("role", "Only those with this role."),
            in_query::<bool>("disabled", "Only those that are disabled, or only the others."),
        ])
        .answers(&[json::<Page>(200, "Some of them, in the order of their ids.")])
        .refuses(&[(400, "The query has members that are unknown, repeated or of the wrong kind.")]),
    operation("POST /api/accounts", "createAccount", "Make an account")
        .about("Its address counts as confirmed.")
        .json::<NewAccountBody>()
        .answers(&[json::<Shown>(201, "The account.").head(&[("Location", "Where it is.")])])
        .refuses(&[UNREADABLE, RULES, BAD_MEDIA, (409, "An account with this address exists already.")]),
    operation("GET /api/accounts/{id}", "account", "One account")
        .with(&[ID])
        .answers(&[json::<Details>(200, "The account.")])
        .refuses(&[NOBODY]),
    operation("PATCH /api/accounts/{id}", "changeAccount", "Change an account")
        .about("A change of its role, its plan or its being disabled ends its sessions, everywhere within a second.")
        .with(&[ID])
        .json::<PatchBody>()
        .answers(&[json::<Shown>(200, "The account as it is now.")])
        .refuses(&[UNREADABLE, RULES, BAD_MEDIA, NOBODY]),
    operation("DELETE /api/accounts/{id}", "deleteAccount", "Delete an account with its sessions")
        .with(&[ID])
        .answers(&[nothing(204, "It is gone.")])
        .refuses(&[NOBODY]),
    operation("POST /api/accounts/{id}/password", "setPassword", "Give an account another password")
        .about("Its sessions end.")
        .with(&[ID])
        .json::<NewPassword>()
        .answers(&[nothing(204, "It is set.")])
        .refuses(&[UNREADABLE, RULES, BAD_MEDIA, NOBODY]),
    operation("POST /api/accounts/{id}/revoke", "revokeSessions", "End every session of an account")
        .with(&[ID])
        .answers(&[nothing(204, "They have ended.")])
        .refuses(&[NOBODY]),
    operation("POST /api/accounts/{id}/unlock", "unlock", "Forget the failures that limits count against an account")
        .about(
            "On every instance within a second. It enables no disabled account, and limits by address go on counting.",
        )
        .with(&[ID])
        .answers(&[nothing(204, "They are forgotten.")])
        .refuses(&[NOBODY]),
    operation("GET /api/accounts/{id}/sessions", "sessions", "The sessions of an account")
        .with(&[ID])
        .answers(&[json::<Sessions>(200, "Those that have not ended.")])
        .refuses(&[NOBODY]),
    operation("POST /api/sessions/revoke", "revokeEverybody", "End every session of every account")
        .about("With all refresh tokens, access tokens and mailed links, everywhere within a second. API keys go on.")
        .json::<Everybody>()
        .answers(&[json::<Ended>(200, "They have ended.")])
        .refuses(&[(400, "The body does not say `{\"everybody\": true}`."), BAD_MEDIA]),
    operation("GET /api/limits", "limits", "The limits of the configuration")
        .answers(&[json::<Limits>(200, "The limits, in its order.")]),
    operation("GET /api/comparisons", "comparisons", "Limits beside those that may replace them")
        .about(
            "On this gate, since it started or a reload changed one of the two. A limit is compared with another while it only \
             reports and names it as what it `replaces`.",
        )
        .answers(&[json::<Comparisons>(200, "What they said of the same requests.")]),
    operation("GET /api/limits/{name}", "limitStanding", "How a limit stands towards somebody")
        .about(
            "Nothing is charged. Say what the limit counts by; for what a request may lack and is left out, `address` stands in if \
             it is said. Networks that a limit exempts are counted apart: without an address somebody elsewhere is meant.",
        )
        .with(&[
            LIMIT,
            in_query::<String>("address", "The client's address."),
            in_query::<String>("user", "An account's address or id; with `issuer`, the subject of its tokens."),
            in_query::<String>("issuer", "The name of another issuer in the configuration."),
            in_query::<String>("role", "Another role than the account's."),
            in_query::<String>("plan", "Another plan than the account's."),
            in_query::<String>("session", "The id of a session."),
            in_query::<String>("apiKey", "The id of an API key."),
            in_query::<String>("route", "The route's pattern as the configuration spells it."),
            in_query::<String>("header", "`NAME: VALUE` of a header by which the limit counts."),
            in_query::<Vec<String>>("claim", "`NAME=VALUE` of each claim by which the limit counts."),
        ])
        .answers(&[json::<Standing>(200, "How it stands.")])
        .refuses(&[NOT_DESCRIBED, NO_LIMIT]),
    operation("POST /api/limits/{name}/reset", "resetLimit", "Start a limit anew for somebody")
        .with(&[LIMIT])
        .json::<WhomBody>()
        .about("A block is lifted too. It is taken down in the audit trail.")
        .answers(&[json::<Reset>(200, "Nothing is counted against them any more.")])
        .refuses(&[NOT_DESCRIBED, BAD_MEDIA, NO_LIMIT]),
    operation("POST /api/limits/{name}/penalty", "penalizeLimit", "Take units of what somebody has left")
        .about("Never more than they have left. It is taken down in the audit trail.")
        .with(&[LIMIT])
        .json::<UnitsBody>()
        .answers(&[json::<Taken>(200, "So many were taken.")])
        .refuses(&[NOT_DESCRIBED, BAD_MEDIA, NO_LIMIT]),
    operation("POST /api/limits/{name}/reward", "rewardLimit", "Give somebody units back")
        .about("At most until nothing of the quota lacks. It is taken down in the audit trail.")
        .with(&[LIMIT])
        .json::<UnitsBody>()
        .answers(&[json::<Standing>(200, "How it stands now.")])
        .refuses(&[NOT_DESCRIBED, BAD_MEDIA, NO_LIMIT, CANNOT]),
    operation("POST /api/limits/{name}/block", "blockLimit", "Refuse somebody until a moment, whatever they have left")
        .about(
            "On every instance that shares the store, within a second. What was counted is forgotten: they begin anew when \
             it is over. It is taken down in the audit trail.",
        )
        .with(&[LIMIT])
        .json::<BlockBody>()
        .answers(&[json::<Blocked>(200, "They are blocked.")])
        .refuses(&[NOT_DESCRIBED, BAD_MEDIA, NO_LIMIT, CANNOT]),
    operation("POST /api/limits/{name}/unblock", "unblockLimit", "Lift a block")
        .about("What is counted against somebody who is not blocked stays. It is taken down in the audit trail.")
        .with(&[LIMIT])
        .json::<WhomBody>()
        .answers(&[json::<Unblocked>(200, "They are not blocked any more.")])
        .refuses(&[NOT_DESCRIBED, BAD_MEDIA, NO_LIMIT, CANNOT]),
    operation("POST /api/limit-store/reopen", "reopenLeases", "Say that the store of the limits has lost nothing")
        .about(
            "Leased limits that are closed because it may have open again, on every instance within a second. If it has lost \
             something all the same, they count that anew. It is taken down in the audit trail.",
        )
        .answers(&[json::<Reopened>(200, "Leases are open.")])
        .refuses(&[(409, "Nothing is leased from the store of the limits, or they count in memory.")]),
    operation("POST /api/export", "export", "Every account, as the JSON lines that \"users import\" reads")
        .about(
            "It is taken down in the audit trail. It comes as it is read and may take two minutes at most; a connection that \
             breaks before the last chunk has not brought all of them.",
        )
        .json::<Export>()
        .answers(&[media::<String>(200, "The accounts in the order of their ids, one a line.", JSON_LINES)])
        .refuses(&[UNREADABLE, BAD_MEDIA]),
    operation("GET /api/keys", "signingKeys", "The keys that sign tokens, and those that did")
        .answers(&[json::<Keys>(200, "The keys, without anything secret.")]),
    operation("POST /api/keys/rotate", "rotateKeys", "Sign with a new key from now on")
        .about("The old one verifies until its last token has ended.")
        .answers(&[json::<Rotated>(200, "The new key.")]),
];
