//! `[route.owner]` and `[route.response]`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use http::Method;
use portcullis::Pattern;
use portcullis_auth::access::{Ownership, Requirement, Unless};
use portcullis_shield::{
    DEFAULT_MAX, Errors, Foreign, MemberPath, OtherTypes, OwnedContent, ResponseMembers, ResponseRules, Shape,
};

use super::context::Context;
use super::routes::{Roles, permission, role_reference};
use crate::config::diagnostic::Diagnostic;
use crate::config::raw::{
    AllowTable, At, ErrorsName, ForeignName, OneOrMany, OtherTypesName, OwnerTable, ResponseTable, RouteTable,
    ShortOrLong, Table, Text, UnlessTable,
};

/// The list of whoever holds no role that has one.
const OTHERWISE: &str = "otherwise";

/// No response that a person waits for needs more than this in memory.
const LARGEST: u64 = 64 << 20;

/// What a route asks of its owner and of responses.
#[derive(Debug, Default)]
pub(super) struct Rules {
    owner: Option<Owner>,
    pub(super) response: Option<Arc<ResponseRules>>,
}

/// What must be the caller's own.
#[derive(Debug)]
struct Owner {
    ownership: Ownership,
    /// The name of the variable segment, with its place.
    path: Option<(Box<str>, Range<usize>)>,
    /// Where the response says whose it is.
    member: Option<Range<usize>>,
}

impl Rules {
    pub(super) fn read(
        cx: &mut Context<'_>,
        route: &RouteTable,
        path: &str,
        access: Option<&Requirement>,
        roles: &Roles,
    ) -> Self {
        let mut shapes: Vec<Arc<dyn Shape>> = Vec::new();
        let mut owner = None;
        if let Some(table) = &route.owner {
            if access == Some(&Requirement::Public) {
                let found =
                    Diagnostic::error(table.span(), "a route that is open to everyone has no caller to compare");
                cx.push(found.hint("write access = \"authenticated\", or name roles or permissions"));
            }
            let (read, content) = read_owner(cx, table, path, roles);
            shapes.extend(content.map(|content| Arc::new(content) as Arc<dyn Shape>));
            owner = Some(read);
        }
        let owned = !shapes.is_empty();
        let none = ResponseTable::default();
        let table = route.response.as_ref().map_or(&none, Table::get);
        if let Some(at) = &table.allow {
            shapes.push(Arc::new(allow(cx, at, roles)));
        }
        let max = cx.size(table.max.as_ref(), DEFAULT_MAX, 1..=LARGEST);
        let (errors, other_types) = (errors(cx, table, owned), other_types(cx, table, owned));
        let is_damaged = ["response.allow", "owner.member"].iter().any(|key| cx.is_damaged(&format!("{path}.{key}")));
        if let Some(written) = &route.response
            && shapes.is_empty()
            && table.allow.is_none()
            && !is_damaged
        {
            let found = Diagnostic::error(written.span(), "nothing is asked of responses");
            cx.push(found.hint("add for example: allow = { admin = [\"**\"], otherwise = [\"id\", \"name\"] }"));
        }
        let response = (!shapes.is_empty())
            .then(|| Arc::new(ResponseRules { max, errors, other_types, ..ResponseRules::new(shapes) }));
        Self { owner, response }
    }

    /// The rule about the owner, for one pattern of the route.
    pub(super) fn owner_of(&self, cx: &mut Context<'_>, pattern: &Pattern) -> Option<Ownership> {
        let owner = self.owner.as_ref()?;
        if let Some(span) = &owner.member
            && !pattern.method().is_some_and(|method| [Method::GET, Method::HEAD].contains(method))
        {
            let found = Diagnostic::error(
                span.clone(),
                format!("the response to \"{pattern}\" comes when it is too late to refuse what was asked"),
            );
            cx.push(found.hint(
                "\"member\" protects what is read: write \"GET\" before the path, and give what changes something a \
                 route of its own with \"path\"",
            ));
        }
        let mut ownership = owner.ownership.clone();
        if let Some((name, span)) = &owner.path {
            ownership.segment = pattern.parameter(name);
            if ownership.segment.is_none() {
                let found = Diagnostic::error(
                    span.clone(),
                    format!("\"{pattern}\" has no one variable segment \"{{{name}}}\""),
                );
                cx.push(
                    found.expected("the name of a segment that is the owner's id, as in \"/users/{user_id}/orders\""),
                );
            }
        }
        Some(ownership)
    }
}

