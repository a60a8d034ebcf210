//! The audit trail (W1): written in the transaction of what it records, so that neither is there without the other.

use portcullis_core::{ClientAddress, RequestId, Timestamp};

use super::{Write, millis, sql};

/// Who asked, as far as that is known: for the audit trail.
#[derive(Clone, Copy, Debug, Default)]
pub struct Origin {
    /// The client's address; `None` for the command line.
    pub client: Option<ClientAddress>,
    /// The request's name.
    pub request: Option<RequestId>,
    /// Whether it was an operator, on the admin listener.
    pub operator: bool,
}

impl Origin {
    /// The column that says who: an address, with a mark before it where it is an operator's. The command line has none.
    fn who(self) -> Option<String> {
        let mark = if self.operator { "operator " } else { "" };
        self.client.map(|client| format!("{mark}{}", client.ip()))
    }
}

/// Writes one row. `detail` is a short fixed text or a name, never a secret.
pub(crate) async fn write(
    transaction: &mut Write,
    at: Timestamp,
    action: &'static str,
    account: Option<&str>,
    origin: Origin,
    detail: Option<&str>,
) -> Result<(), sqlx::Error> {
    sql("INSERT INTO audit (at, action, account_id, client, request_id, detail) VALUES ($1, $2, $3, $4, $5, $6)")
        .bind(millis(at))
        .bind(action)
        .bind(account)
        .bind(origin.who())
        .bind(origin.request.map(|id| id.to_string()))
        .bind(detail)
        .execute(transaction)
        .await?;
    Ok(())
}
