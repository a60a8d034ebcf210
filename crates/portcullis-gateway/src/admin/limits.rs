//! Limits for an operator: what there is, and how one stands towards somebody (L6). What may be done to one is in
//! `limit_acts`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use portcullis::{Comparison, Cost, Count, Gate, InspectError, LimitRule, Mode, QuotaChoice, Scope, Whom};
use portcullis_core::{Principal, PrincipalParts, Scheme, Timestamp};
use portcullis_identity::{AccountName, IdentityError};
use portcullis_limit::{Rate, StoreError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Map;

use super::caller::{Caller, answered, invalid};
use super::{Admin, Shared};
use crate::identity_api::answer::{self, Refused};

/// Every limit of the configuration.
#[derive(JsonSchema, Serialize)]
pub(super) struct Limits {
    /// In its order.
    limits: Vec<Limit>,
}

/// One limit.
#[derive(JsonSchema, Serialize)]
struct Limit {
    name: String,
    /// The requests it counts.
    #[serde(rename = "match")]
    patterns: Vec<String>,
    /// What it counts by.
    key: Vec<String>,
    algorithm: String,
    /// How much is allowed: `quota` for everybody, or one for each plan and `otherwise`, or for each class of
    /// addresses.
    quota: BTreeMap<String, String>,
    /// Where it counts: `memory`, which is this gate's, or `shared`, which all gates share that have this store.
    store: &'static str,
    /// `enforce`, `report` or `delay`.
    mode: &'static str,
    /// The limit that it is compared with because it may replace it (`GET /api/comparisons`).
    replaces: Option<String>,
    /// Which requests stay counted once they are answered: a word, or status codes such as `401, 403, 500-599`.
    count: String,
    /// Whom it counts.
    scope: &'static str,
    /// What it does while the shared store is away.
    outage: &'static str,
    /// What a request costs: `cost` for each, or one for each pattern and `otherwise`, or the most that a header of the answer
    /// can say and `otherwise`.
    cost: BTreeMap<String, u64>,
    /// Roles that are held to `ceiling` instead.
    exempt: Vec<String>,
    /// Networks that are held to `ceiling` instead.
    #[serde(rename = "exemptAddresses")]
    exempt_addresses: Vec<String>,
    ceiling: Option<String>,
    /// Whether gates take portions of the quota from the shared store and decide by themselves.
    lease: bool,
}

impl Limit {
    fn of(rule: &LimitRule, store: &'static str) -> Self {
        let shown = |rate: &Rate| rate.quota().to_string();
        let (quota, rate) = match &rule.quota {
            QuotaChoice::Fixed(rate) => (BTreeMap::from([("quota".to_owned(), shown(rate))]), *rate),
            QuotaChoice::ByPlan { plans, otherwise } => {
                let mut quota: BTreeMap<String, String> =
                    plans.iter().map(|(plan, rate)| (plan.to_string(), shown(rate))).collect();
                quota.insert("otherwise".to_owned(), shown(otherwise));
                (quota, *otherwise)
            }
            QuotaChoice::ByReputation(rates) => {
                let named = rates.named().map(|(class, rate)| (class.to_owned(), shown(rate)));
                (BTreeMap::from(named), rates.good)
            }
        };
        Self {
            name: rule.name.to_string(),
            patterns: rule.patterns.iter().map(|pattern| pattern.as_str().to_owned()).collect(),
            key: rule.key.iter().map(ToString::to_string).collect(),
            algorithm: rate.algorithm().to_string(),
            quota,
            store,
            replaces: rule.replaces.as_ref().map(ToString::to_string),
            mode: shown_mode(rule.mode),
            count: shown_count(rule.count),
            scope: match rule.scope {
                Scope::Everyone => "everyone",
                Scope::Anonymous => "anonymous",
                Scope::Verification => "verification",
            },
            outage: rule.outage.as_str(),
            cost: shown_cost(&rule.cost),
            exempt: rule.exempt.iter().map(ToString::to_string).collect(),
            exempt_addresses: rule.exempt_addresses.iter().map(ToString::to_string).collect(),
            ceiling: rule.ceiling.as_ref().map(shown),
            lease: rule.lease,
        }
    }
}

/// Every pair of limits that are compared.
#[derive(JsonSchema, Serialize)]
pub(super) struct Comparisons {
    /// In the order of the configuration.
    comparisons: Vec<Compared>,
}

/// What a limit did and what the one that may replace it would have done, on this gate. A limit that does not count a request
/// admits it.
#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
struct Compared {
    limit: String,
    candidate: String,
    /// Requests that were seen; the four numbers after it add up to it.
    requests: u64,
    both_admit: u64,
    both_refuse: u64,
    /// Requests that would pass if the candidate took over.
    only_limit_refuses: u64,
    /// Requests that would be refused if the candidate took over.
    only_candidate_refuses: u64,
    /// Requests beyond these that the limit refused and the candidate was not asked about: more came than a shared store is
    /// asked about (1,000 a second), or it did not answer in time.
    not_compared: u64,
    /// When the first of them came: since the start, or since a reload changed one of the two.
    #[schemars(extend("format" = "date-time"))]
    since: Option<String>,
}

impl From<Comparison> for Compared {
    fn from(pair: Comparison) -> Self {
        let Comparison { both_admit, both_refuse, only_limit_refuses, only_candidate_refuses, not_compared, .. } = pair;
        Self {
            limit: pair.limit.to_string(),
            candidate: pair.candidate.to_string(),
            requests: both_admit + both_refuse + only_limit_refuses + only_candidate_refuses,
            both_admit,
            both_refuse,
            only_limit_refuses,
            only_candidate_refuses,
            not_compared,
            since: pair.since.map(Timestamp::to_rfc3339),
        }
    }
}

/// As a configuration spells it.
pub(super) const fn shown_mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Enforce => "enforce",
        Mode::Report => "report",
        Mode::Delay(_) => "delay",
    }
}

