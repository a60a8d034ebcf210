//! What an operator does to what a limit has counted against somebody (L6): all of it forgotten, units taken or given back,
//! everything refused until a moment; and to the store that it is leased from, which is said to have lost nothing.
//!
//! Each is in the audit trail (W1) before it is done, and is not done where it cannot be written there. Where there are no
//! accounts there is no such trail; then the log has it, as it has all of them.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use portcullis::{InspectError, Mode, Whom};
use portcullis_core::{DurationError, HumanDuration};
use portcullis_identity::LimitAct;
use portcullis_limit::{BLOCK_AT_LEAST, BLOCK_AT_MOST};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::caller::{Caller, answered, invalid, origin};
use super::limits::{Name, Standing, WhomBody, name_of, shown_mode};
use super::{Admin, Shared};
use crate::identity_api::answer::{self, Refused};
use crate::identity_api::body;

/// Somebody, and a number of units.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct UnitsBody {
    /// Whom the limit counts.
    whom: WhomBody,
    /// How many units: at least 1.
    #[schemars(range(min = 1))]
    units: u64,
}

/// Somebody, and a time.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BlockBody {
    /// Whom the limit counts.
    whom: WhomBody,
    /// For how long, such as "1h" or "1h 30m": a second at least, 366 days at most.
    #[serde(rename = "for")]
    how_long: String,
}

/// Whether there was something to forget.
#[derive(JsonSchema, Serialize)]
pub(super) struct Reset {
    reset: bool,
}

/// How many units were taken, and what is left.
#[derive(JsonSchema, Serialize)]
pub(super) struct Taken {
    /// Fewer than were asked for where fewer were left.
    units: u64,
    standing: Standing,
}

/// Until when somebody is refused.
#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Blocked {
    /// Later than what was asked for where they are refused for longer already.
    #[schemars(extend("format" = "date-time"))]
    blocked_until: String,
    /// What the limit does with them until then: `enforce` refuses, `report` says that it would, `delay` slows down.
    mode: &'static str,
}

/// Whether there was a block to lift.
#[derive(JsonSchema, Serialize)]
pub(super) struct Unblocked {
    unblocked: bool,
}

/// Whether something stood closed.
#[derive(JsonSchema, Serialize)]
pub(super) struct Reopened {
    /// `false` where the store knows of no loss; then nothing was written there.
    reopened: bool,
}

/// `POST /api/limits/{name}/reset`.
pub(super) async fn reset(
    State(admin): Shared,
    caller: Caller,
    name: Name,
    headers: HeaderMap,
    bytes: Bytes,
) -> Response {
    answered(caller, async {
        let written: WhomBody = body::json(&headers, &bytes)?;
        let (limit, whom) = admin.begin(LimitAct::Reset, name, written, "", caller).await?;
        let reset = admin.gate()?.reset_limit(&limit, &whom).await?;
        Ok(answer::json(StatusCode::OK, &Reset { reset }))
    })
    .await
}

/// `POST /api/limits/{name}/penalty`.
pub(super) async fn penalty(
    State(admin): Shared,
    caller: Caller,
    name: Name,
    headers: HeaderMap,
    bytes: Bytes,
) -> Response {
    answered(caller, async {
        let UnitsBody { whom, units } = units_of(&headers, &bytes)?;
        let (limit, whom) = admin.begin(LimitAct::Penalty, name, whom, &format!("by {units}: "), caller).await?;
        let units = admin.gate()?.penalize_limit(&limit, &whom, units, admin.clock.now()).await?;
        let standing = admin.standing(limit, &whom).await?;
        Ok(answer::json(StatusCode::OK, &Taken { units, standing }))
    })
    .await
}

/// `POST /api/limits/{name}/reward`.
pub(super) async fn reward(
    State(admin): Shared,
    caller: Caller,
    name: Name,
    headers: HeaderMap,
    bytes: Bytes,
) -> Response {
    answered(caller, async {
        let UnitsBody { whom, units } = units_of(&headers, &bytes)?;
        let (limit, whom) = admin.begin(LimitAct::Reward, name, whom, &format!("by {units}: "), caller).await?;
        admin.gate()?.reward_limit(&limit, &whom, units, admin.clock.now()).await?;
        Ok(answer::json(StatusCode::OK, &admin.standing(limit, &whom).await?))
    })
    .await
}

/// `POST /api/limits/{name}/block`.
pub(super) async fn block(
    State(admin): Shared,
    caller: Caller,
    name: Name,
    headers: HeaderMap,
    bytes: Bytes,
) -> Response {
    answered(caller, async {
        let BlockBody { whom, how_long } = body::json(&headers, &bytes)?;
        let how_long: HumanDuration = how_long.parse().map_err(|error: DurationError| invalid(error.to_string()))?;
        if !(BLOCK_AT_LEAST..=BLOCK_AT_MOST).contains(&how_long.0) {
            return Err(InspectError::BlockLength.into());
        }
        let (limit, whom) = admin.begin(LimitAct::Block, name, whom, &format!("for {how_long}: "), caller).await?;
        let until = admin.gate()?.block_limit(&limit, &whom, how_long.0, admin.clock.now()).await;
        let until = until.map_err(|error| match error {
            InspectError::Store(_) => {
                let detail = format!("{error}; until it is back the block holds on this gate alone");
                Refused::from(error).with_detail(detail)
            }
            other => other.into(),
        })?;
        let blocked = Blocked { blocked_until: until.to_rfc3339(), mode: shown_mode(admin.limit_mode(&limit)?) };
        Ok(answer::json(StatusCode::OK, &blocked))
    })
    .await
}

