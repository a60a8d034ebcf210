//! Accounts as an operator manages them (A11). What ends sessions here is seen by every instance within a second.

use axum::body::Bytes;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use portcullis_core::Secret;
use portcullis_identity::{Account, AccountFilter, AccountName, AccountPatch, IdentityError, MAX_PAGE, NewAccount};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use super::caller::{Caller, answered, invalid, origin};
use super::{Accounts, Shared};
use crate::identity_api::answer::{self, Refused};
use crate::identity_api::body;
use crate::identity_api::sessions::SessionShown;

/// Accounts of a page where nobody says how many.
const PAGE: u16 = 50;

/// An account as an operator sees it.
#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Account")]
pub(super) struct Shown {
    id: String,
    email: String,
    name: Option<String>,
    role: String,
    plan: String,
    /// Since when it is disabled; `null` where it is not.
    #[schemars(extend("format" = "date-time"))]
    disabled_at: Option<String>,
    #[schemars(extend("format" = "date-time"))]
    created_at: String,
}

impl From<Account> for Shown {
    fn from(account: Account) -> Self {
        Self {
            id: account.id,
            email: account.email,
            name: account.name,
            role: account.role,
            plan: account.plan,
            disabled_at: account.disabled_at.map(|at| at.to_rfc3339()),
            created_at: account.created_at.to_rfc3339(),
        }
    }
}

/// An account with what belongs to it.
#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "AccountDetails")]
pub(super) struct Details {
    #[serde(flatten)]
    account: Shown,
    /// Sessions that have not ended.
    sessions: i64,
    /// What hashed its password; `none` where it has none.
    password_hash: &'static str,
}

/// Some of the accounts, in the order of their ids.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "AccountPage")]
pub(super) struct Page {
    accounts: Vec<Shown>,
    /// The `cursor` of the next page; `null` on the last.
    next: Option<String>,
}

/// What is asked for. Its schema stands in the list of parameters.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Listing {
    cursor: Option<String>,
    limit: Option<u16>,
    email: Option<String>,
    role: Option<String>,
    disabled: Option<bool>,
}

type Id = Result<Path<String>, PathRejection>;

/// The id of a path. What cannot be one is nobody's.
fn id_of(path: Id) -> Result<String, Refused> {
    path.map(|Path(id)| id).map_err(|_| IdentityError::NoAccount.into())
}

impl Accounts {
    /// Refuses a role that nobody could do anything with.
    fn check_role(&self, role: &str) -> Result<(), Refused> {
        let roles = (self.roles)();
        if roles.iter().any(|known| known == role) {
            return Ok(());
        }
        Err(invalid(format!("there is no such role; the roles are {}", roles.join(", "))))
    }
}

/// `GET /api/accounts`.
pub(super) async fn list(
    State(admin): Shared,
    caller: Caller,
    asked: Result<Query<Listing>, QueryRejection>,
) -> Response {
    answered(caller, async {
        let Query(Listing { cursor, limit, email, role, disabled }) = asked.map_err(|_| {
            invalid("the query may have `cursor`, `limit` (1 to 200), `email`, `role` and `disabled` (true, false), once each")
        })?;
        let limit = limit.unwrap_or(PAGE);
        if !(1..=MAX_PAGE).contains(&limit) {
            return Err(invalid("`limit` is a number from 1 to 200"));
        }
        let filter = AccountFilter { email, role, disabled };
        let page = admin.accounts()?.identity.accounts_page(&filter, cursor.as_deref(), limit).await?;
        let accounts = page.accounts.into_iter().map(Shown::from).collect();
        Ok(answer::json(StatusCode::OK, &Page { accounts, next: page.next }))
    })
    .await
}

/// An account to make; its address counts as confirmed.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewAccountBody {
    #[schemars(extend("format" = "email", "examples" = ["ann@example.com"]))]
    email: String,
    /// The policy holds for operators too.
    #[schemars(extend("format" = "password", "examples" = ["Correct-horse-7-staple"]))]
    password: String,
    name: Option<String>,
    /// Default: the one that a registration gives.
    role: Option<String>,
    /// Default: the one that a registration gives.
    plan: Option<String>,
}

/// `POST /api/accounts`.
pub(super) async fn create(State(admin): Shared, caller: Caller, headers: HeaderMap, bytes: Bytes) -> Response {
    answered(caller, async {
        let accounts = admin.accounts()?;
        let NewAccountBody { email, password, name, role, plan } = body::json(&headers, &bytes)?;
        let role = role.unwrap_or_else(|| accounts.identity.config().default_role.to_string());
        accounts.check_role(&role)?;
        let new = NewAccount { email, password: Secret::new(password), name, role, plan };
        let made = accounts.identity.create_account(new, origin(caller)).await.map_err(|error| match error {
            IdentityError::Exists => Refused::from(error).with_detail("an account with this address exists already"),
            other => other.into(),
        })?;
        let place = HeaderValue::try_from(format!("/api/accounts/{}", made.id));
        let mut response = answer::json(StatusCode::CREATED, &Shown::from(made));
        if let Ok(place) = place {
            response.headers_mut().insert(LOCATION, place);
        }
        Ok(response)
    })
    .await
}

