//! What can be typed after `users`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::cli::args::Deployment;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum UsersCommand {
    /// Create a verified account, such as the first admin.
    ///
    /// Its password is read from the file of --password-file, or made at random and printed once.
    Create {
        /// The e-mail address it logs in with.
        #[arg(long)]
        email: String,
        /// Its role; may be given several times.
        #[arg(long, default_value = "viewer")]
        role: Vec<String>,
        /// Its owner's name.
        #[arg(long)]
        name: Option<String>,
        /// Its plan, instead of the configured default.
        #[arg(long)]
        plan: Option<String>,
        /// The file that holds its password; "-" for standard input. A password is never taken from the command line,
        /// which every user of the machine can read.
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
        #[command(flatten)]
        deployment: Deployment,
    },
    /// List the accounts.
    List {
        #[command(flatten)]
        deployment: Deployment,
    },
    /// Bring users of another system along with the hashes of their passwords.
    ///
    /// Columns: email, name, role, plan, verified, disabled, password_hash, created_at, id. An account that exists is never
    /// changed, so an import that was stopped can be started again. The exit code is 1 if a row was refused.
    Import(ImportArgs),
    /// Write every account as JSON lines that "users import" reads.
    Export {
        /// Where to write them (mode 0600); an existing file is never overwritten.
        file: PathBuf,
        /// With the hashes of the passwords. Dangerous: whoever reads the file can try passwords as fast as they like.
        #[arg(long)]
        with_hashes: bool,
        #[command(flatten)]
        deployment: Deployment,
    },
    /// Show one account.
    Show(Whose),
    /// Give an account another role; its tokens end.
    Role {
        /// The e-mail address.
        email: String,
        /// The role.
        role: String,
        #[command(flatten)]
        deployment: Deployment,
    },
    /// Give an account another plan; its tokens end.
    Plan {
        /// The e-mail address.
        email: String,
        /// The plan.
        plan: String,
        #[command(flatten)]
        deployment: Deployment,
    },
    /// Disable an account; its tokens end and it cannot log in.
    Disable(Whose),
    /// Enable an account again.
    Enable(Whose),
    /// Forget the failures that limits count against an account, such as wrong present passwords (the preset limit "auth"), on
    /// every instance within a second.
    ///
    /// It does not enable a disabled account ("users enable" does), and limits that count by address, such as "login", go on.
    Unlock(Whose),
    /// End every session of an account; it can log in again.
    Revoke(Whose),
    /// Delete an account with its sessions; its tokens end.
    Delete {
        /// The e-mail address.
        email: String,
        /// Really.
        #[arg(long, required = true)]
        yes: bool,
        #[command(flatten)]
        deployment: Deployment,
    },
}

/// Which account of which deployment.
#[derive(Debug, Args)]
pub(in crate::cli) struct Whose {
    /// The e-mail address.
    pub(super) email: String,
    #[command(flatten)]
    pub(super) deployment: Deployment,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ImportArgs {
    /// The file; "-" for standard input.
    pub(super) file: PathBuf,
    /// How it is written. Default: by its name, .csv or .jsonl, .ndjson, .json.
    #[arg(long, value_enum)]
    pub(super) format: Option<Format>,
    /// Check every row and write none.
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Take addresses of which the file does not say so for confirmed.
    #[arg(long)]
    pub(super) assume_verified: bool,
    /// A column to pass over; may be given several times.
    #[arg(long, value_name = "COLUMN")]
    pub(super) ignore_column: Vec<String>,
    /// Where to write each row that was not imported, with line, address and reason, as JSON lines (mode 0600).
    #[arg(long, value_name = "FILE")]
    pub(super) report: Option<PathBuf>,
    #[command(flatten)]
    pub(super) deployment: Deployment,
}

/// How a file is written.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(in crate::cli) enum Format {
    /// One JSON object a line.
    Json,
    /// RFC 4180 with a header.
    Csv,
}
