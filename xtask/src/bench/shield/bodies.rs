//! What a schema adds to a POST of 1 KiB: the same gateway, the same body, one route with it and one without; and the same in
//! Express with zod and in Fastify.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::stage::{Line, Running, Stage, request};
use super::{Measured, Options};
use crate::bench::check;
use crate::bench::figure::{Bar, Figure};
use crate::bench::peers;
use crate::process::free_port;

const JSON: &str = "Content-Type: application/json\r\n";
/// The schema that the tests have, too.
const SCHEMA: &str = include_str!("../../../../crates/portcullis-shield/tests/order.json");
/// The length of the order that is posted.
const LENGTH: usize = 1024;

pub(super) fn run(options: &Options, stage: &Stage) -> Result<Measured, String> {
    let (schema, order) = made(stage)?;
    let mut notes = vec![NOTE.to_owned()];
    let mut running = vec![(OURS, ours(stage, &schema, &order)?)];
    for (names, script, packages) in OTHERS {
        match other(stage, script, packages, &schema, &order) {
            Ok((started, versions)) => {
                notes.push(format!("Beside it: {versions}."));
                running.push((names, started));
            }
            Err(why) => notes.push(format!("{} left out: {}.", packages[0], why.lines().next().unwrap_or_default())),
        }
    }
    let lines: Vec<Line> = running.iter().flat_map(|(names, running)| lines(*names, running, &order)).collect();
    let rounds = stage.measure(options, &lines)?;
    let [plain, judged] = OURS;
    let figure = |what, unit, bar, values| Figure { what, unit, bar, values };
    let cpu = |what, line| figure(what, "µs", Bar::None, rounds.of(line));
    let added = |what, bar, judged, plain| figure(what, "µs", bar, rounds.over(judged, plain));
    Ok(Measured {
        figures: vec![
            cpu("CPU for a proxied POST of 1 KiB", plain),
            cpu("judged by the schema", judged),
            added("what the schema adds", Bar::AtMost(6.0), judged, plain),
            cpu("Express with zod", "express, zod"),
            added("what zod and its parser add", Bar::None, "express, zod", "express, plain"),
            figure("Express with zod over ours", "×", Bar::None, rounds.times("express, zod", judged)),
            cpu("Fastify with its own validation", "fastify, schema"),
            added("what it and its parser add", Bar::None, "fastify, schema", "fastify, plain"),
            figure("Fastify over ours", "×", Bar::None, rounds.times("fastify, schema", judged)),
        ],
        notes,
    })
}

const NOTE: &str = "\
The order schema of H4 (uuid, patterns, bounds, nothing unknown) and an order of 1,024 bytes. What a schema adds is reckoned \
within each round, over the same POST by the same process on a route without one.";

/// The names of our own lines.
const OURS: [&str; 2] = ["ours, no schema", "ours, schema"];

/// Lets a binary of ours serve a little of it.
pub(super) fn train(options: &Options, stage: &Stage) -> Result<(), String> {
    let (schema, order) = made(stage)?;
    let ours = ours(stage, &schema, &order)?;
    stage.measure(options, &lines(OURS, &ours, &order)).map(drop)
}

/// The file of the schema, and an order.
fn made(stage: &Stage) -> Result<(PathBuf, String), String> {
    let schema = stage.room.directory.join("order.json");
    fs::write(&schema, SCHEMA).map_err(|error| format!("{}: {error}", schema.display()))?;
    let order = order().to_string();
    if order.len() != LENGTH {
        return Err(format!("the order has {} bytes instead of {LENGTH}", order.len()));
    }
    Ok((schema, order))
}

fn ours(stage: &Stage, schema: &Path, order: &str) -> Result<Running, String> {
    let ours = stage.gateway("bodies-ours", &tables(schema))?;
    checked(&ours, order)?;
    Ok(ours)
}

