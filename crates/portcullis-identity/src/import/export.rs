//! Writing every account as the JSON lines that an import reads.

use std::fmt::Write as _;
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

/// Some accounts of an export.
#[derive(Debug)]
pub struct ExportPage {
    /// Each as a line of JSON.
    pub lines: String,
    /// The id of the last one, to ask for the next page with.
    pub last: String,
    /// How many they are.
    pub count: u64,
}

type Row = (String, String, Option<String>, String, String, String, Option<i64>, i64);

impl Identity {
    /// Writes every account in the order of the ids; gives their number. With hashes, whoever reads the file can try
    /// passwords at leisure; that it was written is in the audit trail either way.
    ///
    /// # Errors
    /// [`ExportError`].
    pub async fn export(&self, with_hashes: bool, output: &mut dyn Write, origin: Origin) -> Result<u64, ExportError> {
        self.note_export(with_hashes, origin).await?;
        let (mut last, mut count) = (String::new(), 0);
        while let Some(page) = self.export_page(with_hashes, &last).await? {
            output.write_all(page.lines.as_bytes())?;
            (last, count) = (page.last, count + page.count);
        }
        output.flush()?;
        Ok(count)
    }

    /// Takes an export down in the audit trail. To be called before its first page.
    ///
    /// # Errors
    /// [`IdentityError::Database`].
    pub async fn note_export(&self, with_hashes: bool, origin: Origin) -> Result<(), IdentityError> {
        let mut transaction = self.store.write().await?;
        let detail = if with_hashes { "with hashes" } else { "without hashes" };
        audit::write(&mut transaction, self.now(), "accounts_exported", None, origin, Some(detail)).await?;
        Ok(transaction.commit().await?)
    }

    /// The accounts whose ids come after `after` (empty for the first), some hundreds of them; `None` where there are none.
    ///
    /// # Errors
    /// [`IdentityError::Database`].
    pub async fn export_page(&self, with_hashes: bool, after: &str) -> Result<Option<ExportPage>, IdentityError> {
        let rows: Vec<Row> =
            sql("SELECT id, email, name, password, role, plan, disabled_at, created_at FROM account WHERE id > $1 \
             ORDER BY id LIMIT $2")
            .bind(after)
            .bind(PAGE)
            .fetch_all(self.store.read())
            .await?;
        let Some((last, ..)) = rows.last() else { return Ok(None) };
        let (last, count) = (last.clone(), rows.len() as u64);
        let mut lines = String::new();
        for row in rows {
            // Writing to a string does not fail.
            let _ = writeln!(lines, "{}", line(row, with_hashes));
        }
        Ok(Some(ExportPage { lines, last, count }))
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
