//! `portcullis tokens …`: the end of a single access token, or of everybody's sessions (T7).

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::{ArgGroup, Args, Subcommand};

use super::args::Deployment;
use super::{Commands, Console, Failure, deployed, load, read_secret};

#[derive(Debug, Subcommand)]
pub(super) enum TokensCommand {
    /// Make one access token void, or end every session of everybody, on every instance within a second.
    ///
    /// The session of the one token lives on; "users revoke" ends those of one account. --all ends all there are, with their
    /// tokens and with links that were mailed; passwords and API keys stay what they were.
    Revoke(RevokeArgs),
}

#[derive(Debug, Args)]
#[group(skip)]
#[command(group = ArgGroup::new("which").args(["jti", "token_file", "all"]).required(true))]
pub(super) struct RevokeArgs {
    /// The token's claim jti.
    #[arg(long)]
    jti: Option<String>,
    /// The file that holds the token; "-" for standard input.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Every session of every account.
    #[arg(long, requires = "yes")]
    all: bool,
    /// Really everybody.
    #[arg(long, requires = "all", conflicts_with_all = ["jti", "token_file"])]
    yes: bool,
    #[command(flatten)]
    deployment: Deployment,
}

/// Turns what was typed into what to do.
pub(super) fn dispatch(
    command: TokensCommand,
    commands: &dyn Commands,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let TokensCommand::Revoke(RevokeArgs { jti, token_file, all, yes: _, deployment }) = command;
    if all {
        let settings = load(&deployed(deployment), console)?;
        console.say(commands.revoke_everybody(settings)?);
        return Ok(());
    }
    let jti = match (jti, token_file) {
        (Some(jti), _) => jti,
        (None, Some(file)) => {
            let token = read_secret(&file)?;
            jti_of(token.expose())
                .ok_or_else(|| Failure::Usage(format!("{} holds no access token with a claim jti", file.display())))?
        }
        (None, None) => return Err(Failure::Usage("give --jti, --token-file or --all".to_owned())),
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
