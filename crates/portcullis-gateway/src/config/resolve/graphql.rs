//! `[route.graphql]`.

use std::sync::Arc;

use portcullis_shield::{Check, GraphqlCheck, GraphqlRules};

use super::context::Context;
use crate::config::diagnostic::Diagnostic;
use crate::config::raw::{At, RouteTable, Table};

/// No bound is larger: it would be none.
const MOST: u64 = 1_000_000;

/// The check of a route that takes GraphQL.
pub(super) fn check(cx: &mut Context<'_>, route: &RouteTable) -> Option<Arc<dyn Check>> {
    let table = route.graphql.as_ref().map(Table::get)?;
    let rules = GraphqlRules::default();
    let is_on = |at: &Option<At<bool>>| at.as_ref().is_some_and(|at| *at.get());
    if let Some(at) = table.danger_persisted.as_ref().filter(|at| *at.get()) {
        let found = Diagnostic::warning(at.span(), "what a hash stands for is not weighed");
        cx.push(found.hint("let only the upstream's own build register documents, never a client"));
    }
    let rules = GraphqlRules {
        depth: cx.number(table.depth.as_ref(), rules.depth, 1..=100),
        complexity: cx.number(table.complexity.as_ref(), rules.complexity, 1..=MOST),
        aliases: cx.number(table.aliases.as_ref(), rules.aliases, 0..=MOST),
        batch: cx.count(table.batch.as_ref(), rules.batch, 1..=1_000),
        tokens: cx.count(table.tokens.as_ref(), rules.tokens, 1..=GraphqlRules::MOST_TOKENS as u64),
        introspection: is_on(&table.introspection),
        persisted: is_on(&table.danger_persisted),
    };
    Some(Arc::new(GraphqlCheck::new(rules)))
}
