//! Revocation of one access token by its `jti` (T7).

use crate::error::IdentityError;
use crate::policy::Violation;
use crate::revocation::{self, Revoked};
use crate::service::Identity;
use crate::store::audit::{self, Origin};

/// Ours have 36 characters.
const MAX_JTI: usize = 64;

impl Identity {
    /// Makes one access token void, everywhere within a second; its session lives on and can refresh.
    ///
    /// # Errors
    /// [`IdentityError::Invalid`] for what is no `jti` of ours.
    pub async fn revoke_token(&self, jti: &str, origin: Origin) -> Result<(), IdentityError> {
        if jti.is_empty() || jti.len() > MAX_JTI || !jti.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-') {
            let message = "Must be the claim jti of an access token";
            return Err(IdentityError::Invalid(vec![Violation { field: "jti", message }]));
        }
        let now = self.now();
        let mut transaction = self.store.write().await?;
        revocation::write(&mut transaction, Revoked::Token(jti), self.token_end(now)).await?;
        audit::write(&mut transaction, now, "token_revoked", None, origin, Some(jti)).await?;
        transaction.commit().await?;
        self.see_revocations().await
    }
}
