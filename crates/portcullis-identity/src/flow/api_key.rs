//! API keys (T9): long-lived credentials of programs, which act for the account that made them and for no more than their
//! scopes.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use portcullis_auth::access::is_scope;
use portcullis_auth::api_key;
use portcullis_core::ports::Found;
use portcullis_core::{Principal, PrincipalParts, Scheme, Secret, Timestamp};
use uuid::Uuid;

use crate::error::IdentityError;
use crate::last_use::Used;
use crate::policy::{self, Violation};
use crate::revocation::{self, Revoked};
use crate::service::Identity;
use crate::store::audit::{self, Origin};
use crate::store::{Write, locking, millis, moment, sql};

/// Scopes of one key.
const MAX_SCOPES: usize = 50;
/// The longest life that can be asked for; longer is no end at all.
const MAX_LIFE: Duration = Duration::from_secs(10 * 366 * 86_400);
/// The shortest overlap of a rotation that is one: verifiers believe for a minute what they have heard of a key.
const MIN_OVERLAP: Duration = Duration::from_secs(60);
/// The longest: who needs longer has two keys.
const MAX_OVERLAP: Duration = Duration::from_secs(30 * 86_400);

/// A key that somebody asks for.
#[derive(Clone, Debug, Default)]
pub struct NewApiKey {
    /// What its owner calls it, 2 to 100 characters.
    pub name: String,
    /// What it is restricted to; `None` for all that its owner may do.
    pub scopes: Option<Vec<String>>,
    /// Another plan than its owner's. Nobody may choose it but an operator.
    pub plan: Option<String>,
    /// How long it lives; `None` for ever.
    pub expires_in: Option<Duration>,
}

/// A key as its owner sees it in a list.
#[derive(Clone, Debug)]
pub struct ApiKeyInfo {
    /// Its id.
    pub id: String,
    /// What its owner calls it.
    pub name: String,
    /// Its first characters.
    pub start: String,
    /// What it is restricted to.
    pub scopes: Option<Vec<String>>,
    /// Its own plan.
    pub plan: Option<String>,
    /// Since when it exists.
    pub created_at: Timestamp,
    /// Until when it is good.
    pub expires_at: Option<Timestamp>,
    /// When it was last used, to within two minutes.
    pub last_used_at: Option<Timestamp>,
}

/// A key that was just made: the only time that its text is known.
#[derive(Debug)]
pub struct MadeApiKey {
    /// The key itself.
    pub key: Secret<String>,
    /// What the list says of it from now on.
    pub info: ApiKeyInfo,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    name: String,
    start: String,
    scopes: Option<String>,
    plan: Option<String>,
    created_at: i64,
    life: Option<i64>,
    expires_at: Option<i64>,
    last_used_at: Option<i64>,
}

#[derive(sqlx::FromRow)]
struct Holding {
    id: String,
    scopes: Option<String>,
    plan: Option<String>,
    expires_at: Option<i64>,
    revoked_at: Option<i64>,
    account_id: String,
    role: String,
    account_plan: String,
    version: i64,
    disabled_at: Option<i64>,
}

impl Identity {
    /// Makes a key for an account.
    ///
    /// # Errors
    /// [`IdentityError::Invalid`] with every broken rule, [`IdentityError::TooManyApiKeys`], [`IdentityError::NoAccount`],
    /// [`IdentityError::Disabled`].
    pub async fn create_api_key(
        &self,
        account: &str,
        new: NewApiKey,
        origin: Origin,
    ) -> Result<MadeApiKey, IdentityError> {
        let name = check(&new)?;
        let now = self.now();
        let row = Row {
            id: Uuid::now_v7().to_string(),
            name,
            start: String::new(),
            scopes: new.scopes.map(|scopes| scopes.join(" ")),
            plan: new.plan,
            created_at: millis(now),
            life: new.expires_in.map(|life| i64::try_from(life.as_millis()).unwrap_or(i64::MAX)),
            expires_at: new.expires_in.map(|life| millis(now.after(life))),
            last_used_at: None,
        };
        let mut transaction = self.store.write().await?;
        hold_account(&mut transaction, account).await?;
        let made = self.insert(&mut transaction, account, row, now).await?;
        audit::write(&mut transaction, now, "api_key_created", Some(account), origin, Some(&made.info.id)).await?;
        transaction.commit().await?;
        Ok(made)
    }

