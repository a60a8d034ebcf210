//! Links that are mailed to an owner and work once: their tokens are stored as hashes and belong to one purpose.

use std::time::Duration;

use portcullis_core::{Secret, Timestamp};

use crate::error::IdentityError;
use crate::policy::Email;
use crate::store::{Write, locking, millis, sql};
use crate::token;

/// How many links of one purpose an account has; the oldest goes first.
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

/// Makes a link for the account with this address, if there is one and it is not disabled; gives whether there is. The
/// statements are the same for an unknown address.
pub(crate) async fn make(
    transaction: &mut Write,
    token: &Secret<String>,
    purpose: Purpose,
    of: &str,
    confirms: Option<&Email>,
    now: Timestamp,
) -> Result<bool, IdentityError> {
    let made = sql("INSERT INTO account_link (hash, account_id, purpose, email, created_at, expires_at) \
         SELECT $1, id, $2, $3, $4, $5 FROM account WHERE email = $6 AND disabled_at IS NULL")
    .bind(token::hash(token.expose()).ok_or(IdentityError::Crypto)?)
    .bind(purpose.as_str())
    .bind(confirms.map(Email::as_str))
    .bind(millis(now))
    .bind(millis(now.after(purpose.life())))
    .bind(of)
    .execute(&mut *transaction)
    .await?;
    sql("DELETE FROM account_link WHERE purpose = $1 AND account_id IN (SELECT id FROM account WHERE email = $2) \
         AND hash NOT IN (SELECT hash FROM account_link WHERE purpose = $1 \
         AND account_id IN (SELECT id FROM account WHERE email = $2) ORDER BY created_at DESC, hash LIMIT $3)")
    .bind(purpose.as_str())
    .bind(of)
    .bind(MOST)
    .execute(transaction)
    .await?;
    Ok(made > 0)
}

/// The account of a link that is good, and the address that it confirms. Nobody else can use it until the write ends.
pub(crate) async fn find(
    transaction: &mut Write,
    presented: &[u8],
    purpose: Purpose,
    now: Timestamp,
) -> Result<(String, Option<String>), IdentityError> {
    let found: Option<(String, Option<String>)> = sql(locking!(
        "SELECT l.account_id, l.email FROM account_link l JOIN account a ON a.id = l.account_id \
         WHERE l.hash = $1 AND l.purpose = $2 AND l.expires_at > $3 AND a.disabled_at IS NULL",
        "FOR UPDATE OF l, a"
    ))
    .bind(presented)
    .bind(purpose.as_str())
    .bind(millis(now))
    .fetch_optional(transaction)
    .await?;
    found.ok_or(IdentityError::InvalidLink)
}

/// Makes every link of an account void: what they were asked for is done, or its ground is gone.
pub(crate) async fn void(transaction: &mut Write, account: &str) -> Result<(), sqlx::Error> {
    sql("DELETE FROM account_link WHERE account_id = $1").bind(account).execute(transaction).await.map(drop)
}