/// The rule about the owner, and what it asks of responses.
fn read_owner(
    cx: &mut Context<'_>,
    table: &Table<OwnerTable>,
    path: &str,
    roles: &Roles,
) -> (Owner, Option<OwnedContent>) {
    let raw = table.get();
    let is_damaged = ["path", "member"].iter().any(|key| cx.is_damaged(&format!("{path}.owner.{key}")));
    if raw.path.is_none() && raw.member.is_none() && !is_damaged {
        let found = Diagnostic::error(table.span(), "nothing says whose it is");
        cx.push(found.expected("\"path\", \"member\" or both").hint("add for example: path = \"user_id\""));
    }
    for (key, span) in [("list", raw.list.as_ref().map(At::span)), ("foreign", raw.foreign.as_ref().map(At::span))] {
        if let Some(span) = span.filter(|_| raw.member.is_none()) {
            let found =
                Diagnostic::error(span, format!("\"{key}\" is about responses, of which no \"member\" is named"));
            cx.push(found.hint("add for example: member = \"owner.id\""));
        }
    }
    let hidden = match raw.answer.as_ref().map(|at| (*at.get(), at.span())) {
        None | Some((404, _)) => true,
        Some((403, _)) => false,
        Some((other, span)) => {
            let found = Diagnostic::error(span, format!("{other} is no answer to what belongs to others"));
            cx.push(found.expected("404, as if it did not exist, or 403"));
            true
        }
    };
    let unless = raw.unless.as_ref().map(|table| unless(cx, table.get(), roles)).unwrap_or_default();
    let content = raw.member.as_ref().and_then(|at| names(cx, at)).map(|member| OwnedContent {
        member,
        list: raw.list.as_ref().and_then(|at| names(cx, at)),
        foreign: match raw.foreign.as_ref().map(At::get) {
            Some(ForeignName::Refuse) => Foreign::Refuse,
            Some(ForeignName::Remove) | None => Foreign::Remove,
        },
        hidden,
    });
    let owner = Owner {
        ownership: Ownership { segment: None, unless, hidden },
        path: raw.path.as_ref().map(|at| (at.get().as_str().into(), at.span())),
        member: raw.member.as_ref().map(At::span),
    };
    (owner, content)
}

fn unless(cx: &mut Context<'_>, raw: &UnlessTable, roles: &Roles) -> Unless {
    let named = |list: &Option<OneOrMany<Text>>| list.clone().map(|OneOrMany(list)| list).unwrap_or_default();
    Unless {
        roles: named(&raw.roles).iter().filter_map(|at| role_reference(cx, at, roles)).collect(),
        permissions: named(&raw.permissions)
            .iter()
            .filter_map(|at| permission(cx, at.get().as_str(), at, roles))
            .collect(),
    }
}

/// A path of names alone: it leads to one place.
fn names(cx: &mut Context<'_>, at: &At<Text>) -> Option<Vec<Box<str>>> {
    let path: MemberPath = cx.parse(at.get().as_str(), at.span())?;
    let names = path.names().map(|names| names.into_iter().map(Into::into).collect());
    if names.is_none() {
        let found = Diagnostic::error(at.span(), format!("\"{path}\" may lead to many places"));
        cx.push(found.expected("names alone, such as \"owner.id\""));
    }
    names
}