    /// The living keys of an account, the newest first.
    ///
    /// # Errors
    /// [`IdentityError::Database`].
    pub async fn api_keys(&self, account: &str) -> Result<Vec<ApiKeyInfo>, IdentityError> {
        let rows: Vec<Row> = sql("SELECT id, name, start, scopes, plan, created_at, life, expires_at, last_used_at \
             FROM api_key WHERE account_id = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2) \
             ORDER BY created_at DESC, id DESC")
        .bind(account)
        .bind(millis(self.now()))
        .fetch_all(self.store.read())
        .await?;
        let mut keys: Vec<ApiKeyInfo> = rows.into_iter().map(info).collect();
        for key in &mut keys {
            key.last_used_at = key.last_used_at.max(self.last_uses.of(Used::Key, &key.id));
        }
        Ok(keys)
    }

    /// Makes a successor of a key, with its name, scopes, plan and length of life. The old one goes on for `overlap`, so
    /// that programs can be changed one after the other; zero ends it at once.
    ///
    /// A key that an operator gave a plan of its own ends when it was to end, however often its owner rotates it.
    ///
    /// # Errors
    /// [`IdentityError::NoApiKey`] for one that the account does not have or that has ended, [`IdentityError::Invalid`] for
    /// an overlap that is none.
    pub async fn rotate_api_key(
        &self,
        account: &str,
        id: &str,
        overlap: Duration,
        origin: Origin,
    ) -> Result<MadeApiKey, IdentityError> {
        if !overlap.is_zero() && !(MIN_OVERLAP..=MAX_OVERLAP).contains(&overlap) {
            return Err(broken("overlap", "Must be 0, or 60 to 2592000 seconds"));
        }
        is_id(id)?;
        let now = self.now();
        let mut transaction = self.store.write().await?;
        let old: Option<Row> = sql(locking!(
            "SELECT id, name, start, scopes, plan, created_at, life, expires_at, last_used_at FROM api_key \
             WHERE id = $1 AND account_id = $2 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $3)",
            "FOR UPDATE"
        ))
        .bind(id)
        .bind(account)
        .bind(millis(now))
        .fetch_optional(&mut transaction)
        .await?;
        let old = old.ok_or(IdentityError::NoApiKey)?;
        hold_account(&mut transaction, account).await?;
        let end = now.after(overlap);
        let shortened = old.expires_at.is_none_or(|expires| expires > millis(end));
        if overlap.is_zero() {
            mark_ended(&mut transaction, id, now).await?;
        } else if shortened {
            sql("UPDATE api_key SET expires_at = $1 WHERE id = $2")
                .bind(millis(end))
                .bind(id)
                .execute(&mut transaction)
                .await?;
        }
        // What it was given, and not what a rotation before this one has left of it.
        let by_operator = origin.client.is_none() || origin.operator;
        let life = match old.life {
            Some(life) if old.plan.is_some() && !by_operator => Some((old.created_at + life - millis(now)).max(1)),
            life => life,
        };
        let row = Row {
            id: Uuid::now_v7().to_string(),
            start: String::new(),
            created_at: millis(now),
            life,
            expires_at: life.map(|life| millis(now) + life),
            last_used_at: None,
            ..old
        };
        let made = self.insert(&mut transaction, account, row, now).await?;
        let (revoked, until) = match overlap.is_zero() {
            true => (Revoked::Token(id), self.token_end(now)),
            // What was opened with the key ends with it, though the key was to live longer when that was opened.
            false => (Revoked::From(id, end), self.token_end(end)),
        };
        if overlap.is_zero() || shortened {
            revocation::write(&mut transaction, revoked, until).await?;
        }
        audit::write(&mut transaction, now, "api_key_rotated", Some(account), origin, Some(&made.info.id)).await?;
        transaction.commit().await?;
        self.see_revocations().await?;
        Ok(made)
    }

