//! `portcullis tokens …`: what an operator does with a single access token (T7).

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::{ArgGroup, Args, Subcommand};

use super::args::Deployment;
use super::{Commands, Console, Failure, deployed, load, read_secret};

#[derive(Debug, Subcommand)]
pub(super) enum TokensCommand {
    /// Make one access token void, everywhere within a second. Its session lives on; "users revoke" ends those.
    Revoke(RevokeArgs),
}

#[derive(Debug, Args)]
#[group(skip)]
#[command(group = ArgGroup::new("which").args(["jti", "token_file"]).required(true))]
pub(super) struct RevokeArgs {
    /// The token's claim jti.
    #[arg(long)]
    jti: Option<String>,
    /// The file that holds the token; "-" for standard input.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    deployment: Deployment,
}

/// Turns what was typed into what to do.
pub(super) fn dispatch(
    command: TokensCommand,
    commands: &dyn Commands,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let TokensCommand::Revoke(RevokeArgs { jti, token_file, deployment }) = command;
    let jti = match (jti, token_file) {
        (Some(jti), _) => jti,
        (None, Some(file)) => {
            let token = read_secret(&file)?;
            jti_of(token.expose())
                .ok_or_else(|| Failure::Usage(format!("{} holds no access token with a claim jti", file.display())))?
        }
        (None, None) => return Err(Failure::Usage("give --jti or --token-file".to_owned())),
    };
    let settings = load(&deployed(deployment), console)?;
    console.say(commands.revoke_token(settings, &jti)?);
    Ok(())
}

/// The `jti` of a token, believed as it stands: to revoke what nobody signed does no harm.
fn jti_of(token: &str) -> Option<String> {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&payload).ok()?;
    claims["jti"].as_str().map(str::to_owned)
}