fn shown_count(count: Count) -> String {
    match count {
        Count::All => "all".to_owned(),
        Count::Failures => "failures".to_owned(),
        Count::Denials => "denials".to_owned(),
        Count::Successes => "successes".to_owned(),
        Count::Statuses(listed) => listed.to_string(),
    }
}

fn shown_cost(cost: &Cost) -> BTreeMap<String, u64> {
    match cost {
        Cost::Fixed(cost) => BTreeMap::from([("cost".to_owned(), *cost)]),
        Cost::ByRequest { requests, otherwise } => {
            let requests = requests.iter().map(|(pattern, cost)| (pattern.as_str().to_owned(), *cost));
            requests.chain([("otherwise".to_owned(), *otherwise)]).collect()
        }
        Cost::Told { header, at_most, otherwise } => {
            BTreeMap::from([(format!("header:{header}"), *at_most), ("otherwise".to_owned(), *otherwise)])
        }
    }
}

/// Whom a limit counts, by what their requests would say.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[schemars(rename = "Whom")]
pub struct WhomBody {
    /// The client's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// The user: an account's address or id; with `issuer`, the subject of that issuer's tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The name of another issuer in the configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// Another role than the account's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Another plan than the account's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// The id of a session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The id of an API key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key: Option<String>,
    /// The route's pattern as the configuration spells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// `NAME: VALUE` of a header by which the limit counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// `NAME=VALUE` of each claim by which the limit counts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub claim: Vec<String>,
}

impl WhomBody {
    /// From a query, where only `claim` may be written more than once; `None` if it says anything else.
    fn of_query(pairs: Vec<(String, String)>) -> Option<Self> {
        let mut members = Map::new();
        let mut claims = Vec::new();
        for (name, value) in pairs {
            if name == "claim" {
                claims.push(value);
            } else if members.insert(name, value.into()).is_some() {
                return None;
            }
        }
        let rest: Self = serde_json::from_value(members.into()).ok()?;
        Some(Self { claim: claims, ..rest })
    }

