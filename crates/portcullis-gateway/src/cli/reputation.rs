//! `portcullis reputation …`: what the running gate thinks of addresses (L12).

use std::net::IpAddr;

use clap::Subcommand;
use serde_json::Value;

use super::args::Deployment;
use super::operator::Operator;
use super::{Commands, Console, Failure, deployed, load};

#[derive(Debug, Subcommand)]
pub(super) enum ReputationCommand {
    /// List the hundred addresses of which the worst is known.
    List {
        #[command(flatten)]
        deployment: Deployment,
    },
    /// Tell what is thought of an address.
    Show {
        /// The client's address; of IPv6 its network is meant.
        #[arg(long)]
        address: IpAddr,
        #[command(flatten)]
        deployment: Deployment,
    },
    /// Forget all that is known of an address.
    Forget {
        /// The client's address; of IPv6 its network is meant.
        #[arg(long)]
        address: IpAddr,
        #[command(flatten)]
        deployment: Deployment,
    },
}

/// What to ask the running gate about addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReputationTask {
    /// Tell the worst.
    List,
    /// Tell what is thought of one.
    Show(IpAddr),
    /// Forget one.
    Forget(IpAddr),
}

/// Turns what was typed into what to do.
pub(super) fn dispatch(
    command: ReputationCommand,
    commands: &dyn Commands,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let (task, deployment) = match command {
        ReputationCommand::List { deployment } => (ReputationTask::List, deployment),
        ReputationCommand::Show { address, deployment } => (ReputationTask::Show(address), deployment),
        ReputationCommand::Forget { address, deployment } => (ReputationTask::Forget(address), deployment),
    };
    let settings = load(&deployed(deployment), console)?;
    console.say(commands.manage_reputation(settings, task)?);
    Ok(())
}

/// Asks the running gate; returns what to print.
pub(super) async fn run(operator: &Operator, task: ReputationTask) -> Result<String, Failure> {
    match task {
        ReputationTask::List => {
            let answer = operator.get("/api/reputation").await?;
            let known = answer["addresses"].as_array().map(Vec::as_slice).unwrap_or_default();
            if known.is_empty() {
                return Ok("nothing is known of any address".to_owned());
            }
            Ok(known.iter().map(line).collect::<Vec<_>>().join("\n"))
        }
        ReputationTask::Show(address) => Ok(line(&operator.get(&format!("/api/reputation/{address}")).await?)),
        ReputationTask::Forget(address) => {
            let answer = operator.post(&format!("/api/reputation/{address}/forget"), &Value::Null).await?;
            Ok(if answer["forgotten"] == true {
                format!("nothing is known of {address} any more")
            } else {
                format!("nothing was known of {address}")
            })
        }
    }
}

/// One address.
fn line(known: &Value) -> String {
    let word = |name: &str| known[name].as_str().unwrap_or_default();
    let challenged = known["challengedUntil"].as_str().map(|until| format!(", challenged until {until}"));
    let score = known["score"].as_f64().unwrap_or_default();
    format!("{:<24} {:<8} score {score:.1}{}", word("address"), word("class"), challenged.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_line() {
        let known = serde_json::json!({ "address": "2001:db8::/64", "class": "bad", "score": 312.04 });
        assert_eq!(line(&known), "2001:db8::/64            bad      score 312.0");
    }
}