/// `POST /api/limits/{name}/unblock`.
pub(super) async fn unblock(
    State(admin): Shared,
    caller: Caller,
    name: Name,
    headers: HeaderMap,
    bytes: Bytes,
) -> Response {
    answered(caller, async {
        let written: WhomBody = body::json(&headers, &bytes)?;
        let (limit, whom) = admin.begin(LimitAct::Unblock, name, written, "", caller).await?;
        let unblocked = admin.gate()?.unblock_limit(&limit, &whom, admin.clock.now()).await?;
        Ok(answer::json(StatusCode::OK, &Unblocked { unblocked }))
    })
    .await
}

/// `POST /api/limit-store/reopen`.
pub(super) async fn reopen(State(admin): Shared, caller: Caller) -> Response {
    answered(caller, async {
        let gate = admin.gate()?;
        gate.check_leases()?;
        admin.note(LimitAct::Reopen, None, "the store of the limits lost nothing", caller).await?;
        let reopened = gate.reopen_leases().await?;
        Ok(answer::json(StatusCode::OK, &Reopened { reopened }))
    })
    .await
}

fn units_of(headers: &HeaderMap, bytes: &[u8]) -> Result<UnitsBody, Refused> {
    let written: UnitsBody = body::json(headers, bytes)?;
    if written.units == 0 { Err(InspectError::NoUnits.into()) } else { Ok(written) }
}

impl Admin {
    /// What is to be done to whom, once it is clear that it can be, and written down.
    async fn begin(
        &self,
        act: LimitAct,
        name: Name,
        written: WhomBody,
        how: &str,
        caller: Caller,
    ) -> Result<(String, Whom), Refused> {
        let (gate, limit) = (self.gate()?, name_of(name)?);
        // How much comes first: whatever of the rest is cut off because it is long, this is not.
        let detail = format!("{how}{limit}: {}", described(&written));
        let is_account = written.user.is_some() && written.issuer.is_none();
        let whom = self.whom(written).await?;
        // What is not clear is no act, and not written down as one.
        match gate.limit_standing(&limit, &whom, self.clock.now()).await {
            Ok(None) if !matches!(act, LimitAct::Reset | LimitAct::Unblock) => return Err(InspectError::Exempt.into()),
            // While the store is away some of it can still be done on this gate.
            Ok(_) | Err(InspectError::Store(_)) => {}
            Err(error) => return Err(error.into()),
        }
        let account = whom.principal.as_ref().filter(|_| is_account).map(|principal| principal.subject());
        self.note(act, account, &detail, caller).await?;
        Ok((limit, whom))
    }

    /// Writes down what is about to be done.
    pub(super) async fn note(
        &self,
        act: LimitAct,
        account: Option<&str>,
        detail: &str,
        caller: Caller,
    ) -> Result<(), Refused> {
        if let Some(accounts) = &self.accounts {
            accounts.identity.note_limit_act(act, account, detail, origin(caller)).await?;
        }
        tracing::info!(act = act.as_str(), %detail, "an operator changes what limits go by");
        Ok(())
    }

    pub(super) async fn standing(&self, limit: String, whom: &Whom) -> Result<Standing, Refused> {
        let standing = self.gate()?.limit_standing(&limit, whom, self.clock.now()).await?;
        let mode = self.limit_mode(&limit)?;
        Ok(Standing::of(limit, standing, mode))
    }

    /// What becomes of whoever is over a limit.
    fn limit_mode(&self, limit: &str) -> Result<Mode, Refused> {
        let rules = self.gate()?.limits();
        Ok(rules.iter().find(|rule| *rule.name == *limit).map_or(Mode::Enforce, |rule| rule.mode))
    }
}

/// Whom an operator described, for the records: of a header only its name, as its value may be a secret. What they wrote is
/// escaped, as the log is lines of text, and a terminal obeys what it shows.
fn described(whom: &WhomBody) -> String {
    let header = whom.header.as_deref().and_then(|header| header.split_once(':'));
    let address = whom.address.map(|address| address.to_string());
    let parts = [
        ("address", address.as_deref()),
        ("user", whom.user.as_deref()),
        ("issuer", whom.issuer.as_deref()),
        ("role", whom.role.as_deref()),
        ("plan", whom.plan.as_deref()),
        ("session", whom.session.as_deref()),
        ("api key", whom.api_key.as_deref()),
        ("route", whom.route.as_deref()),
        ("header", header.map(|(name, _)| name.trim())),
    ];
    let said = parts.into_iter().filter_map(|(name, value)| Some(format!("{name} {}", value?.escape_debug())));
    let claims = whom.claim.iter().map(|claim| format!("claim {}", claim.escape_debug()));
    said.chain(claims).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn w1_whom_an_operator_described_is_written_down_without_a_headers_value() {
        let whom = WhomBody {
            address: Some(std::net::IpAddr::from([192, 0, 2, 1])),
            user: Some("ann@example.com".into()),
            header: Some("X-Api-Key: secret".into()),
            claim: vec!["tenant=acme".into(), "team=a=b".into()],
            ..WhomBody::default()
        };
        let told = "address 192.0.2.1, user ann@example.com, header X-Api-Key, claim tenant=acme, claim team=a=b";
        assert_eq!(described(&whom), told);
    }

    #[test]
    fn w1_nothing_that_an_operator_wrote_begins_a_line_of_its_own_or_speaks_to_a_terminal() {
        let whom = WhomBody {
            issuer: Some("https://ü.example\n2026-01-01T00:00:00Z  INFO all is well".into()),
            session: Some("\u{1b}[2J\u{202e}\r".into()),
            ..WhomBody::default()
        };
        let said = described(&whom);
        assert_eq!(
            said,
            "issuer https://ü.example\\n2026-01-01T00:00:00Z  INFO all is well, session \\u{1b}[2J\\u{202e}\\r"
        );
    }
}
