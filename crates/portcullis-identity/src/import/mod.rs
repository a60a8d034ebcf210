//! Bringing users along: a table of another system, read row by row, checked, and written in batches.
//!
//! Nothing but one batch, one row and some bytes for each address are held in memory, and a row has a bounded length. A row
//! is refused alone and told with its line; what is there already is never changed, so a run that was stopped is simply
//! started again.

mod csv;
mod export;
mod json;
mod moment;
mod row;
mod write;

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, BufRead};

use crate::error::IdentityError;
use crate::service::Identity;
use crate::store::audit::Origin;
pub use export::{ExportError, ExportPage};
use row::{Checks, NewUser};
pub use row::{Column, RowRefused};
use write::Written;

/// The longest row: no column needs more than a hash of a kilobyte.
pub(crate) const MAX_ROW: usize = 64 << 10;
/// How many rows are written in one transaction: enough to share its sync, few enough that a gate that writes beside it
/// hardly waits.
const BATCH: usize = 200;

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImportFormat {
    /// One JSON object a line.
    JsonLines,
    /// RFC 4180 with a header.
    Csv,
}

/// How to import.
#[derive(Debug)]
pub struct ImportOptions<'a> {
    /// How the file is written.
    pub format: ImportFormat,
    /// Check every row and write none.
    pub dry_run: bool,
    /// Take a row that says nothing of it for one whose address was confirmed. One that denies it is refused anyway.
    pub assume_verified: bool,
    /// Columns that are passed over.
    pub ignore: &'a [String],
    /// The roles that exist.
    pub roles: &'a dyn RoleNames,
}

/// Which roles exist.
pub trait RoleNames: std::fmt::Debug {
    /// Whether this one does.
    fn knows(&self, role: &str) -> bool;
}

/// A row that was not imported.
#[derive(Clone, Copy, Debug)]
pub struct NotImported<'a> {
    /// The line on which it begins, from 1.
    pub line: u64,
    /// Its address, as far as it could be read.
    pub email: Option<&'a str>,
    /// Why.
    pub reason: &'a RowRefused,
}

/// What became of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportSummary {
    /// Accounts that were made, or would be.
    pub imported: u64,
    /// Of these, accounts without a password: their owners have to set one by mail.
    pub without_password: u64,
    /// Of these, by role.
    pub by_role: BTreeMap<String, u64>,
    /// Rows whose account exists already.
    pub skipped: u64,
    /// Rows with something wrong.
    pub refused: u64,
    /// Bytes that were read.
    pub bytes: u64,
}

/// Who watches an import.
pub trait ImportWatcher {
    /// A row was not imported.
    ///
    /// # Errors
    /// An error ends the import: rows must not be lost without a word.
    fn not_imported(&mut self, row: NotImported<'_>) -> io::Result<()>;

    /// Something was done. Called after each batch.
    fn progress(&mut self, so_far: &ImportSummary);
}

/// Why an import ended early. What was written until then stays; the same import can be started again.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file cannot be read.
    #[error("cannot read the file: {0}")]
    Read(io::Error),
    /// The report cannot be written.
    #[error("cannot write the report: {0}")]
    Report(io::Error),
    /// The first line is no header.
    #[error("the header of the file is wrong: {0}")]
    Header(String),
    /// The database failed.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// A row as a file holds it: names and values.
pub(crate) type Fields = Vec<(Column, Value)>;

/// A value of a row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// An empty field of CSV, a null of JSON.
    Nothing,
    Text(String),
    Bool(bool),
    Number(i64),
}

/// One row, and where it begins.
pub(crate) struct Read {
    pub(crate) line: u64,
    pub(crate) fields: Result<Fields, RowRefused>,
}

/// Reads rows one after the other.
pub(crate) trait Rows {
    /// The next row; `None` at the end.
    fn next(&mut self) -> io::Result<Option<Read>>;

    /// Bytes that were read.
    fn bytes(&self) -> u64;
}

