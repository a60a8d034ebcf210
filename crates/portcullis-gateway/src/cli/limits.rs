//! `portcullis limits …`: the limits of the running gate (L6).

use std::fmt::Write as _;
use std::net::IpAddr;

use clap::{Args, Subcommand};
use portcullis_core::HumanDuration;
use serde_json::{Value, json};

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
    /// Compare limits that only report with those that they may replace: what they said of the same requests.
    ///
    /// On the gate that is asked, since it started or a reload changed one of the two. With several gates, add up
    /// portcullis_limit_compared_total of all of them.
    Compare {
        #[command(flatten)]
        deployment: Deployment,
    },
    /// Tell how a limit stands towards somebody; nothing is charged.
    ///
    /// Networks that a limit exempts are counted apart. Without --address somebody elsewhere is meant, by the commands that change
    /// something too.
    Show {
        /// The limit's name.
        limit: String,
        #[command(flatten)]
        whom: WhomArgs,
        #[command(flatten)]
        deployment: Deployment,
    },
    /// Forget all that a limit has counted against somebody, and lift their block.
    Reset {
        /// The limit's name.
        limit: String,
        #[command(flatten)]
        whom: WhomArgs,
        #[command(flatten)]
        deployment: Deployment,
    },
    /// Take units of what somebody has left of a limit; never more than that.
    Penalty {
        /// The limit's name.
        limit: String,
        /// How many units.
        #[arg(long, value_name = "UNITS", value_parser = clap::value_parser!(u64).range(1..))]
        by: u64,
        #[command(flatten)]
        whom: WhomArgs,
        #[command(flatten)]
        deployment: Deployment,
    },
    /// Give somebody units of a limit back, until nothing of the quota lacks.
    Reward {
        /// The limit's name.
        limit: String,
        /// How many units.
        #[arg(long, value_name = "UNITS", value_parser = clap::value_parser!(u64).range(1..))]
        by: u64,
        #[command(flatten)]
        whom: WhomArgs,
        #[command(flatten)]
        deployment: Deployment,
    },
    /// Make a limit refuse somebody for a time, whatever they have left.
    ///
    /// On every gate that shares the store of the limits, within a second. What was counted against them is forgotten: when the
    /// block is over they begin anew. While the store is away it holds on the gates that know of it.
    Block {
        /// The limit's name.
        limit: String,
        /// For how long, such as "1h" or "1h 30m": a second at least, 366 days at most.
        #[arg(long = "for", value_name = "TIME")]
        how_long: HumanDuration,
        #[command(flatten)]
        whom: WhomArgs,
        #[command(flatten)]
        deployment: Deployment,
    },
    /// Lift a block; what is counted against somebody who is not blocked stays.
    Unblock {
        /// The limit's name.
        limit: String,
        #[command(flatten)]
        whom: WhomArgs,
        #[command(flatten)]
        deployment: Deployment,
    },
    /// Say that the Redis of the limits has lost nothing, so that leased limits which are closed open again.
    ///
    /// On every gate that shares it, within a second. They are closed for a window after Redis was emptied, restarted or replaced
    /// by a replica. If it has lost something all the same, that is counted anew: say it only if you know.
    Reopen {
        #[command(flatten)]
        deployment: Deployment,
    },
}

/// Whom a limit counts: say what it counts by. For what a request may lack and is left out, the address stands in if it is said.
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
    /// A claim by which the limit counts, as tokens say it; once for each.
    #[arg(long, value_name = "NAME=VALUE")]
    claim: Vec<String>,
}

impl From<WhomArgs> for WhomBody {
    fn from(args: WhomArgs) -> Self {
        let WhomArgs { address, user, issuer, role, plan, session, api_key, route, header, claim } = args;
        Self { address, user, issuer, role, plan, session, api_key, route, header, claim }
    }
}

/// What to do with a limit of the running gate.
#[derive(Clone, Debug)]
pub enum LimitTask {
    /// Tell what there is.
    List,
    /// Tell what limits and those that may replace them said.
    Compare,
    /// Tell how one stands.
    Show(String, WhomBody),
    /// Start one anew.
    Reset(String, WhomBody),
    /// Take units.
    Penalty(String, WhomBody, u64),
    /// Give units back.
    Reward(String, WhomBody, u64),
    /// Refuse somebody for a time.
    Block(String, WhomBody, HumanDuration),
    /// Lift that.
    Unblock(String, WhomBody),
    /// Say that the store lost nothing.
    Reopen,
}

