//! Links that are mailed to an owner and work once: their tokens are stored as hashes and belong to one purpose.
//!
//! Whoever makes or spends one holds its account first, as everywhere: so nobody waits for somebody who waits for them, and
//! what makes links void (another password, another address, the account's end) leaves none behind that was under way.

use std::time::Duration;

use portcullis_core::{Secret, Timestamp};

use crate::error::IdentityError;
use crate::policy::Email;
use crate::store::{Write, locking, millis, sql};
use crate::token;

/// How many links of one purpose an account has. There are no more until one is used or too old: were the oldest to go
/// first, a stranger who asks again and again would make void what the owner has in the mailbox.
const MOST: i64 = 3;

/// What a link is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To set another password.
    Reset,
    /// To confirm another address.
    Email,
}

impl Purpose {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Reset => "reset",
            Self::Email => "email",
        }
    }

    const fn life(self) -> Duration {
        match self {
            Self::Reset => Duration::from_secs(3_600),
            Self::Email => Duration::from_secs(24 * 3_600),
        }
    }
}

/// A link that was good, and is none any more.
pub(crate) struct Spent {
    pub(crate) account: String,
    /// The account's present address.
    pub(crate) email: String,
    /// The address that the link confirms.
    pub(crate) confirms: Option<String>,
}

/// Makes a link for an account that the write holds; gives whether it was made. For an account that does not exist (`""`)
/// the work is the same.
pub(crate) async fn make(
    transaction: &mut Write,
    token: &Secret<String>,
    purpose: Purpose,
    account: &str,
    confirms: Option<&Email>,
    now: Timestamp,
) -> Result<bool, IdentityError> {
    let made = sql("INSERT INTO account_link (hash, account_id, purpose, email, created_at, expires_at) \
         SELECT $1, id, $2, $3, $4, $5 FROM account WHERE id = $6 \
         AND (SELECT count(*) FROM account_link WHERE account_id = $6 AND purpose = $2 AND expires_at > $4) < $7")
    .bind(token::hash(token.expose()).ok_or(IdentityError::Crypto)?)
    .bind(purpose.as_str())
    .bind(confirms.map(Email::as_str))
    .bind(millis(now))
    .bind(millis(now.after(purpose.life())))
    .bind(account)
    .bind(MOST)
    .execute(transaction)
    .await?;
    Ok(made > 0)
}

/// Spends a link that is good. Its account is held until the write ends.
pub(crate) async fn spend(
    transaction: &mut Write,
    presented: &[u8],
    purpose: Purpose,
    now: Timestamp,
) -> Result<Spent, IdentityError> {
    let of: Option<(String,)> = sql("SELECT account_id FROM account_link WHERE hash = $1")
        .bind(presented)
        .fetch_optional(&mut *transaction)
        .await?;
    let (account,) = of.ok_or(IdentityError::InvalidLink)?;
    let held: Option<(String,)> =
        sql(locking!("SELECT email FROM account WHERE id = $1 AND disabled_at IS NULL", "FOR UPDATE"))
            .bind(&account)
            .fetch_optional(&mut *transaction)
            .await?;
    let (email,) = held.ok_or(IdentityError::InvalidLink)?;
    // Gone where somebody else has used it while this write waited for the account.
    let spent: Option<(Option<String>,)> =
        sql("DELETE FROM account_link WHERE hash = $1 AND purpose = $2 AND expires_at > $3 RETURNING email")
            .bind(presented)
            .bind(purpose.as_str())
            .bind(millis(now))
            .fetch_optional(transaction)
            .await?;
    let (confirms,) = spent.ok_or(IdentityError::InvalidLink)?;
    Ok(Spent { account, email, confirms })
}

/// Makes every link of an account void: what they were asked for is done, or its ground is gone.
pub(crate) async fn void(transaction: &mut Write, account: &str) -> Result<(), sqlx::Error> {
    sql("DELETE FROM account_link WHERE account_id = $1").bind(account).execute(transaction).await.map(drop)
}

/// Makes every link of every account void.
pub(crate) async fn void_everybodys(transaction: &mut Write) -> Result<(), sqlx::Error> {
    sql("DELETE FROM account_link").execute(transaction).await.map(drop)
}

/// Makes every link of an account for one purpose void.
pub(crate) async fn void_all_for(transaction: &mut Write, account: &str, purpose: Purpose) -> Result<(), sqlx::Error> {
    sql("DELETE FROM account_link WHERE account_id = $1 AND purpose = $2")
        .bind(account)
        .bind(purpose.as_str())
        .execute(transaction)
        .await
        .map(drop)
}