/// `GET /api/accounts/{id}`.
pub(super) async fn show(State(admin): Shared, caller: Caller, id: Id) -> Response {
    answered(caller, async {
        let details = admin.accounts()?.identity.account_details(AccountName::Id(&id_of(id)?)).await?;
        let (sessions, password_hash) = (details.sessions, details.hash);
        Ok(answer::json(StatusCode::OK, &Details { account: details.account.into(), sessions, password_hash }))
    })
    .await
}

/// What is to change; what is absent stays as it is.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "AccountPatch")]
pub(super) struct PatchBody {
    role: Option<String>,
    plan: Option<String>,
    /// `null` takes it away.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "Option<String>")]
    name: Option<Option<String>>,
    disabled: Option<bool>,
}

/// A member that is there, be it `null`.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// `PATCH /api/accounts/{id}`.
pub(super) async fn change(State(admin): Shared, caller: Caller, id: Id, headers: HeaderMap, bytes: Bytes) -> Response {
    answered(caller, async {
        let accounts = admin.accounts()?;
        let PatchBody { role, plan, name, disabled } = body::json(&headers, &bytes)?;
        if let Some(role) = &role {
            accounts.check_role(role)?;
        }
        let patch = AccountPatch { role, plan, name, disabled };
        let account = accounts.identity.patch_account(&id_of(id)?, &patch, origin(caller)).await?;
        Ok(answer::json(StatusCode::OK, &Shown::from(account)))
    })
    .await
}

/// A new password for somebody.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewPassword {
    /// The policy holds for operators too.
    #[schemars(extend("format" = "password", "examples" = ["Correct-horse-7-staple"]))]
    password: String,
}

/// `POST /api/accounts/{id}/password`.
pub(super) async fn set_password(
    State(admin): Shared,
    caller: Caller,
    id: Id,
    headers: HeaderMap,
    bytes: Bytes,
) -> Response {
    answered(caller, async {
        let accounts = admin.accounts()?;
        let NewPassword { password } = body::json(&headers, &bytes)?;
        accounts.identity.set_password_of(&id_of(id)?, &Secret::new(password), origin(caller)).await?;
        Ok(StatusCode::NO_CONTENT.into_response())
    })
    .await
}

/// `POST /api/accounts/{id}/revoke`.
pub(super) async fn revoke(State(admin): Shared, caller: Caller, id: Id) -> Response {
    answered(caller, async {
        admin.accounts()?.identity.revoke_account(&id_of(id)?, origin(caller)).await?;
        Ok(StatusCode::NO_CONTENT.into_response())
    })
    .await
}

/// `POST /api/accounts/{id}/unlock`.
pub(super) async fn unlock(State(admin): Shared, caller: Caller, id: Id) -> Response {
    answered(caller, async {
        admin.accounts()?.identity.unlock(AccountName::Id(&id_of(id)?), origin(caller)).await?;
        Ok(StatusCode::NO_CONTENT.into_response())
    })
    .await
}

/// Everybody, in so many words: what ends all sessions is not to be sent by mistake.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Everybody {
    /// Must be `true`.
    #[schemars(extend("const" = true))]
    everybody: bool,
}

/// How many sessions have ended.
#[derive(JsonSchema, Serialize)]
pub(super) struct Ended {
    ended: u64,
}

/// `POST /api/sessions/revoke`.
pub(super) async fn revoke_everybody(
    State(admin): Shared,
    caller: Caller,
    headers: HeaderMap,
    bytes: Bytes,
) -> Response {
    answered(caller, async {
        let accounts = admin.accounts()?;
        let Everybody { everybody } = body::json(&headers, &bytes)?;
        if !everybody {
            return Err(invalid("this ends every session of every account: say {\"everybody\": true}"));
        }
        let ended = accounts.identity.revoke_everybody(origin(caller)).await?;
        Ok(answer::json(StatusCode::OK, &Ended { ended }))
    })
    .await
}

/// `DELETE /api/accounts/{id}`.
pub(super) async fn remove(State(admin): Shared, caller: Caller, id: Id) -> Response {
    answered(caller, async {
        admin.accounts()?.identity.delete_account(&id_of(id)?, origin(caller)).await?;
        Ok(StatusCode::NO_CONTENT.into_response())
    })
    .await
}

/// Sessions that have not ended.
#[derive(JsonSchema, Serialize)]
pub(super) struct Sessions {
    /// The newest first, at most 200.
    sessions: Vec<SessionShown>,
}

/// `GET /api/accounts/{id}/sessions`.
pub(super) async fn sessions(State(admin): Shared, caller: Caller, id: Id) -> Response {
    answered(caller, async {
        let identity = &admin.accounts()?.identity;
        let account = identity.account(&id_of(id)?).await?;
        let sessions = identity.sessions(&account.id).await?.into_iter().map(SessionShown::from).collect();
        Ok(answer::json(StatusCode::OK, &Sessions { sessions }))
    })
    .await
}
