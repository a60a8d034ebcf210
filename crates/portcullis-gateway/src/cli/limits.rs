//! `portcullis limits …`: the limits of the running gate (L6).

use std::fmt::Write as _;
use std::net::IpAddr;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::args::Deployment;
use super::operator::Operator;
use super::{Commands, Console, Failure, deployed, load};
use crate::admin::WhomBody;

#[derive(Debug, Subcommand)]
pub(super) enum LimitsCommand {
    /// List the limits with what they count, by what, and how much they allow.
    List {
        #[command(flatten)]
        deployment: Deployment,
    },
    /// Tell how a limit stands towards somebody; nothing is charged.
    Show {
        /// The limit's name.
        limit: String,
        #[command(flatten)]
        whom: WhomArgs,
        #[command(flatten)]
        deployment: Deployment,
    },
    /// Forget all that a limit has counted against somebody.
    Reset {
        /// The limit's name.
        limit: String,
        #[command(flatten)]
        whom: WhomArgs,
        #[command(flatten)]
        deployment: Deployment,
    },
}

/// Whom a limit counts: say what it counts by. For what is left out, the address stands in.
#[derive(Debug, Args)]
pub(super) struct WhomArgs {
    /// The client's address.
    #[arg(long)]
    address: Option<IpAddr>,
    /// The user: an account's address or id; with --issuer, the subject of that issuer's tokens.
    #[arg(long)]
    user: Option<String>,
    /// The name of another issuer in the configuration.
    #[arg(long, value_name = "NAME", requires = "user")]
    issuer: Option<String>,
    /// Another role than the account's.
    #[arg(long)]
    role: Option<String>,
    /// Another plan than the account's.
    #[arg(long)]
    plan: Option<String>,
    /// The id of a session.
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// The id of an API key.
    #[arg(long, value_name = "ID")]
    api_key: Option<String>,
    /// The route's pattern as the configuration spells it, such as "GET /projects".
    #[arg(long, value_name = "PATTERN")]
    route: Option<String>,
    /// A header by which the limit counts.
    #[arg(long, value_name = "NAME: VALUE")]
    header: Option<String>,
}

impl From<WhomArgs> for WhomBody {
    fn from(args: WhomArgs) -> Self {
        let WhomArgs { address, user, issuer, role, plan, session, api_key, route, header } = args;
        Self { address, user, issuer, role, plan, session, api_key, route, header }
    }
}

/// What to do with a limit of the running gate.
#[derive(Clone, Debug)]
pub enum LimitTask {
    /// Tell what there is.
    List,
    /// Tell how one stands.
    Show(String, WhomBody),
    /// Start one anew.
    Reset(String, WhomBody),
}

/// Turns what was typed into what to do.
pub(super) fn dispatch(
    command: LimitsCommand,
    commands: &dyn Commands,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let (task, deployment) = match command {
        LimitsCommand::List { deployment } => (LimitTask::List, deployment),
        LimitsCommand::Show { limit, whom, deployment } => (LimitTask::Show(limit, whom.into()), deployment),
        LimitsCommand::Reset { limit, whom, deployment } => (LimitTask::Reset(limit, whom.into()), deployment),
    };
    let settings = load(&deployed(deployment), console)?;
    console.say(commands.manage_limits(settings, task)?);
    Ok(())
}

/// Asks the running gate; returns what to print.
pub(super) async fn run(operator: &Operator, task: LimitTask) -> Result<String, Failure> {
    match task {
        LimitTask::List => Ok(table(&operator.get("/api/limits").await?)),
        LimitTask::Show(limit, whom) => {
            let query = query_of(&whom)?;
            let shown = operator.get(&format!("/api/limits/{}?{query}", escaped(&limit))).await?;
            if shown["exempt"] == true {
                return Ok(format!("{limit} does not hold for them: their role is exempt"));
            }
            let (quota, remaining) = (&shown["quota"], &shown["remaining"]);
            let full = shown["resetAt"].as_str().unwrap_or_default();
            Ok(format!("{limit}: {remaining} of {quota} left, all of it at {full} if nothing else is spent"))
        }
        LimitTask::Reset(limit, whom) => {
            let body = serde_json::to_value(whom).map_err(Failure::run)?;
            let answer = operator.post(&format!("/api/limits/{}/reset", escaped(&limit)), &body).await?;
            Ok(if answer["reset"] == true {
                format!("{limit} counts anew for them")
            } else {
                format!("{limit} had counted nothing against them")
            })
        }
    }
}

/// The limits, a line each.
fn table(answer: &Value) -> String {
    let mut text =
        format!("{:<16} {:<24} {:<8} {:<16} {}", "name", "algorithm", "mode", "key", "quota, and what it counts");
    for limit in answer["limits"].as_array().into_iter().flatten() {
        let word = |name: &str| limit[name].as_str().unwrap_or_default();
        let words = |name: &str| {
            let list = limit[name].as_array().into_iter().flatten().filter_map(Value::as_str);
            list.collect::<Vec<_>>().join(", ")
        };
        let quota = limit["quota"].as_object().into_iter().flatten().map(|(plan, quota)| {
            let quota = quota.as_str().unwrap_or_default();
            if plan == "quota" { quota.to_owned() } else { format!("{plan} {quota}") }
        });
        let quota = quota.collect::<Vec<_>>().join("; ");
        let _ = write!(
            text,
            "\n{:<16} {:<24} {:<8} {:<16} {quota} on {}",
            word("name"),
            word("algorithm"),
            word("mode"),
            words("key"),
            words("match")
        );
    }
    text
}

/// A text as one segment of a path.
fn escaped(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

/// What somebody is described by, as a query.
fn query_of(whom: &WhomBody) -> Result<String, Failure> {
    let members = serde_json::to_value(whom).map_err(Failure::run)?;
    let pairs = members.as_object().into_iter().flatten();
    let pairs = pairs.map(|(name, value)| format!("{name}={}", escaped(value.as_str().unwrap_or_default())));
    Ok(pairs.collect::<Vec<_>>().join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_operator_types_cannot_break_out_of_a_path_or_a_query() {
        assert_eq!(escaped("a/../b?c=d&e\r\nf é"), "a%2F..%2Fb%3Fc%3Dd%26e%0D%0Af%20%C3%A9");
        let whom = WhomBody { user: Some("a&role=admin".into()), ..WhomBody::default() };
        assert_eq!(query_of(&whom).unwrap(), "user=a%26role%3Dadmin");
    }

    #[test]
    fn the_table_tells_quotas_by_plan() {
        let answer = serde_json::json!({ "limits": [{
            "name": "user", "algorithm": "sliding-window-counter", "mode": "enforce", "key": ["user"],
            "quota": { "free": "60 per 1m", "otherwise": "60 per 1m" }, "match": ["/**", "GET /x"],
        }] });
        let told = table(&answer);
        assert!(told.ends_with("free 60 per 1m; otherwise 60 per 1m on /**, GET /x"), "{told}");
    }
}