    /// Ends a key, everywhere within a second.
    ///
    /// # Errors
    /// [`IdentityError::NoApiKey`] for one that the account does not have or that was revoked.
    pub async fn revoke_api_key(&self, account: &str, id: &str, origin: Origin) -> Result<(), IdentityError> {
        is_id(id)?;
        let now = self.now();
        let mut transaction = self.store.write().await?;
        let found: Option<(String,)> = sql(locking!(
            "SELECT id FROM api_key WHERE id = $1 AND account_id = $2 AND revoked_at IS NULL",
            "FOR UPDATE"
        ))
        .bind(id)
        .bind(account)
        .fetch_optional(&mut transaction)
        .await?;
        found.ok_or(IdentityError::NoApiKey)?;
        mark_ended(&mut transaction, id, now).await?;
        revocation::write(&mut transaction, Revoked::Token(id), self.token_end(now)).await?;
        audit::write(&mut transaction, now, "api_key_revoked", Some(account), origin, Some(id)).await?;
        transaction.commit().await?;
        self.see_revocations().await
    }

    /// Whose key has this SHA-256.
    ///
    /// # Errors
    /// [`IdentityError::Database`].
    pub async fn find_api_key(&self, hash: &[u8; 32]) -> Result<Found, IdentityError> {
        let found: Option<Holding> = sql("SELECT k.id, k.scopes, k.plan, k.expires_at, k.revoked_at, k.account_id, \
             a.role, a.plan AS account_plan, a.version, a.disabled_at \
             FROM api_key k JOIN account a ON a.id = k.account_id WHERE k.hash = $1")
        .bind(&hash[..])
        .fetch_optional(self.store.read())
        .await?;
        let Some(found) = found else { return Ok(Found::Nobody) };
        if found.revoked_at.is_some() || found.disabled_at.is_some() {
            return Ok(Found::Revoked);
        }
        let principal = Principal::new(PrincipalParts {
            subject: found.account_id.into(),
            issuer: None,
            roles: std::iter::once(found.role.into()).collect(),
            permissions: Vec::new(),
            scopes: found.scopes.map(|scopes| scopes.split(' ').map(Into::into).collect()),
            plan: Some(found.plan.unwrap_or(found.account_plan).into()),
            session: None,
            token_id: Some(found.id.as_str().into()),
            version: u64::try_from(found.version).unwrap_or_default(),
            expires: found.expires_at.map_or(Timestamp::MAX, moment),
            scheme: Scheme::ApiKey,
            claims: Default::default(),
        });
        // What the store holds was checked when it was written; what cannot be told to an upstream proves nobody.
        let Ok(principal) = principal else { return Ok(Found::Nobody) };
        self.last_uses.note(Used::Key, &found.id, self.now());
        Ok(Found::Holder(Box::new(principal)))
    }