/// Turns what was typed into what to do.
pub(super) fn dispatch(
    command: LimitsCommand,
    commands: &dyn Commands,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let (task, deployment) = match command {
        LimitsCommand::List { deployment } => (LimitTask::List, deployment),
        LimitsCommand::Compare { deployment } => (LimitTask::Compare, deployment),
        LimitsCommand::Show { limit, whom, deployment } => (LimitTask::Show(limit, whom.into()), deployment),
        LimitsCommand::Reset { limit, whom, deployment } => (LimitTask::Reset(limit, whom.into()), deployment),
        LimitsCommand::Penalty { limit, by, whom, deployment } => {
            (LimitTask::Penalty(limit, whom.into(), by), deployment)
        }
        LimitsCommand::Reward { limit, by, whom, deployment } => {
            (LimitTask::Reward(limit, whom.into(), by), deployment)
        }
        LimitsCommand::Block { limit, how_long, whom, deployment } => {
            (LimitTask::Block(limit, whom.into(), how_long), deployment)
        }
        LimitsCommand::Unblock { limit, whom, deployment } => (LimitTask::Unblock(limit, whom.into()), deployment),
        LimitsCommand::Reopen { deployment } => (LimitTask::Reopen, deployment),
    };
    let settings = load(&deployed(deployment), console)?;
    console.say(commands.manage_limits(settings, task)?);
    Ok(())
}

/// Asks the running gate; returns what to print.
pub(super) async fn run(operator: &Operator, task: LimitTask) -> Result<String, Failure> {
    match task {
        LimitTask::List => Ok(table(&operator.get("/api/limits").await?)),
        LimitTask::Compare => Ok(comparisons(&operator.get("/api/comparisons").await?)),
        LimitTask::Show(limit, whom) => {
            let query = query_of(&whom)?;
            Ok(standing(&operator.get(&format!("/api/limits/{}?{query}", escaped(&limit))).await?))
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
        LimitTask::Penalty(limit, whom, units) => {
            let body = json!({ "whom": whom, "units": units });
            let answer = operator.post(&format!("/api/limits/{}/penalty", escaped(&limit)), &body).await?;
            Ok(format!("{} of {units} taken; {}", answer["units"], standing(&answer["standing"])))
        }
        LimitTask::Reward(limit, whom, units) => {
            let body = json!({ "whom": whom, "units": units });
            Ok(standing(&operator.post(&format!("/api/limits/{}/reward", escaped(&limit)), &body).await?))
        }
        LimitTask::Block(limit, whom, how_long) => {
            let body = json!({ "whom": whom, "for": how_long });
            let answer = operator.post(&format!("/api/limits/{}/block", escaped(&limit)), &body).await?;
            Ok(blocked(&limit, &answer))
        }
        LimitTask::Unblock(limit, whom) => {
            let body = serde_json::to_value(whom).map_err(Failure::run)?;
            let answer = operator.post(&format!("/api/limits/{}/unblock", escaped(&limit)), &body).await?;
            Ok(if answer["unblocked"] == true {
                format!("{limit} does not block them any more")
            } else {
                format!("{limit} did not block them")
            })
        }
        LimitTask::Reopen => {
            let answer = operator.post("/api/limit-store/reopen", &Value::Null).await?;
            Ok(if answer["reopened"] == true {
                "the store of the limits lost nothing, as you say: leases are open within a second".to_owned()
            } else {
                "the store of the limits knows of no loss: leases were open".to_owned()
            })
        }
    }
}

/// What a block does, in a sentence: only an enforced limit refuses.
fn blocked(limit: &str, answer: &Value) -> String {
    let until = answer["blockedUntil"].as_str().unwrap_or_default();
    match answer["mode"].as_str() {
        Some("report") => format!("{limit} only reports: it would refuse them until {until}"),
        Some("delay") => format!("{limit} slows them down until {until}; it refuses nobody"),
        _ => format!("{limit} refuses them until {until}"),
    }
}

/// How a limit stands, in a sentence.
fn standing(shown: &Value) -> String {
    let assumed = shown["assumed"].as_str().map(|assumed| format!(" (from {assumed}; tell another with --address)"));
    told_standing(shown) + &assumed.unwrap_or_default()
}

fn told_standing(shown: &Value) -> String {
    let limit = shown["limit"].as_str().unwrap_or_default();
    if shown["exempt"] == true {
        return format!("{limit} does not hold for them: their role is exempt");
    }
    if shown["blockedUntil"].is_string() {
        return blocked(limit, shown);
    }
    let (quota, remaining) = (&shown["quota"], &shown["remaining"]);
    let full = shown["resetAt"].as_str().unwrap_or_default();
    format!("{limit}: {remaining} of {quota} left, all of it at {full} if nothing else is spent")
}

/// The comparisons, a line each.
fn comparisons(answer: &Value) -> String {
    let pairs = answer["comparisons"].as_array().map(Vec::as_slice).unwrap_or_default();
    if pairs.is_empty() {
        return "no limit is compared with another: one that only reports says which one it \"replaces\"".to_owned();
    }
    let mut text = format!(
        "{:<16} {:<16} {:>10} {:>10} {:>11} {:>12} {:>16} since",
        "limit", "candidate", "requests", "both admit", "both refuse", "only limit", "only candidate"
    );
    for pair in pairs {
        let word = |name: &str| pair[name].as_str().unwrap_or_default();
        let number = |name: &str| pair[name].as_u64().unwrap_or_default();
        let since = pair["since"].as_str().unwrap_or("no request yet");
        let _ = write!(
            text,
            "\n{:<16} {:<16} {:>10} {:>10} {:>11} {:>12} {:>16} {since}",
            word("limit"),
            word("candidate"),
            number("requests"),
            number("bothAdmit"),
            number("bothRefuse"),
            number("onlyLimitRefuses"),
            number("onlyCandidateRefuses")
        );
    }
    for pair in pairs {
        let not_compared = pair["notCompared"].as_u64().unwrap_or_default();
        if let (1.., Some(candidate)) = (not_compared, pair["candidate"].as_str()) {
            let _ =
                write!(text, "\n{not_compared} refused requests were not compared with {candidate}, nor charged to it");
        }
    }
    text.push_str("\n\"only\" is what one refused alone: these requests would be decided otherwise after a switch");
    text
}

/// The limits, a line each.
fn table(answer: &Value) -> String {
    let mut text = format!(
        "{:<16} {:<24} {:<8} {:<8} {:<16} quota, and what it counts",
        "name", "algorithm", "mode", "store", "key"
    );
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
            "\n{:<16} {:<24} {:<8} {:<8} {:<16} {quota} on {}",
            word("name"),
            word("algorithm"),
            word("mode"),
            word("store"),
            words("key"),
            words("match")
        );
        let exempt = [words("exempt"), words("exemptAddresses")];
        let exempt = exempt.iter().filter(|names| !names.is_empty()).map(String::as_str).collect::<Vec<_>>().join(", ");
        if !exempt.is_empty() {
            let _ = match limit["ceiling"].as_str() {
                Some(ceiling) => write!(text, " ({ceiling} for {exempt})"),
                None => write!(text, " (not for {exempt})"),
            };
        }
        if limit["lease"] == true {
            text.push_str(" (leased)");
        }
        if let Some(live) = limit["replaces"].as_str() {
            let _ = write!(text, " (in place of {live}: portcullis limits compare)");
        }
        text.push_str(&choices(limit));
    }
    text
}

