//! `portcullis users …`.

mod args;
mod import;

use std::fs::OpenOptions;
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use portcullis_identity::{AccountChange, AccountDetails, AccountName, Identity, ImportFormat, Origin};

use super::process::in_words;
use super::{Commands, Console, Failure, NewUser, deployed, load, read_secret};
use crate::config::Settings;
use crate::serve::role_names;
pub(super) use args::UsersCommand;
use args::{Format, ImportArgs, Whose};

/// What to do with accounts.
#[derive(Clone, Debug)]
pub enum UserTask {
    /// Bring them along from a file.
    Import(ImportTask),
    /// Write them all into a new file.
    Export {
        /// The file.
        file: PathBuf,
        /// With the hashes of their passwords.
        with_hashes: bool,
    },
    /// Show one.
    Show {
        /// Its address.
        email: String,
    },
    /// Change one.
    Change {
        /// Its address.
        email: String,
        /// How.
        change: AccountChange,
    },
    /// Forget the failures of one.
    Unlock {
        /// Its address.
        email: String,
    },
    /// Disable one or enable it again.
    Disable {
        /// Its address.
        email: String,
        /// Whether to disable it.
        disabled: bool,
    },
}

/// What to import and how.
#[derive(Clone, Debug)]
pub struct ImportTask {
    /// The file; `-` for standard input.
    pub file: PathBuf,
    /// How it is written.
    pub format: ImportFormat,
    /// Check every row and write none.
    pub dry_run: bool,
    /// Take addresses of which the file does not say so for confirmed.
    pub assume_verified: bool,
    /// Columns to pass over.
    pub ignore: Vec<String>,
    /// Where to write each row that was not imported.
    pub report: Option<PathBuf>,
}

/// Turns what was typed into what to do.
pub(super) fn dispatch(
    command: UsersCommand,
    commands: &dyn Commands,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let (task, deployment) = match command {
        UsersCommand::Create { email, role, name, plan, password_file, deployment } => {
            let settings = load(&deployed(deployment), console)?;
            let password = password_file.map(|path| read_secret(&path)).transpose()?;
            console.say(commands.create_user(settings, NewUser { email, roles: role, name, plan, password })?);
            return Ok(());
        }
        UsersCommand::List { deployment } => {
            let settings = load(&deployed(deployment), console)?;
            return commands.list_users(settings, &mut |line| console.say(line));
        }
        UsersCommand::Import(args) => {
            let format = format(&args)?;
            let ImportArgs { file, dry_run, assume_verified, ignore_column: ignore, report, deployment, .. } = args;
            (UserTask::Import(ImportTask { file, format, dry_run, assume_verified, ignore, report }), deployment)
        }
        UsersCommand::Export { file, with_hashes, deployment } => {
            if with_hashes {
                console.warn("the file will hold the hashes of all passwords: whoever reads it can try to break them");
            }
            (UserTask::Export { file, with_hashes }, deployment)
        }
        UsersCommand::Show(Whose { email, deployment }) => (UserTask::Show { email }, deployment),
        UsersCommand::Role { email, role, deployment } => {
            (UserTask::Change { email, change: AccountChange::Role(role) }, deployment)
        }
        UsersCommand::Plan { email, plan, deployment } => {
            (UserTask::Change { email, change: AccountChange::Plan(plan) }, deployment)
        }
        UsersCommand::Disable(Whose { email, deployment }) => (UserTask::Disable { email, disabled: true }, deployment),
        UsersCommand::Enable(Whose { email, deployment }) => (UserTask::Disable { email, disabled: false }, deployment),
        UsersCommand::Unlock(Whose { email, deployment }) => (UserTask::Unlock { email }, deployment),
        UsersCommand::Revoke(Whose { email, deployment }) => {
            (UserTask::Change { email, change: AccountChange::Revoke }, deployment)
        }
        UsersCommand::Delete { email, yes: _, deployment } => {
            (UserTask::Change { email, change: AccountChange::Delete }, deployment)
        }
    };
    let settings = load(&deployed(deployment), console)?;
    console.say(commands.manage_users(settings, task)?);
    Ok(())
}

