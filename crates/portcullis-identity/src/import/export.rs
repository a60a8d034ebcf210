//! Writing every account as the JSON lines that an import reads.

use std::io::{self, Write};

use serde_json::{Map, Value, json};

use crate::error::IdentityError;
use crate::password::NO_PASSWORD;
use crate::service::Identity;
use crate::store::audit::{self, Origin};
use crate::store::{moment, sql};

/// Accounts that are read at once.
const PAGE: i64 = 500;

/// Why an export ended early.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// What was written cannot be used.
    #[error("cannot write the export: {0}")]
    Write(#[from] io::Error),
    /// The database failed.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

type Row = (String, String, Option<String>, String, String, String, Option<i64>, i64);

impl Identity {
    /// Writes every account in the order of the ids; gives their number. With hashes, whoever reads the file can try
    /// passwords at leisure; that it was written is in the audit trail either way.
    ///
    /// # Errors
    /// [`ExportError`].
    pub async fn export(&self, with_hashes: bool, output: &mut dyn Write, origin: Origin) -> Result<u64, ExportError> {
        let mut transaction = self.store.write().await.map_err(IdentityError::from)?;
        let detail = if with_hashes { "with hashes" } else { "without hashes" };
        audit::write(&mut transaction, self.now(), "accounts_exported", None, origin, Some(detail))
            .await
            .map_err(IdentityError::from)?;
        transaction.commit().await.map_err(IdentityError::from)?;
        let (mut last, mut count) = (String::new(), 0);
        loop {
            let rows: Vec<Row> = sql(
                "SELECT id, email, name, password, role, plan, disabled_at, created_at FROM account WHERE id > $1 \
                 ORDER BY id LIMIT $2",
            )
            .bind(&last)
            .bind(PAGE)
            .fetch_all(self.store.read())
            .await
            .map_err(IdentityError::from)?;
            let Some((id, ..)) = rows.last() else {
                output.flush()?;
                return Ok(count);
            };
            last.clone_from(id);
            for row in rows {
                writeln!(output, "{}", line(row, with_hashes))?;
                count += 1;
            }
        }
    }
}

fn line((id, email, name, password, role, plan, disabled, created): Row, with_hashes: bool) -> Value {
    let mut object = Map::new();
    object.insert("id".to_owned(), json!(id));
    object.insert("email".to_owned(), json!(email));
    if let Some(name) = name {
        object.insert("name".to_owned(), json!(name));
    }
    object.insert("role".to_owned(), json!(role));
    object.insert("plan".to_owned(), json!(plan));
    object.insert("verified".to_owned(), json!(true));
    object.insert("disabled".to_owned(), json!(disabled.is_some()));
    object.insert("created_at".to_owned(), json!(moment(created).to_rfc3339()));
    if with_hashes && password != NO_PASSWORD {
        object.insert("password_hash".to_owned(), json!(password));
    }
    Value::Object(object)
}