impl Identity {
    /// Imports accounts from a file. It reads and waits on the thread of its caller: for a command, not for a server.
    ///
    /// # Errors
    /// [`ImportError`]; rows that are wrong are no errors but told to the watcher.
    pub async fn import(
        &self,
        input: &mut dyn BufRead,
        options: &ImportOptions<'_>,
        watcher: &mut dyn ImportWatcher,
        origin: Origin,
    ) -> Result<ImportSummary, ImportError> {
        let mut rows: Box<dyn Rows + '_> = match options.format {
            ImportFormat::JsonLines => Box::new(json::JsonRows::new(input, options.ignore)),
            ImportFormat::Csv => Box::new(csv::CsvRows::new(input, options)?),
        };
        let checks = Checks {
            options,
            default_role: &self.config.default_role,
            default_plan: &self.config.default_plan,
            now: self.now(),
        };
        let mut import = Import { seen: Seen::default(), summary: ImportSummary::default() };
        let mut batch: Vec<(u64, NewUser)> = Vec::with_capacity(BATCH);
        loop {
            let read = rows.next().map_err(ImportError::Read)?;
            let ended = read.is_none();
            if let Some(read) = read {
                match import.check(read, &checks) {
                    Ok(user) => batch.push(user),
                    Err(refused) => {
                        import.tell(watcher, refused.line, refused.email.as_deref(), &refused.reason)?;
                        if import.summary.refused.is_multiple_of(1000) {
                            import.summary.bytes = rows.bytes();
                            watcher.progress(&import.summary);
                        }
                    }
                }
            }
            if batch.len() == BATCH || ended {
                import.summary.bytes = rows.bytes();
                self.import_batch(&mut import, &batch, options.dry_run, watcher, origin).await?;
                batch.clear();
                watcher.progress(&import.summary);
            }
            if ended {
                return Ok(import.summary);
            }
        }
    }

    async fn import_batch(
        &self,
        import: &mut Import,
        batch: &[(u64, NewUser)],
        dry_run: bool,
        watcher: &mut dyn ImportWatcher,
        origin: Origin,
    ) -> Result<(), ImportError> {
        let written = self.write_users(batch.iter().map(|(_, user)| user), dry_run, origin).await?;
        for ((line, user), written) in batch.iter().zip(written) {
            let reason = match written {
                Written::Made => {
                    import.summary.count(user);
                    continue;
                }
                Written::KnownEmail => RowRefused::Exists,
                Written::KnownId => RowRefused::IdTaken,
            };
            import.tell(watcher, *line, Some(user.email.as_str()), &reason)?;
        }
        Ok(())
    }
}

/// An import under way.
struct Import {
    seen: Seen,
    summary: ImportSummary,
}

struct Refused {
    line: u64,
    email: Option<String>,
    reason: RowRefused,
}

impl Import {
    fn check(&mut self, read: Read, checks: &Checks<'_>) -> Result<(u64, NewUser), Refused> {
        let line = read.line;
        let fields = read.fields.map_err(|reason| Refused { line, email: None, reason })?;
        let email = row::shown_email(&fields);
        let refused = |reason| Refused { line, email: email.clone(), reason };
        let user = checks.read(fields).map_err(&refused)?;
        let unique = [(Column::Email, Some(user.email.as_str())), (Column::Id, user.id.as_deref())];
        for (column, value) in unique {
            if let Some(first) = value.and_then(|value| self.seen.before(column, value, line)) {
                return Err(refused(RowRefused::Twice { column, first }));
            }
        }
        Ok((line, user))
    }

    fn tell(
        &mut self,
        watcher: &mut dyn ImportWatcher,
        line: u64,
        email: Option<&str>,
        reason: &RowRefused,
    ) -> Result<(), ImportError> {
        if reason.is_skip() {
            self.summary.skipped += 1;
        } else {
            self.summary.refused += 1;
        }
        watcher.not_imported(NotImported { line, email, reason }).map_err(ImportError::Report)
    }
}

impl ImportSummary {
    fn count(&mut self, user: &NewUser) {
        self.imported += 1;
        self.without_password += u64::from(user.hash.is_none());
        *self.by_role.entry(user.role.clone()).or_default() += 1;
    }
}

/// The addresses and ids of this file so far, as 64 random bits with their line: two rows of one address are two people or two
/// passwords, and only the operator knows which is right.
#[derive(Default)]
struct Seen {
    hasher: RandomState,
    lines: HashMap<u64, u64>,
}

impl Seen {
    /// The line of an earlier row with this value.
    fn before(&mut self, column: Column, value: &str, line: u64) -> Option<u64> {
        match self.lines.entry(self.hasher.hash_one((column, value))) {
            std::collections::hash_map::Entry::Occupied(first) => Some(*first.get()),
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(line);
                None
            }
        }
    }
}