fn format(args: &ImportArgs) -> Result<ImportFormat, Failure> {
    let extension = args.file.extension().map(|extension| extension.to_string_lossy().to_lowercase());
    match (args.format, extension.as_deref()) {
        (Some(Format::Json), _) | (None, Some("jsonl" | "ndjson" | "json")) => Ok(ImportFormat::JsonLines),
        (Some(Format::Csv), _) | (None, Some("csv")) => Ok(ImportFormat::Csv),
        (None, _) => {
            let line = format!("give --format: the name {} does not say how it is written", args.file.display());
            Err(Failure::Usage(line))
        }
    }
}

/// Does it.
pub(super) async fn run(identity: &Identity, settings: &Settings, task: UserTask) -> Result<String, Failure> {
    let origin = Origin::default();
    match task {
        UserTask::Import(task) => import::import(identity, settings, task).await,
        UserTask::Export { file, with_hashes } => export(identity, &file, with_hashes).await,
        UserTask::Show { email } => {
            Ok(show(&identity.account_details(AccountName::Email(&email)).await.map_err(in_words)?))
        }
        UserTask::Change { email, change } => {
            if let AccountChange::Role(role) = &change
                && !knows_role(settings, role)
            {
                return Err(no_role(settings, role));
            }
            identity.change_account(AccountName::Email(&email), change.clone(), origin).await.map_err(in_words)?;
            Ok(match change {
                AccountChange::Role(role) => format!("{email} has the role {role} now; its tokens have ended"),
                AccountChange::Plan(plan) => format!("{email} has the plan {plan} now; its tokens have ended"),
                AccountChange::Revoke => format!("every session of {email} has ended"),
                AccountChange::Delete => format!("{email} is deleted; its tokens have ended"),
            })
        }
        UserTask::Unlock { email } => {
            let account = identity.unlock(AccountName::Email(&email), origin).await.map_err(in_words)?;
            let mut told = format!("what was counted against {email} is forgotten; limits by address go on");
            if let Some(since) = account.disabled_at {
                told += &format!("\nit is disabled since {since}, and stays so: \"users enable\" enables it");
            }
            Ok(told)
        }
        UserTask::Disable { email, disabled } => {
            identity.set_disabled(&email, disabled, origin).await.map_err(in_words)?;
            Ok(if disabled {
                format!("{email} is disabled; its tokens have ended")
            } else {
                format!("{email} is enabled")
            })
        }
    }
}

/// Whether a role can mean anything here.
pub(super) fn knows_role(settings: &Settings, role: &str) -> bool {
    let default = settings.identity.as_ref().is_some_and(|identity| &*identity.default_role == role);
    default || settings.gate.roles.knows(role)
}

/// What to say of a role that nobody could do anything with.
pub(super) fn no_role(settings: &Settings, role: &str) -> Failure {
    let default = settings.identity.as_ref().map(|identity| &*identity.default_role);
    let names = role_names(&settings.gate.roles, default.unwrap_or("viewer"));
    Failure::Usage(format!("there is no role {role:?} in this configuration; the roles are {}", names.join(", ")))
}

fn show(details: &AccountDetails) -> String {
    let account = &details.account;
    let state = match account.disabled_at {
        Some(at) => format!("disabled since {at}"),
        None => "active".to_owned(),
    };
    let lines = [
        ("id", account.id.as_str()),
        ("email", &account.email),
        ("name", account.name.as_deref().unwrap_or("-")),
        ("role", &account.role),
        ("plan", &account.plan),
        ("state", &state),
        ("created", &account.created_at.to_rfc3339()),
        ("sessions", &details.sessions.to_string()),
        ("password", details.hash),
    ];
    lines.map(|(name, value)| format!("{name:<9} {value}")).join("\n")
}

async fn export(identity: &Identity, file: &Path, with_hashes: bool) -> Result<String, Failure> {
    let failed = |error: std::io::Error| Failure::Run(format!("cannot write {}: {error}", file.display()));
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).map_err(failed)?;
    let mut output = BufWriter::new(made);
    let count = identity.export(with_hashes, &mut output, Origin::default()).await.map_err(Failure::run)?;
    output.flush().map_err(failed)?;
    output.get_ref().sync_all().map_err(failed)?;
    Ok(format!("{count} accounts are in {}", file.display()))
}