    /// Stores a key of 256 random bits; `row.start` is filled in.
    async fn insert(
        &self,
        transaction: &mut Write,
        account: &str,
        mut row: Row,
        now: Timestamp,
    ) -> Result<MadeApiKey, IdentityError> {
        let (living,): (i64,) = sql("SELECT count(*) FROM api_key WHERE account_id = $1 AND revoked_at IS NULL \
             AND (expires_at IS NULL OR expires_at > $2)")
        .bind(account)
        .bind(millis(now))
        .fetch_one(&mut *transaction)
        .await?;
        if living >= i64::from(self.config.api_keys_per_account) {
            return Err(IdentityError::TooManyApiKeys(self.config.api_keys_per_account));
        }
        let mut random = [0; 32];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| IdentityError::Crypto)?;
        let key = api_key::make(&random);
        row.start = api_key::start(key.expose()).to_owned();
        sql("INSERT INTO api_key (id, account_id, hash, start, name, scopes, plan, created_at, life, expires_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)")
        .bind(&row.id)
        .bind(account)
        .bind(digest(&SHA256, key.expose().as_bytes()).as_ref().to_vec())
        .bind(&row.start)
        .bind(&row.name)
        .bind(row.scopes.clone())
        .bind(row.plan.clone())
        .bind(row.created_at)
        .bind(row.life)
        .bind(row.expires_at)
        .execute(transaction)
        .await?;
        Ok(MadeApiKey { key, info: info(row) })
    }
}

/// Holds an account that may have keys: after those of its keys that are held, before what the revocations say of them.
async fn hold_account(transaction: &mut Write, account: &str) -> Result<(), IdentityError> {
    let disabled: Option<(Option<i64>,)> = sql(locking!("SELECT disabled_at FROM account WHERE id = $1", "FOR UPDATE"))
        .bind(account)
        .fetch_optional(transaction)
        .await?;
    match disabled {
        None => Err(IdentityError::NoAccount),
        Some((Some(_),)) => Err(IdentityError::Disabled),
        Some((None,)) => Ok(()),
    }
}

async fn mark_ended(transaction: &mut Write, id: &str, now: Timestamp) -> Result<(), IdentityError> {
    sql("UPDATE api_key SET revoked_at = $1 WHERE id = $2").bind(millis(now)).bind(id).execute(transaction).await?;
    Ok(())
}

fn info(row: Row) -> ApiKeyInfo {
    ApiKeyInfo {
        id: row.id,
        name: row.name,
        start: row.start,
        scopes: row.scopes.map(|scopes| scopes.split(' ').map(str::to_owned).collect()),
        plan: row.plan,
        created_at: moment(row.created_at),
        expires_at: row.expires_at.map(moment),
        last_used_at: row.last_used_at.map(moment),
    }
}

fn broken(field: &'static str, message: &'static str) -> IdentityError {
    IdentityError::Invalid(vec![Violation { field, message }])
}

/// A text that is no id is asked of no database: PostgreSQL takes none that holds a zero byte.
fn is_id(text: &str) -> Result<(), IdentityError> {
    Uuid::try_parse(text).map(drop).map_err(|_| IdentityError::NoApiKey)
}

/// Every broken rule of what is asked for; gives the name as it is stored.
fn check(new: &NewApiKey) -> Result<String, IdentityError> {
    let mut violations = Vec::new();
    let name = policy::parse_name(&new.name).map_err(|violation| violations.push(violation));
    if let Some(scopes) = &new.scopes {
        let message = match scopes.as_slice() {
            [] => Some("Must name a permission; leave it out for a key that may do what you may"),
            many if many.len() > MAX_SCOPES => Some("Must be at most 50"),
            scopes if !scopes.iter().all(|scope| is_scope(scope)) => {
                Some("Must be permissions like \"posts:read\" or \"posts:*\"")
            }
            _ => None,
        };
        violations.extend(message.map(|message| Violation { field: "scopes", message }));
    }
    if new.plan.as_deref().is_some_and(|plan| !policy::is_plain_name(plan)) {
        violations.push(Violation { field: "plan", message: "Must be letters, digits, - and _" });
    }
    if new.expires_in.is_some_and(|life| life.is_zero() || life > MAX_LIFE) {
        violations
            .push(Violation { field: "expiresIn", message: "Must be 1 to 316224000 seconds, or be left out for ever" });
    }
    match name {
        Ok(name) if violations.is_empty() => Ok(name),
        _ => Err(IdentityError::Invalid(violations)),
    }
}
