//! `[route.body]`: what a route asks of the content of its requests.

use std::path::Path;
use std::sync::Arc;

use portcullis_core::json::{self, Numbers, Reading, Unreadable};
use portcullis_shield::content::{AllowedMembers, JsonContent, Schema, Unknown};
use portcullis_shield::{Check, MemberPath};
use serde_json::Value;

use super::context::Context;
use super::transport::FASTEST;
use crate::config::diagnostic::Diagnostic;
use crate::config::outside::Outside;
use crate::config::raw::{At, BodyTable, NumbersName, OneOrMany, PathText, SchemaTable, ShortOrLong, UnlistedName};

/// How a schema is read: it is the operator's own, and only has to mean one thing.
const SCHEMA: Reading = Reading { depth: 100, values: 200_000, numbers: Numbers::Near };

/// The checks of a route's content, in the order in which they are asked.
pub(super) fn checks(cx: &mut Context<'_>, body: Option<&BodyTable>) -> Vec<Arc<dyn Check>> {
    let Some(body) = body else { return Vec::new() };
    let asks = body.schema.is_some()
        || body.allow.is_some()
        || body.depth.is_some()
        || body.values.is_some()
        || body.numbers.is_some();
    if let (Some(at), true) = (&body.json, asks)
        && !at.get()
    {
        let found = Diagnostic::error(at.span(), "\"json\" cannot be false where something is asked of the JSON");
        cx.push(found.hint("remove the line: the other keys say that the body is JSON"));
    }
    if let (Some(at), None) = (&body.unknown, &body.allow) {
        let found = Diagnostic::error(at.span(), "\"unknown\" is about members that \"allow\" does not list");
        cx.push(found.hint("add for example: allow = [\"name\", \"address.city\"]"));
    }
    if !asks && body.json.as_ref().is_none_or(|at| !at.get()) {
        return Vec::new();
    }
    let standard = Reading::default();
    let numbers = match body.numbers.as_ref().map(At::get) {
        Some(NumbersName::Long) => Numbers::Long,
        Some(NumbersName::Exact) | None => Numbers::Exact,
    };
    let reading = Reading {
        depth: cx.count(body.depth.as_ref(), standard.depth, 1..=Reading::DEEPEST as u64),
        values: cx.count(body.values.as_ref(), standard.values, 1..=10_000_000),
        numbers,
    };
    let schema = body.schema.as_ref().and_then(|at| schema(cx, at));
    vec![Arc::new(JsonContent { reading, schema, allowed: allowed(cx, body) })]
}

/// Whether a body may come as gzip. Where nothing looks at it, it may come as anything.
pub(super) fn takes_gzip(cx: &mut Context<'_>, body: Option<&BodyTable>, is_looked_at: bool) -> bool {
    let Some(OneOrMany(codings)) = body.and_then(|body| body.codings.as_ref()) else { return false };
    if let (Some(first), false) = (codings.first(), is_looked_at) {
        let found =
            Diagnostic::error(first.span(), "nothing looks at the bodies of this route, so they pass in any coding");
        cx.push(found.hint("remove the line; or ask something of the content, for example: json = true"));
    }
    !codings.is_empty()
}

/// How fast a body has to come while it streams, where the route says so.
pub(super) fn min_rate(cx: &mut Context<'_>, body: Option<&BodyTable>, is_held: bool) -> Option<u64> {
    let at = body?.min_rate.as_ref()?;
    if is_held {
        let found =
            Diagnostic::error(at.span(), "the bodies of this route do not stream: they are held to be looked at");
        cx.push(found.hint("remove the line: each has to be there within body_timeout and a second for every 16 KiB"));
    }
    Some(cx.size(Some(at), 0, 0..=FASTEST))
}

fn allowed(cx: &mut Context<'_>, body: &BodyTable) -> Option<AllowedMembers> {
    let OneOrMany(list) = body.allow.as_ref()?;
    let paths: Vec<MemberPath> =
        list.iter().filter_map(|at| cx.parse::<MemberPath>(at.get().as_str(), at.span())).collect();
    let unknown = match body.unknown.as_ref().map(At::get) {
        Some(UnlistedName::Report) => Unknown::Report,
        Some(UnlistedName::Refuse) | None => Unknown::Refuse,
    };
    Some(AllowedMembers::new(&paths, unknown))
}

fn schema(cx: &mut Context<'_>, at: &At<ShortOrLong<PathText, SchemaTable>>) -> Option<Schema> {
    let compiled = match at.get() {
        ShortOrLong::Short(path) => {
            let path = cx.folder.join(path.as_str());
            let folder = path.parent().unwrap_or(cx.folder);
            read(cx.outside, &path).map_err(|message| (message, None)).and_then(|schema| {
                compile(cx.outside, &schema, folder)
                    .map_err(|(message, hint)| (format!("{}: {message}", path.display()), hint))
            })
        }
        ShortOrLong::Long(table) => match serde_json::to_value(&table.0) {
            Ok(schema) => compile(cx.outside, &schema, cx.folder),
            Err(error) => Err((error.to_string(), None)),
        },
    };
    match compiled {
        Ok(schema) => Some(schema),
        Err((message, hint)) => {
            let found = Diagnostic::error(at.span(), message);
            cx.push(match hint {
                Some(hint) => found.hint(hint),
                None => found,
            });
            None
        }
    }
}

fn compile(outside: &dyn Outside, schema: &Value, folder: &Path) -> Result<Schema, (String, Option<&'static str>)> {
    Schema::compile(schema, |name| read(outside, &folder.join(name))).map_err(|fault| (fault.message, fault.hint))
}

/// A file of JSON.
fn read(outside: &dyn Outside, path: &Path) -> Result<Value, String> {
    let bytes = outside.read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    json::read(&bytes, SCHEMA).map_err(|Unreadable { why, at }| {
        let before = bytes.get(..at).unwrap_or(&bytes);
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
        format!("{}, line {line}, column {column}: {why}", path.display())
    })
}