fn lines([plain, judged]: [&'static str; 2], running: &Running, order: &str) -> [Line; 2] {
    [(plain, "/plain"), (judged, "/orders")]
        .map(|(name, path)| Line::plain(name, running, &[request("POST", path, JSON, order)]))
}

/// The names of their lines, the script, and the packages that are told.
type Other = ([&'static str; 2], &'static str, &'static [&'static str]);

const OTHERS: [Other; 2] = [
    (["express, plain", "express, zod"], "express-bodies.js", &["express", "zod", "http-proxy-middleware"]),
    (["fastify, plain", "fastify, schema"], "fastify-bodies.js", &["fastify", "@fastify/reply-from"]),
];

fn other(
    stage: &Stage,
    script: &str,
    packages: &[&str],
    schema: &Path,
    order: &str,
) -> Result<(Running, String), String> {
    // Where all peers have their packages, so that they are installed once.
    let mut room = stage.room.clone();
    room.directory = crate::run::target_dir()?.join("bench");
    let (_, versions) = peers::node_packages(packages)?;
    let listen = free_port()?;
    let mut command = peers::node_script(&room, script, listen)?;
    command.env("BENCH_SCHEMA", schema);
    let running = stage.start(script, listen, &command)?;
    checked(&running, order)?;
    Ok((running, versions))
}

/// A route with the schema and one without.
fn tables(schema: &Path) -> String {
    format!(
        "[identity]\nenabled = false\n\n[limits]\npreset = \"none\"\n\n[headers]\npreset = \"danger-off\"\n\n\
         [[route]]\nmatch = \"POST /plain\"\naccess = \"public\"\n\n\
         [[route]]\nmatch = \"POST /orders\"\naccess = \"public\"\n\n[route.body]\nschema = {:?}\n",
        schema.display().to_string()
    )
}

/// What must pass and what must not.
fn checked(running: &Running, order: &str) -> Result<(), String> {
    let ask = |path: &str, body: &str| check::ask(running.address, "POST", path, JSON, body);
    let with = |pointer: &str, wrong: Value| -> Result<String, String> {
        let mut order: Value = serde_json::from_str(order).map_err(|error| error.to_string())?;
        *order.pointer_mut(pointer).ok_or_else(|| format!("an order has no {pointer}"))? = wrong;
        Ok(order.to_string())
    };
    check::expect("an order", &ask("/orders", order)?, 200)?;
    check::expect("an order where nothing is judged", &ask("/plain", order)?, 200)?;
    check::expect("no order where nothing is judged", &ask("/plain", "{}")?, 200)?;
    for (what, body) in [
        ("half an order", order[..order.len() / 2].to_owned()),
        ("an empty order", "{}".to_owned()),
        ("a quantity of 101", with("/items/0/quantity", json!(101))?),
        ("a quantity that is text", with("/items/0/quantity", json!("1"))?),
        ("a product that is no uuid", with("/items/1/productId", json!("0b8f7a52"))?),
        ("a country far away", with("/address/country", json!("FR"))?),
        ("a postcode in small letters", with("/address/postcode", json!("ls1 4ap"))?),
        (
            "a member that nobody knows",
            with(
                "/address",
                json!({ "line1": "1 High Street", "city": "Leeds",
            "postcode": "LS1 4AP", "country": "GB", "role": "admin" }),
            )?,
        ),
    ] {
        check::expect(what, &ask("/orders", &body)?, 400)?;
    }
    Ok(())
}

/// Eleven items; the street is as long as it takes to make 1,024 bytes.
fn order() -> Value {
    let items: Vec<Value> = (0..11)
        .map(|index| json!({ "productId": format!("0b8f7a52-3d8f-4a5e-9a53-0d8c0d4c6f{:02x}", index + 16), "quantity": index + 10 }))
        .collect();
    let with = |street: String| {
        json!({
            "items": items, "promoCode": "SAVE20",
            "address": { "line1": street, "city": "Leeds", "postcode": "LS1 4AP", "country": "GB" },
        })
    };
    let rest = LENGTH.saturating_sub(with(String::new()).to_string().len());
    with("1 High Street, ".chars().cycle().take(rest).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_has_exactly_one_kibibyte_and_a_street_that_may_be() {
        let order = order();
        assert_eq!(order.to_string().len(), LENGTH);
        assert!((5..=200).contains(&order["address"]["line1"].as_str().unwrap().len()));
    }
}