    /// The claims by their names.
    fn claims(&self) -> Result<BTreeMap<Box<str>, Box<str>>, Refused> {
        let mut claims = BTreeMap::new();
        for text in &self.claim {
            let (name, value) = text
                .split_once('=')
                .filter(|(name, _)| !name.is_empty())
                .ok_or_else(|| invalid("`claim` is written NAME=VALUE"))?;
            if claims.insert(name.into(), value.into()).is_some() {
                return Err(invalid(format!("the claim {name:?} is written twice")));
            }
        }
        Ok(claims)
    }
}

/// How a limit stands towards somebody.
#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Standing {
    limit: String,
    /// Whether it does not hold for them at all; then the rest is 0.
    exempt: bool,
    quota: u64,
    remaining: u64,
    /// When the whole quota is back, if nothing else is spent.
    #[schemars(extend("format" = "date-time"))]
    reset_at: Option<String>,
    /// Until when they have nothing left whatever they spent, because an operator blocked them.
    #[schemars(extend("format" = "date-time"))]
    blocked_until: Option<String>,
    /// What becomes of whoever has nothing left: `enforce`, `report` or `delay`.
    mode: &'static str,
    /// What was taken for granted because it was not told: "an address that is not exempt" where the limit exempts some.
    assumed: Option<&'static str>,
}

impl Standing {
    /// `None` is that of somebody who is exempt.
    pub(super) fn of(limit: String, standing: Option<portcullis_limit::Standing>, mode: Mode) -> Self {
        let (exempt, mode) = (standing.is_none(), shown_mode(mode));
        let (quota, remaining) = standing.as_ref().map_or((0, 0), |standing| (standing.quota, standing.remaining));
        let reset_at = standing.as_ref().map(|standing| standing.reset_at.to_rfc3339());
        let blocked_until = reset_at.clone().filter(|_| standing.is_some_and(|standing| standing.blocked));
        Self { limit, exempt, quota, remaining, reset_at, blocked_until, mode, assumed: None }
    }
}

pub(super) type Name = Result<Path<String>, PathRejection>;

impl From<InspectError> for Refused {
    fn from(error: InspectError) -> Self {
        let detail = error.to_string();
        match error {
            InspectError::NoSuchLimit(_) => Self::new(StatusCode::NOT_FOUND, "Not found", "not_found"),
            InspectError::Needs(_) | InspectError::Exempt | InspectError::NoUnits | InspectError::BlockLength => {
                return invalid(detail);
            }
            InspectError::NoSharedStore | InspectError::NothingLeased => {
                Self::new(StatusCode::CONFLICT, "Conflict", "conflict")
            }
            InspectError::Store(StoreError::Unsupported { .. }) => {
                Self::new(StatusCode::NOT_IMPLEMENTED, "Not supported", "not_supported")
            }
            InspectError::Store(_) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "Service unavailable", "limits_unavailable")
            }
        }
        .with_detail(detail)
    }
}

impl Admin {
    pub(super) fn gate(&self) -> Result<&Arc<Gate>, Refused> {
        self.gate.as_ref().ok_or_else(|| Refused::new(StatusCode::NOT_FOUND, "Not found", "not_found"))
    }

    /// What is meant, with the role and the plan of the account where it is one of ours.
    pub(super) async fn whom(&self, written: WhomBody) -> Result<Whom, Refused> {
        let mut headers = HeaderMap::new();
        if let Some(text) = &written.header {
            let (name, value) = text.split_once(':').ok_or_else(|| invalid("`header` is written NAME: VALUE"))?;
            let name: HeaderName = name.trim().parse().map_err(|_| invalid("`header` has no name of a header"))?;
            let value =
                HeaderValue::from_str(value.trim()).map_err(|_| invalid("`header` has no value of a header"))?;
            headers.insert(name, value);
        }
        let principal = self.principal(&written).await?.map(Arc::new);
        Ok(Whom { address: written.address, principal, headers, route: written.route.map(Into::into) })
    }

