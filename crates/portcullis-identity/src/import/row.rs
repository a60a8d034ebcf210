//! One row: which columns there are and what they must be.

use portcullis_core::Timestamp;

use super::moment;
use super::{Fields, ImportOptions, MAX_ROW, Value};
use crate::password::{HashRefused, is_known_hash};
use crate::policy::{self, Email};

/// A column of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Column {
    /// `id`: the account's id, kept so that what the API stored of a user goes on to belong to it. Default: a new one.
    Id,
    /// `email`, required.
    Email,
    /// `name`.
    Name,
    /// `role`. Default: the configured one.
    Role,
    /// `plan`. Default: the configured one.
    Plan,
    /// `verified`: whether the address was confirmed.
    Verified,
    /// `disabled`. Default: false.
    Disabled,
    /// `password_hash`. Without it the owner has to set a password by mail.
    PasswordHash,
    /// `created_at`. Default: now.
    CreatedAt,
}

impl Column {
    /// Every column.
    pub const ALL: [Self; 9] = [
        Self::Id,
        Self::Email,
        Self::Name,
        Self::Role,
        Self::Plan,
        Self::Verified,
        Self::Disabled,
        Self::PasswordHash,
        Self::CreatedAt,
    ];

    /// Its name in a file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Email => "email",
            Self::Name => "name",
            Self::Role => "role",
            Self::Plan => "plan",
            Self::Verified => "verified",
            Self::Disabled => "disabled",
            Self::PasswordHash => "password_hash",
            Self::CreatedAt => "created_at",
        }
    }

    /// The column of that name; `None` for one to pass over.
    pub(super) fn named(name: &str, ignore: &[String]) -> Result<Option<Self>, RowRefused> {
        if ignore.iter().any(|ignored| ignored == name) {
            return Ok(None);
        }
        let column = Self::ALL.into_iter().find(|column| column.name() == name);
        column.map(Some).ok_or_else(|| RowRefused::UnknownColumn(name.chars().take(64).collect()))
    }
}

/// Why a row was not imported. It never repeats a hash.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowRefused {
    /// Skipped, not refused: what is there is never changed.
    #[error("an account with this address exists already")]
    Exists,
    /// Another row of the same file came first.
    #[error("the same {} is already on line {first}", .column.name())]
    Twice {
        /// What both have.
        column: Column,
        /// That row's line.
        first: u64,
    },
    /// An account of another address has it.
    #[error("another account has this id")]
    IdTaken,
    /// The row is too long.
    #[error("the row is longer than {MAX_ROW} bytes")]
    TooLong,
    /// Bytes that are no text.
    #[error("the row is not UTF-8")]
    NotUtf8,
    /// The row cannot be read.
    #[error("the row is not {0}")]
    Syntax(&'static str),
    /// A row with more or fewer fields than the header.
    #[error("the row has {found} fields, the header {expected}")]
    Fields {
        /// Of the row.
        found: usize,
        /// Of the header.
        expected: usize,
    },
    /// A column that is not known.
    #[error("there is no column {0:?}; --ignore-column passes over one")]
    UnknownColumn(String),
    /// A column that stands in the row twice.
    #[error("the column {} is there twice", .0.name())]
    Repeated(Column),
    /// A required column is missing.
    #[error("{} is missing", .0.name())]
    Missing(Column),
    /// A value that its column cannot have.
    #[error("{}: {}", .column.name(), .must)]
    Wrong {
        /// The column.
        column: Column,
        /// What it must be.
        must: &'static str,
    },
    /// A role that is not defined.
    #[error("there is no role {0:?} in this configuration")]
    UnknownRole(String),
    /// An address that nobody confirmed.
    #[error("the address was never confirmed; its owner can register")]
    NotVerified,
    /// The row does not say whether its address was confirmed.
    #[error("it does not say whether the address was confirmed: add \"verified\", or give --assume-verified")]
    VerifiedUnknown,
    /// The hash cannot be taken.
    #[error("password_hash: {0}")]
    Hash(#[from] HashRefused),
}

impl RowRefused {
    /// Whether the row is right and its account is there.
    #[must_use]
    pub const fn is_skip(&self) -> bool {
        matches!(self, Self::Exists)
    }
}

/// An account to make.
#[derive(Debug)]
pub(crate) struct NewUser {
    pub(super) id: Option<String>,
    pub(super) email: Email,
    pub(super) name: Option<String>,
    pub(super) role: String,
    pub(super) plan: String,
    pub(super) disabled: bool,
    pub(super) hash: Option<String>,
    pub(super) created_at: Timestamp,
}

/// What rows are checked against.
pub(super) struct Checks<'a> {
    pub(super) options: &'a ImportOptions<'a>,
    pub(super) default_role: &'a str,
    pub(super) default_plan: &'a str,
    pub(super) now: Timestamp,
}

