//! `[openapi]`: reads the document, and lays it on the routes of its upstream.

use std::cmp::Reverse;
use std::ops::Range;
use std::sync::Arc;

use portcullis::{Otherwise, Pattern, RouteRule, Target};
use portcullis_auth::access::Requirement;
use portcullis_core::NormalizedPath;
use portcullis_shield::openapi::{Answers, Compiled, Contract, Fault, Format, Mode, Place, Terms, Unknown, Watch};
use portcullis_shield::{Errors, OtherTypes, ResponseRules};

use super::context::Context;
use super::routes::{Defaults, target};
use crate::config::diagnostic::Diagnostic;
use crate::config::raw::{At, OpenApiTable, Raw, RequestsName, ResponsesName, UnknownName};
use crate::config::settings::UpstreamSettings;

/// Of many alike only so many are named.
const MOST_NAMED: usize = 3;
/// Of what is wrong with a document only so much is told at once.
const MOST_FAULTS: usize = 20;

/// A document that was read.
pub(super) struct Contracted {
    contract: Arc<Contract>,
    upstream: usize,
    refuses_unknown: bool,
    /// What becomes of answers that break it, where they are looked at.
    answers: Option<Mode>,
    span: Range<usize>,
}

/// Reads the document.
pub(super) fn contract(cx: &mut Context<'_>, raw: &Raw, upstreams: &[UpstreamSettings]) -> Option<Contracted> {
    let written = raw.openapi.as_ref()?;
    let table = written.get();
    let Some(file) = &table.file else {
        cx.missing("openapi", "file", written.span(), "file = \"openapi.yaml\"");
        return None;
    };
    let upstream = table.upstream.as_ref().map_or(0, |at| target(cx, at, upstreams));
    let terms = terms(cx, table);
    let path = cx.path(file);
    let text = cx
        .outside
        .read_document(&path)
        .and_then(|bytes| String::from_utf8(bytes).map_err(|_| std::io::Error::other("it is not UTF-8 text")));
    let text = match text {
        Ok(text) => text,
        Err(error) => {
            cx.push(Diagnostic::error(file.span(), format!("cannot read {}: {error}", path.display())));
            return None;
        }
    };
    let json = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    let name = file.get().as_str();
    let refuses_unknown = terms.unknown_paths == Unknown::Refuse && terms.requests == Mode::Enforce;
    match Contract::compile(&text, if json { Format::Json } else { Format::Yaml }, terms) {
        Ok(Compiled { contract, warnings }) => {
            warnings.iter().take(MOST_FAULTS).for_each(|fault| cx.push(told(fault, name, file.span(), true)));
            let answers = match table.responses.as_ref().map(At::get) {
                None | Some(ResponsesName::Off) => None,
                Some(ResponsesName::Report) => Some(Mode::Report),
                Some(ResponsesName::Enforce) => Some(Mode::Enforce),
            };
            Some(Contracted { contract: Arc::new(contract), upstream, refuses_unknown, answers, span: file.span() })
        }
        Err(faults) => {
            faults.iter().take(MOST_FAULTS).for_each(|fault| cx.push(told(fault, name, file.span(), false)));
            None
        }
    }
}

fn terms(cx: &mut Context<'_>, table: &OpenApiTable) -> Terms {
    let unknown = |at: &Option<At<UnknownName>>| match at.as_ref().map(At::get) {
        None | Some(UnknownName::Refuse) => Unknown::Refuse,
        Some(UnknownName::Report) => Unknown::Report,
        Some(UnknownName::Allow) => Unknown::Allow,
    };
    let base_path = table.base_path.as_ref().and_then(|at| {
        let text = at.get().as_str();
        if NormalizedPath::parse(text).is_ok_and(|path| path.as_str() == text) {
            return Some(text.to_owned());
        }
        let found = Diagnostic::error(at.span(), format!("{text:?} is not a path of this gate"));
        cx.push(found.expected("a path as clients write it, such as \"/v1\", or \"/\" for none"));
        None
    });
    Terms {
        base_path,
        unknown_paths: unknown(&table.unknown_paths),
        unknown_parameters: unknown(&table.unknown_parameters),
        unknown_members: unknown(&table.unknown_members),
        requests: match table.requests.as_ref().map(At::get) {
            None | Some(RequestsName::Enforce) => Mode::Enforce,
            Some(RequestsName::Report) => Mode::Report,
        },
    }
}

/// What is wrong with the document, with its place there: the place in this file is where it is named.
fn told(fault: &Fault, name: &str, span: Range<usize>, warning: bool) -> Diagnostic {
    let place = fault.place.map(|Place { line, column }| format!(":{line}:{column}")).unwrap_or_default();
    let at = if fault.pointer.is_empty() { String::new() } else { format!(" at {}:", fault.pointer) };
    let message = format!("{name}{place}:{at} {}", fault.message);
    let found = if warning { Diagnostic::warning(span, message) } else { Diagnostic::error(span, message) };
    match &fault.hint {
        Some(hint) => found.hint(hint.clone()),
        None => found,
    }
}