    async fn principal(&self, written: &WhomBody) -> Result<Option<Principal>, Refused> {
        let named = [&written.user, &written.role, &written.plan, &written.session, &written.api_key];
        if named.iter().all(|part| part.is_none()) && written.claim.is_empty() {
            return Ok(None);
        }
        let (mut role, mut plan) = (written.role.clone(), written.plan.clone());
        let subject = match (&written.user, &written.issuer) {
            (Some(user), None) => {
                let name = if user.contains('@') { AccountName::Email(user) } else { AccountName::Id(user) };
                let details = self.accounts()?.identity.account_details(name).await.map_err(|error| match error {
                    IdentityError::NoAccount => Refused::new(StatusCode::NOT_FOUND, "Not found", "not_found")
                        .with_detail("there is no such account"),
                    other => other.into(),
                })?;
                let account = details.account;
                role.get_or_insert(account.role);
                plan.get_or_insert(account.plan);
                account.id
            }
            (Some(subject), Some(_)) => subject.clone(),
            // A limit by plan, by role or by a claim counts whoever has it.
            (None, _) => "anybody".to_owned(),
        };
        let parts = PrincipalParts {
            subject: subject.into(),
            issuer: written.issuer.as_deref().map(Into::into),
            roles: role.iter().map(|role| role.as_str().into()).collect(),
            permissions: Vec::new(),
            scopes: None,
            plan: plan.map(Into::into),
            session: written.session.as_deref().map(Into::into),
            token_id: written.api_key.as_deref().map(Into::into),
            version: 0,
            expires: Timestamp::MAX,
            scheme: if written.api_key.is_some() { Scheme::ApiKey } else { Scheme::Bearer },
            claims: written.claims()?,
        };
        Principal::new(parts).map(Some).map_err(|error| invalid(error.to_string()))
    }
}

pub(super) fn name_of(path: Name) -> Result<String, Refused> {
    path.map(|Path(name)| name).map_err(|_| InspectError::NoSuchLimit(Box::default()).into())
}

/// `GET /api/limits`.
pub(super) async fn list(State(admin): Shared, caller: Caller) -> Response {
    answered(caller, async {
        let gate = admin.gate()?;
        let store = if gate.limits_are_shared() { "shared" } else { "memory" };
        let limits = gate.limits().iter().map(|rule| Limit::of(rule, store)).collect();
        Ok(answer::json(StatusCode::OK, &Limits { limits }))
    })
    .await
}

/// `GET /api/comparisons`.
pub(super) async fn compare(State(admin): Shared, caller: Caller) -> Response {
    answered(caller, async {
        let comparisons = admin.gate()?.comparisons().into_iter().map(Compared::from).collect();
        Ok(answer::json(StatusCode::OK, &Comparisons { comparisons }))
    })
    .await
}

/// `GET /api/limits/{name}`.
pub(super) async fn show(
    State(admin): Shared,
    caller: Caller,
    name: Name,
    asked: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Response {
    answered(caller, async {
        let written = asked.ok().and_then(|Query(pairs)| WhomBody::of_query(pairs)).ok_or_else(|| {
            invalid(
                "the query may have `address`, `user`, `issuer`, `role`, `plan`, `session`, `apiKey`, `route` and \
                 `header`, once each, and `claim`",
            )
        })?;
        let (gate, limit) = (admin.gate()?, name_of(name)?);
        let exempts = |rule: &LimitRule| *rule.name == *limit && !rule.exempt_addresses.is_empty();
        let elsewhere = written.address.is_none() && gate.limits().iter().any(exempts);
        let standing = admin.standing(limit, &admin.whom(written).await?).await?;
        let assumed = elsewhere.then_some("an address that is not exempt");
        Ok(answer::json(StatusCode::OK, &Standing { assumed, ..standing }))
    })
    .await
}