impl Checks<'_> {
    pub(super) fn read(&self, fields: Fields) -> Result<NewUser, RowRefused> {
        let mut row = Row::default();
        for (column, value) in fields {
            row.take(column, value)?;
        }
        let email = row.email.ok_or(RowRefused::Missing(Column::Email))?;
        let email = Email::parse(&email).map_err(|broken| wrong(Column::Email, broken.message))?;
        match row.verified {
            Some(true) => {}
            Some(false) => return Err(RowRefused::NotVerified),
            None if self.options.assume_verified => {}
            None => return Err(RowRefused::VerifiedUnknown),
        }
        let name = row.name.as_deref().map(policy::parse_name).transpose();
        let name = name.map_err(|broken| wrong(Column::Name, broken.message))?;
        let role = row.role.unwrap_or_else(|| self.default_role.to_owned());
        if !self.options.roles.knows(&role) {
            return Err(RowRefused::UnknownRole(role.chars().take(64).collect()));
        }
        let plan = row.plan.unwrap_or_else(|| self.default_plan.to_owned());
        if !policy::is_plain_name(&plan) {
            return Err(wrong(Column::Plan, "Must be letters, digits, - and _"));
        }
        if let Some(id) = &row.id
            && !policy::is_id(id)
        {
            return Err(wrong(Column::Id, "Must be 1 to 64 letters, digits, - _ . : and |"));
        }
        // What Django and /etc/shadow write where there is no password to log in with.
        let hash = row.hash.filter(|hash| !hash.starts_with('!') && hash != "*");
        if let Some(hash) = &hash {
            is_known_hash(hash)?;
        }
        let created_at = row.created_at.unwrap_or(self.now);
        if created_at > self.now {
            return Err(wrong(Column::CreatedAt, "Must not be in the future"));
        }
        let disabled = row.disabled.unwrap_or_default();
        Ok(NewUser { id: row.id, email, name, role, plan, disabled, hash, created_at })
    }
}

#[derive(Default)]
struct Row {
    id: Option<String>,
    email: Option<String>,
    name: Option<String>,
    role: Option<String>,
    plan: Option<String>,
    verified: Option<bool>,
    disabled: Option<bool>,
    hash: Option<String>,
    created_at: Option<Timestamp>,
}

impl Row {
    fn take(&mut self, column: Column, value: Value) -> Result<(), RowRefused> {
        match column {
            Column::Id => self.id = id(value)?,
            Column::Email => self.email = text(column, value)?,
            Column::Name => self.name = text(column, value)?,
            Column::Role => self.role = text(column, value)?,
            Column::Plan => self.plan = text(column, value)?,
            Column::Verified => self.verified = truth(column, value)?,
            Column::Disabled => self.disabled = truth(column, value)?,
            Column::PasswordHash => self.hash = text(column, value)?,
            Column::CreatedAt => self.created_at = created_at(value)?,
        }
        Ok(())
    }
}

const fn wrong(column: Column, must: &'static str) -> RowRefused {
    RowRefused::Wrong { column, must }
}

/// A text; an empty one is none. A NUL ends a text in some programs and not in others, so there is none in any.
fn text(column: Column, value: Value) -> Result<Option<String>, RowRefused> {
    match value {
        Value::Nothing => Ok(None),
        Value::Text(text) if text.contains('\0') => Err(wrong(column, "Must not contain NUL")),
        Value::Text(text) => Ok(Some(text).filter(|text| !text.is_empty())),
        Value::Bool(_) | Value::Number(_) => Err(wrong(column, "Must be a text")),
    }
}

fn id(value: Value) -> Result<Option<String>, RowRefused> {
    match value {
        Value::Number(number) if number >= 0 => Ok(Some(number.to_string())),
        other => text(Column::Id, other),
    }
}

fn truth(column: Column, value: Value) -> Result<Option<bool>, RowRefused> {
    let must = wrong(column, "Must be true or false");
    match value {
        Value::Nothing => Ok(None),
        Value::Bool(truth) => Ok(Some(truth)),
        Value::Number(0) => Ok(Some(false)),
        Value::Number(1) => Ok(Some(true)),
        Value::Number(_) => Err(must),
        // PostgreSQL writes t and f into CSV, MySQL 1 and 0.
        Value::Text(text) => match text.to_ascii_lowercase().as_str() {
            "true" | "t" | "1" | "yes" => Ok(Some(true)),
            "false" | "f" | "0" | "no" => Ok(Some(false)),
            _ => Err(must),
        },
    }
}

fn created_at(value: Value) -> Result<Option<Timestamp>, RowRefused> {
    let must = wrong(Column::CreatedAt, "Must be RFC 3339 or seconds since 1970");
    let seconds = |number: i64| u64::try_from(number).ok().filter(|number| *number < 1 << 33).map(Timestamp::from_secs);
    match value {
        Value::Nothing => Ok(None),
        Value::Number(number) => seconds(number).map(Some).ok_or(must),
        Value::Text(text) => {
            let read = moment::parse(&text).or_else(|| text.parse().ok().and_then(seconds));
            read.map(Some).ok_or(must)
        }
        Value::Bool(_) => Err(must),
    }
}

/// The address of a row as a report shows it.
pub(super) fn shown_email(fields: &Fields) -> Option<String> {
    fields.iter().find_map(|(column, value)| match (column, value) {
        (Column::Email, Value::Text(text)) => Some(text.chars().take(255).collect()),
        _ => None,
    })
}