/// The lists of members by role, with those that a role inherits.
fn allow(cx: &mut Context<'_>, at: &At<ShortOrLong<Vec<Text>, AllowTable>>, roles: &Roles) -> ResponseMembers {
    let (mut lists, otherwise) = match at.get() {
        ShortOrLong::Short(list) => (BTreeMap::new(), paths(cx, list, at).unwrap_or_default()),
        ShortOrLong::Long(AllowTable(table)) => {
            let mut lists: BTreeMap<Box<str>, Vec<MemberPath>> = BTreeMap::new();
            for (role, list) in table {
                if role != OTHERWISE && !roles.contains_key(&**role) {
                    let found = Diagnostic::warning(at.span(), format!("nothing declares the role \"{role}\""));
                    cx.push(found.hint(format!(
                        "only tokens of another issuer can carry it; to declare it, add [roles.{role}]"
                    )));
                }
                // Where a path is none, it has been told, and the others are told as well.
                lists.insert(role.as_str().into(), paths(cx, list, at).unwrap_or_default());
            }
            if lists.contains_key(OTHERWISE) && roles.contains_key(OTHERWISE) {
                let found = Diagnostic::error(at.span(), "\"otherwise\" is a role here, and stands for all others");
                cx.push(found.hint("give the role another name"));
            }
            let otherwise = lists.remove(OTHERWISE).unwrap_or_default();
            (lists, otherwise)
        }
    };
    let inherited: Vec<(Box<str>, Vec<MemberPath>)> =
        roles.keys().filter_map(|role| Some((role.clone(), with_ancestors(role, roles, &lists)?))).collect();
    lists.extend(inherited);
    ResponseMembers::new(&lists, &otherwise)
}

/// What a role and those that it inherits from may see together; `None` where none of them has a list.
fn with_ancestors(role: &str, roles: &Roles, lists: &BTreeMap<Box<str>, Vec<MemberPath>>) -> Option<Vec<MemberPath>> {
    let (mut seen, mut open, mut found) = (BTreeSet::from([role]), vec![role], None);
    while let Some(role) = open.pop() {
        if let Some(list) = lists.get(role) {
            found.get_or_insert_with(Vec::new).extend(list.iter().cloned());
        }
        let parents = roles.get(role).into_iter().flat_map(|rule| &rule.inherits);
        open.extend(parents.map(|parent| &**parent).filter(|parent| seen.insert(parent)));
    }
    found
}

/// A list of paths; `None` where one of them is none.
fn paths<T>(cx: &mut Context<'_>, list: &[Text], at: &At<T>) -> Option<Vec<MemberPath>> {
    let read: Vec<Option<MemberPath>> = list.iter().map(|text| path(cx, text, at)).collect();
    read.into_iter().collect()
}

fn path<T>(cx: &mut Context<'_>, text: &Text, at: &At<T>) -> Option<MemberPath> {
    match text.as_str().parse() {
        Ok(path) => Some(path),
        Err(error) => {
            let found = Diagnostic::error(at.span(), format!("{:?} is not a path of members", text.as_str()));
            cx.push(found.hint(error.to_string()));
            None
        }
    }
}

fn errors(cx: &mut Context<'_>, table: &ResponseTable, owned: bool) -> Errors {
    let Some(at) = &table.errors else { return Errors::Hide };
    match at.get() {
        ErrorsName::Hide => Errors::Hide,
        ErrorsName::Shape if owned && table.allow.is_none() => {
            let found = Diagnostic::error(at.span(), "there is no \"allow\" that errors could be shaped by");
            cx.push(found.expected("\"hide\" or \"danger-pass\""));
            Errors::Hide
        }
        ErrorsName::Shape => Errors::Shape,
        ErrorsName::DangerPass => {
            let found = Diagnostic::warning(at.span(), "the upstream's errors go on as they come, whatever they say");
            cx.push(found.hint("\"shape\" lets through what \"allow\" lists, such as \"error\" and \"message\""));
            Errors::Pass
        }
    }
}

fn other_types(cx: &mut Context<'_>, table: &ResponseTable, owned: bool) -> OtherTypes {
    let Some(at) = &table.other_types else { return OtherTypes::Refuse };
    if *at.get() == OtherTypesName::Refuse {
        return OtherTypes::Refuse;
    }
    if owned {
        let found = Diagnostic::error(at.span(), "a response that is not JSON does not say whose it is");
        cx.push(found.hint("remove this line, or the \"member\" of [route.owner]"));
        return OtherTypes::Refuse;
    }
    let found =
        Diagnostic::warning(at.span(), "whoever can make the upstream answer in another format sees everything");
    cx.push(found);
    OtherTypes::Pass
}