/// Lays the contract on every route of its upstream, and on what no route covers where that goes there.
pub(super) fn lay(cx: &mut Context<'_>, contracted: &Contracted, rules: &mut Vec<RouteRule>, defaults: &Defaults) {
    let own = Target::Upstream(contracted.upstream);
    let rest = match defaults.otherwise {
        Otherwise::Refuse => None,
        Otherwise::Authenticated => Some(Requirement::Authenticated),
        Otherwise::Public => Some(Requirement::Public),
    };
    // What no route covers goes to the first upstream; a route of its own carries the contract there.
    let everything: Option<Pattern> = "/**".parse().ok();
    if let (Some(access), Some(pattern), 0) = (rest, everything, contracted.upstream)
        && !rules.iter().any(|rule| rule.pattern.as_str() == pattern.as_str())
    {
        rules.push(RouteRule {
            max_body: defaults.max_body,
            max_json: defaults.max_json,
            ..RouteRule::new(pattern, access, own)
        });
    }
    compare(cx, contracted, rules);
    for rule in rules.iter_mut().filter(|rule| rule.target == own) {
        rule.checks.push(Arc::clone(&contracted.contract) as _);
        if let Some(mode) = contracted.answers {
            // What the upstream said is judged before anything else is made of it. Where nothing else asks for it, errors
            // and what is not JSON are the document's affair alone.
            let before = rule.response.as_deref().cloned();
            let mut all = before.unwrap_or_else(|| ResponseRules {
                errors: Errors::Shape,
                other_types: OtherTypes::Pass,
                ..ResponseRules::new(Vec::new())
            });
            let contract = Arc::clone(&contracted.contract);
            match mode {
                Mode::Enforce => all.shapes.insert(0, Arc::new(Answers::new(contract))),
                Mode::Report => all.watch = Some(Watch::new(contract)),
            }
            rule.response = Some(Arc::new(all));
        }
    }
}

/// Tells where routes and document do not fit: operations that nobody can reach, routes that no operation answers, and
/// operations that need a login by the document and none by their route.
fn compare(cx: &mut Context<'_>, contracted: &Contracted, rules: &[RouteRule]) {
    let own = Target::Upstream(contracted.upstream);
    let (mut unreached, mut open) = (Vec::new(), Vec::new());
    let mut answered = vec![false; rules.len()];
    for operation in contracted.contract.operations() {
        let name = format!("{} {}", operation.method, operation.pattern);
        // A variable inside of a segment is no variable of a route.
        let Ok(pattern) = spelled(operation.method.as_str(), operation.pattern).parse::<Pattern>() else { continue };
        for (rule, answered) in rules.iter().zip(&mut answered) {
            *answered |= rule.pattern.meets(&pattern);
        }
        let example = spelled(operation.method.as_str(), operation.pattern).replace(['{', '}'], "");
        let Ok(example) = example.parse::<Pattern>() else { continue };
        let covering = rules.iter().filter(|rule| rule.pattern.meets(&example));
        match covering.min_by_key(|rule| looseness(&rule.pattern)) {
            None => unreached.push(name),
            Some(rule) if rule.target == own && operation.needs_login && rule.access == Requirement::Public => {
                open.push(name);
            }
            Some(_) => {}
        }
    }
    let span = || contracted.span.clone();
    if !open.is_empty() {
        let message = format!("the document asks for a credential where the route is public: {}", named(&open));
        cx.push(
            Diagnostic::warning(span(), message)
                .hint("say who may pass in the [[route]]: the document decides nothing"),
        );
    }
    if !unreached.is_empty() {
        let message =
            format!("no route covers operations of the document, so they are answered 404: {}", named(&unreached));
        cx.push(Diagnostic::warning(span(), message).hint("add a [[route]] for each that clients need"));
    }
    let idle = rules.iter().zip(&answered).filter(|(rule, answered)| rule.target == own && !**answered);
    let idle: Vec<String> = idle.map(|(rule, _)| rule.pattern.to_string()).collect();
    if !idle.is_empty() && contracted.refuses_unknown {
        let message = format!("no operation of the document answers these routes, so they are 404: {}", named(&idle));
        let hint = "does the document stand behind another path? Say so with base_path";
        cx.push(Diagnostic::warning(span(), message).hint(hint));
    }
}

/// An operation as a pattern of routes: names of variables may be others in a document.
fn spelled(method: &str, path: &str) -> String {
    let segments = path.split('/').map(|segment| {
        let whole = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        if whole.is_some_and(|name| !name.contains(['{', '}'])) { "{x}" } else { segment }
    });
    format!("{method} {}", segments.collect::<Vec<_>>().join("/"))
}

/// The order in which patterns are asked: what is literal before what varies, from left to right, a method before any.
fn looseness(pattern: &Pattern) -> (Vec<u8>, Reverse<bool>) {
    let path = pattern.as_str().rsplit(char::is_whitespace).next().unwrap_or_default();
    let segments = path.split('/').map(|segment| match segment {
        "**" => 2,
        variable if variable.starts_with('{') => 1,
        _ => 0,
    });
    (segments.collect(), Reverse(pattern.method().is_some()))
}

fn named(names: &[String]) -> String {
    let more = names.len().saturating_sub(MOST_NAMED);
    let first = names[..names.len().min(MOST_NAMED)].join(", ");
    if more > 0 { format!("{first} and {more} more") } else { first }
}