/// What has no column, where it is not as it is by default: nothing would be said of most limits.
fn choices(limit: &Value) -> String {
    let mut told = Vec::new();
    let cost = limit["cost"].as_object().into_iter().flatten().filter_map(|(what, cost)| Some((what, cost.as_u64()?)));
    let cost: Vec<String> = cost
        .filter(|(what, cost)| *what != "cost" || *cost != 1)
        .map(|(what, cost)| match what.as_str() {
            "cost" => cost.to_string(),
            header if header.starts_with("header:") => format!("{header} at most {cost}"),
            pattern => format!("{pattern} {cost}"),
        })
        .collect();
    if !cost.is_empty() {
        told.push(format!("cost {}", cost.join(", ")));
    }
    for (name, default) in [("count", "all"), ("scope", "everyone"), ("outage", "local")] {
        if let Some(word) = limit[name].as_str().filter(|word| *word != default) {
            told.push(format!("{name} {word}"));
        }
    }
    if told.is_empty() { String::new() } else { format!(" ({})", told.join("; ")) }
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
    let mut pairs = Vec::new();
    for (name, value) in members.as_object().into_iter().flatten() {
        // What may be said more than once is a list, and in a query a pair for each.
        let values = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        pairs.extend(values.iter().map(|value| format!("{name}={}", escaped(value.as_str().unwrap_or_default()))));
    }
    Ok(pairs.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_operator_types_cannot_break_out_of_a_path_or_a_query() {
        assert_eq!(escaped("a/../b?c=d&e\r\nf é"), "a%2F..%2Fb%3Fc%3Dd%26e%0D%0Af%20%C3%A9");
        let whom = WhomBody { user: Some("a&role=admin".into()), ..WhomBody::default() };
        assert_eq!(query_of(&whom).unwrap(), "user=a%26role%3Dadmin");
        let whom = WhomBody { claim: vec!["tenant=a&b".into(), "team=c".into()], ..WhomBody::default() };
        assert_eq!(query_of(&whom).unwrap(), "claim=tenant%3Da%26b&claim=team%3Dc");
    }

    #[test]
    fn l6_a_block_is_told_as_what_the_mode_makes_of_it() {
        let told = |mode: &str| blocked("login", &json!({ "blockedUntil": "2026-11-21T00:00:00Z", "mode": mode }));
        assert_eq!(told("enforce"), "login refuses them until 2026-11-21T00:00:00Z");
        assert_eq!(told("report"), "login only reports: it would refuse them until 2026-11-21T00:00:00Z");
        assert_eq!(told("delay"), "login slows them down until 2026-11-21T00:00:00Z; it refuses nobody");
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

    #[test]
    fn the_table_tells_who_is_exempt_and_what_is_leased() {
        let answer = serde_json::json!({ "limits": [
            { "name": "login", "quota": { "quota": "5 per 15m" }, "match": ["/**"], "lease": true, "ceiling": "9 per 15m",
              "exempt": ["admin"], "exemptAddresses": ["198.51.100.0/24"] },
            { "name": "user", "quota": { "quota": "60 per 1m" }, "match": ["/**"], "lease": false, "ceiling": null,
              "exempt": [], "exemptAddresses": ["192.0.2.7/32"] },
        ] });
        let told = table(&answer);
        let [login, user]: [&str; 2] = told.lines().skip(1).collect::<Vec<_>>().try_into().unwrap();
        assert!(login.ends_with("5 per 15m on /** (9 per 15m for admin, 198.51.100.0/24) (leased)"), "{told}");
        assert!(user.ends_with("60 per 1m on /** (not for 192.0.2.7/32)"), "{told}");
    }

    #[test]
    fn the_table_of_comparisons_tells_each_pair() {
        let answer = serde_json::json!({ "comparisons": [{
            "limit": "login", "candidate": "next", "requests": 10, "bothAdmit": 4, "bothRefuse": 3,
            "onlyLimitRefuses": 2, "onlyCandidateRefuses": 1, "notCompared": 7, "since": "2026-11-21T00:00:00Z",
        }] });
        let told = comparisons(&answer);
        let line = told.lines().nth(1).unwrap().split_whitespace().collect::<Vec<_>>();
        assert_eq!(line, ["login", "next", "10", "4", "3", "2", "1", "2026-11-21T00:00:00Z"], "{told}");
        assert!(told.contains("\n7 refused requests were not compared with next, nor charged to it\n"), "{told}");
        assert!(comparisons(&serde_json::json!({ "comparisons": [] })).starts_with("no limit is compared"));
    }

    #[test]
    fn the_table_tells_what_else_is_not_as_by_default() {
        let limit = |name: &str, cost: Value, rest: [&str; 3]| {
            let [count, scope, outage] = rest;
            json!({ "name": name, "quota": { "quota": "9 per 1m" }, "match": ["/**"], "cost": cost, "count": count,
                    "scope": scope, "outage": outage })
        };
        let plain = ["all", "everyone", "local"];
        let told = table(&json!({ "limits": [
            limit("plain", json!({ "cost": 1 }), plain),
            limit("dear", json!({ "cost": 10 }), ["failures", "anonymous", "closed"]),
            limit("routes", json!({ "GET /export": 10, "otherwise": 1 }), ["401, 403, 500-599", "everyone", "open"]),
            limit("rows", json!({ "header:x-rows": 100, "otherwise": 1 }), plain),
        ] }));
        let ends: Vec<_> = told.lines().skip(1).filter_map(|line| Some(line.split_once("on /**")?.1)).collect();
        let expected = [
            "",
            " (cost 10; count failures; scope anonymous; outage closed)",
            " (cost GET /export 10, otherwise 1; count 401, 403, 500-599; outage open)",
            " (cost header:x-rows at most 100, otherwise 1)",
        ];
        assert_eq!(ends, expected, "{told}");
    }
}
