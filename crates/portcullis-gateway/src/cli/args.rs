//! What can be typed.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, Subcommand};

use super::api_keys::ApiKeysCommand;
use super::limits::LimitsCommand;
use super::reputation::ReputationCommand;
use super::tokens::TokensCommand;
use super::users::UsersCommand;

/// Stands in front of an HTTP API and decides who enters, what they may do, and how often.
#[derive(Debug, Parser)]
#[command(name = "portcullis", version, about, max_term_width = 100, propagate_version = true)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Guard an API.
    ///
    /// With --upstream alone this is a safe gateway: identity endpoints under /auth, a login for everything else, limits
    /// and security headers on. SIGHUP loads the file again, SIGTERM lets requests under way finish.
    Serve(ServeArgs),
    /// Tell everything that is wrong or risky in a configuration file.
    ///
    /// The exit code is 2 if it has errors, 0 otherwise.
    Check {
        /// The file.
        file: PathBuf,
    },
    /// Write a commented configuration file to start from.
    Init {
        /// Where to write it; an existing file is never overwritten.
        #[arg(default_value = "portcullis.toml")]
        path: PathBuf,
    },
    /// Print the JSON Schema of the configuration file, for editors.
    Schema,
    /// Create, import, export, list and change accounts.
    #[command(subcommand)]
    Users(UsersCommand),
    /// List, rotate, import and export the keys that sign tokens.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Create, list, rotate and revoke API keys, by which programs act for an account.
    #[command(subcommand)]
    ApiKeys(ApiKeysCommand),
    /// Revoke a single access token, or everybody's sessions.
    #[command(subcommand)]
    Tokens(TokensCommand),
    /// List the limits of the running gate, tell how one stands towards somebody, change that.
    #[command(subcommand)]
    Limits(LimitsCommand),
    /// Tell what the running gate thinks of addresses, or have it forget one.
    #[command(subcommand)]
    Reputation(ReputationCommand),
    /// Tell stage by stage what the gate would answer to a request, and why.
    ///
    /// Nothing is forwarded and no limit is charged.
    Explain(ExplainArgs),
    /// Start a sample API, a gate in front of it and a tour of commands to try.
    Demo {
        /// Start the sample API alone.
        #[arg(long)]
        upstream_only: bool,
        /// Where the gate listens, or the sample API if it is started alone.
        #[arg(long, value_name = "ADDRESS")]
        listen: Option<SocketAddr>,
        /// Where the admin listener is.
        #[arg(long, value_name = "ADDRESS", conflicts_with = "upstream_only")]
        admin: Option<SocketAddr>,
        /// Where the sample API behind the gate listens.
        #[arg(long, value_name = "ADDRESS", conflicts_with = "upstream_only")]
        upstream_listen: Option<SocketAddr>,
        /// Where the demo keeps its state.
        #[arg(long, value_name = "DIRECTORY", conflicts_with = "upstream_only")]
        state_dir: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
#[group(skip)]
#[command(group = ArgGroup::new("origin").args(["upstream", "config"]).required(true))]
pub(super) struct ServeArgs {
    /// The API to guard, such as http://127.0.0.1:3000; everything else by default.
    #[arg(long, value_name = "URL")]
    pub(super) upstream: Option<String>,
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Where clients connect, instead of what the file says; may be given several times.
    #[arg(long, value_name = "ADDRESS")]
    pub(super) listen: Vec<SocketAddr>,
    /// Where state is kept, instead of what the file says.
    #[arg(long, value_name = "DIRECTORY")]
    pub(super) state_dir: Option<PathBuf>,
}

/// Which deployment an operator means.
#[derive(Debug, Args)]
pub(super) struct Deployment {
    /// The configuration file; without it the defaults apply.
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Where state is kept, instead of what the file says.
    #[arg(long, value_name = "DIRECTORY")]
    pub(super) state_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(super) enum KeysCommand {
    /// List the keys with their algorithm, age and state.
    List {
        #[command(flatten)]
        deployment: Deployment,
    },
    /// Sign with a new key from now on; the old one verifies until its last token has expired.
    Rotate {
        #[command(flatten)]
        deployment: Deployment,
    },
    /// Sign with the private key of a file from now on; the old one verifies until its last token has expired.
    ///
    /// The file holds one private key in PEM without a passphrase: PKCS#8, SEC 1 or PKCS#1, of the kind that the algorithm of
    /// [tokens] takes. It is kept encrypted under the master key; the file may be deleted.
    Import {
        /// The file; "-" for standard input.
        file: PathBuf,
        #[command(flatten)]
        deployment: Deployment,
    },
    /// Print the public keys that verify tokens, as a JWK Set (RFC 7517).
    ExportPublic {
        /// As PEM instead, each with a line that names it.
        #[arg(long)]
        pem: bool,
        #[command(flatten)]
        deployment: Deployment,
    },
}

#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct ExplainArgs {
    /// The request: a method and a target, such as 'GET /projects?page=2'.
    pub(super) request: String,
    /// The access token it carries.
    #[arg(long, conflicts_with = "token_file")]
    pub(super) token: Option<String>,
    /// The file that holds the access token; "-" for standard input.
    #[arg(long, value_name = "FILE")]
    pub(super) token_file: Option<PathBuf>,
    /// The address it comes from.
    #[arg(long, default_value = "127.0.0.1")]
    pub(super) address: IpAddr,
    /// A header it carries, as 'Name: value'; may be given several times.
    #[arg(long, value_name = "HEADER")]
    pub(super) header: Vec<String>,
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// The API that would be guarded, everything else by default.
    #[arg(long, value_name = "URL", conflicts_with = "config")]
    pub(super) upstream: Option<String>,
    /// Where state is kept, instead of what the file says.
    #[arg(long, value_name = "DIRECTORY")]
    pub(super) state_dir: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn serve_takes_exactly_one_origin() {
        assert!(Cli::try_parse_from(["portcullis", "serve"]).is_err());
        assert!(Cli::try_parse_from(["portcullis", "serve", "--upstream", "u", "--config", "c"]).is_err());
        assert!(Cli::try_parse_from(["portcullis", "serve", "--upstream", "u", "--listen", "127.0.0.1:0"]).is_ok());
        assert!(Cli::try_parse_from(["portcullis", "serve", "--config", "c"]).is_ok());
    }
}
