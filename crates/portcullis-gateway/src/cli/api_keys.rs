//! `portcullis api-keys …`: keys of programs, which act for an account (T9).

use std::fmt::Write as _;
use std::time::Duration;

use clap::Subcommand;
use portcullis_core::HumanDuration;
use portcullis_identity::{AccountName, ApiKeyInfo, Identity, MadeApiKey, NewApiKey, Origin};

use super::args::Deployment;
use super::process::in_words;
use super::{Commands, Console, Failure, deployed, load};

#[derive(Debug, Subcommand)]
pub(super) enum ApiKeysCommand {
    /// Make a key for an account; it is printed once.
    Create {
        /// The e-mail address of the account that it acts for.
        #[arg(long)]
        email: String,
        /// What it is called in lists.
        #[arg(long)]
        name: String,
        /// A permission that it is restricted to, such as posts:read or posts:*; may be given several times. Without one it
        /// may do what the account may.
        #[arg(long)]
        scope: Vec<String>,
        /// A plan of its own, instead of the account's.
        #[arg(long)]
        plan: Option<String>,
        /// How long it lives, such as 90d. Default: for ever.
        #[arg(long, value_name = "TIME")]
        expires: Option<HumanDuration>,
        #[command(flatten)]
        deployment: Deployment,
    },
    /// List the living keys of an account.
    List {
        /// The e-mail address of the account.
        #[arg(long)]
        email: String,
        #[command(flatten)]
        deployment: Deployment,
    },
    /// Make the successor of a key; it is printed once.
    Rotate {
        /// The key's id, as "list" shows it.
        id: String,
        /// The e-mail address of the account.
        #[arg(long)]
        email: String,
        /// How long the old key goes on, 0 or 1m to 30d.
        #[arg(long, value_name = "TIME", default_value = "1d")]
        overlap: HumanDuration,
        #[command(flatten)]
        deployment: Deployment,
    },
    /// End a key, everywhere within a second.
    Revoke {
        /// The key's id, as "list" shows it.
        id: String,
        /// The e-mail address of the account.
        #[arg(long)]
        email: String,
        #[command(flatten)]
        deployment: Deployment,
    },
}

/// What to do with the keys of an account.
#[derive(Clone, Debug)]
pub struct ApiKeyTask {
    /// The account's address.
    pub email: String,
    /// What to do.
    pub action: ApiKeyAction,
}

/// What to do with API keys.
#[derive(Clone, Debug)]
pub enum ApiKeyAction {
    /// Make one.
    Create(NewApiKey),
    /// List them.
    List,
    /// Make the successor of one.
    Rotate {
        /// Its id.
        id: String,
        /// How long the old one goes on.
        overlap: Duration,
    },
    /// End one.
    Revoke {
        /// Its id.
        id: String,
    },
}

/// Turns what was typed into what to do.
pub(super) fn dispatch(
    command: ApiKeysCommand,
    commands: &dyn Commands,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let (email, action, deployment) = match command {
        ApiKeysCommand::Create { email, name, scope, plan, expires, deployment } => {
            let scopes = (!scope.is_empty()).then_some(scope);
            let new = NewApiKey { name, scopes, plan, expires_in: expires.map(|HumanDuration(life)| life) };
            (email, ApiKeyAction::Create(new), deployment)
        }
        ApiKeysCommand::List { email, deployment } => (email, ApiKeyAction::List, deployment),
        ApiKeysCommand::Rotate { id, email, overlap: HumanDuration(overlap), deployment } => {
            (email, ApiKeyAction::Rotate { id, overlap }, deployment)
        }
        ApiKeysCommand::Revoke { id, email, deployment } => (email, ApiKeyAction::Revoke { id }, deployment),
    };
    let settings = load(&deployed(deployment), console)?;
    console.say(commands.manage_api_keys(settings, ApiKeyTask { email, action })?);
    Ok(())
}

/// Does it.
pub(super) async fn run(identity: &Identity, task: ApiKeyTask) -> Result<String, Failure> {
    let origin = Origin::default();
    let account = identity.account_details(AccountName::Email(&task.email)).await.map_err(in_words)?.account.id;
    match task.action {
        ApiKeyAction::Create(new) => {
            Ok(shown(&identity.create_api_key(&account, new, origin).await.map_err(in_words)?))
        }
        ApiKeyAction::List => Ok(table(&identity.api_keys(&account).await.map_err(in_words)?)),
        ApiKeyAction::Rotate { id, overlap } => {
            Ok(shown(&identity.rotate_api_key(&account, &id, overlap, origin).await.map_err(in_words)?))
        }
        ApiKeyAction::Revoke { id } => {
            identity.revoke_api_key(&account, &id, origin).await.map_err(in_words)?;
            Ok(format!("the API key {id} has ended"))
        }
    }
}

fn shown(made: &MadeApiKey) -> String {
    format!(
        "id:  {}\nkey: {}\nthe key is shown this once; keep it where the program finds it",
        made.info.id,
        made.key.expose()
    )
}

fn table(keys: &[ApiKeyInfo]) -> String {
    let mut text =
        format!("{:<36}  {:<9} {:<24}  {:<24}  {:<24}  {}", "id", "start", "created", "expires", "last used", "name");
    let time = |at: Option<portcullis_core::Timestamp>, none: &str| at.map_or(none.to_owned(), |at| at.to_rfc3339());
    for key in keys {
        let (expires, used) = (time(key.expires_at, "never"), time(key.last_used_at, "not yet"));
        let created = key.created_at.to_rfc3339();
        let _ =
            write!(text, "\n{:<36}  {:<9} {created:<24}  {expires:<24}  {used:<24}  {}", key.id, key.start, key.name);
        if let Some(scopes) = &key.scopes {
            let _ = write!(text, " [{}]", scopes.join(" "));
        }
    }
    text
}
