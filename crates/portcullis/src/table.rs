//! A tree of patterns. The most specific pattern wins, whatever the order in which they were written (Z1).
//!
//! Specific means, from left to right: a literal segment before a variable one before `**`; for the same path, a
//! pattern with the method before one for any method.

use std::collections::HashMap;
use std::ops::ControlFlow;

use http::Method;
use smallvec::SmallVec;

use crate::pattern::{Pattern, Segment};

/// Patterns with a value each; the values are small and `Copy` (indices).
#[derive(Clone, Debug)]
pub(crate) struct PatternTable<T> {
    nodes: Vec<Node<T>>,
    /// Whether letter case and a trailing slash are ignored.
    fold: bool,
}

#[derive(Clone, Debug)]
struct Node<T> {
    literals: HashMap<Box<str>, usize>,
    parameter: Option<usize>,
    here: Methods<T>,
    tail: Methods<T>,
}

type Methods<T> = Vec<(Option<Method>, T)>;

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self { literals: HashMap::new(), parameter: None, here: Vec::new(), tail: Vec::new() }
    }
}

impl<T: Copy> PatternTable<T> {
    /// An empty table. With `fold`, `/Admin/` finds `/admin`.
    pub(crate) fn new(fold: bool) -> Self {
        Self { nodes: vec![Node::default()], fold }
    }

    /// Adds a pattern and returns the values that already stand at exactly the same place: ties, for a table of
    /// routes.
    pub(crate) fn insert(&mut self, pattern: &Pattern, value: T) -> SmallVec<[T; 1]> {
        let mut node = 0;
        for (index, segment) in pattern.segments.iter().enumerate() {
            let last = index + 1 == pattern.segments.len() && !pattern.tail;
            node = match segment {
                // With folding, `/a/` and `/a` are one place; the root keeps its empty segment.
                Segment::Literal(text) if text.is_empty() && last && self.fold && index > 0 => node,
                Segment::Literal(text) => {
                    let key = if self.fold { text.to_ascii_lowercase().into() } else { text.clone() };
                    if let Some(next) = self.nodes[node].literals.get(&key) {
                        *next
                    } else {
                        let next = self.add_node();
                        self.nodes[node].literals.insert(key, next);
                        next
                    }
                }
                Segment::Parameter(_) => match self.nodes[node].parameter {
                    Some(next) => next,
                    None => {
                        let next = self.add_node();
                        self.nodes[node].parameter = Some(next);
                        next
                    }
                },
            };
        }
        let node = &mut self.nodes[node];
        let methods = if pattern.tail { &mut node.tail } else { &mut node.here };
        let ties = methods.iter().filter(|(method, _)| *method == pattern.method).map(|(_, value)| *value).collect();
        methods.push((pattern.method.clone(), value));
        ties
    }

    /// The value of the most specific pattern that covers the request.
    pub(crate) fn find(&self, method: &Method, path: &str) -> Option<T> {
        let mut found = None;
        self.visit(method, path, &mut |value| {
            found = Some(value);
            ControlFlow::Break(())
        });
        found
    }

    /// The values of all patterns that cover the request, the most specific first.
    pub(crate) fn find_all(&self, method: &Method, path: &str) -> SmallVec<[T; 8]> {
        let mut all = SmallVec::new();
        self.visit(method, path, &mut |value| {
            all.push(value);
            ControlFlow::Continue(())
        });
        all
    }

    fn visit(&self, method: &Method, path: &str, each: &mut impl FnMut(T) -> ControlFlow<()>) {
        let mut path = path.strip_prefix('/').unwrap_or(path);
        if self.fold {
            path = path.strip_suffix('/').unwrap_or(path);
        }
        let lower;
        if self.fold && path.bytes().any(|byte| byte.is_ascii_uppercase()) {
            lower = path.to_ascii_lowercase();
            path = &lower;
        }
        // The break has done its work when it arrives here.
        let _ = self.walk(0, Some(path), method, each);
    }

    /// Visits what lies below a node for the rest of a path; `None` when no segment is left.
    fn walk(
        &self,
        node: usize,
        rest: Option<&str>,
        method: &Method,
        each: &mut impl FnMut(T) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let node = &self.nodes[node];
        let Some(rest) = rest else {
            visit_methods(&node.here, method, each)?;
            return visit_methods(&node.tail, method, each);
        };
        let (segment, after) = match rest.split_once('/') {
            Some((segment, after)) => (segment, Some(after)),
            None => (rest, None),
        };
        if let Some(next) = node.literals.get(segment) {
            self.walk(*next, after, method, each)?;
        }
        if let Some(next) = node.parameter
            && !segment.is_empty()
        {
            self.walk(next, after, method, each)?;
        }
        visit_methods(&node.tail, method, each)
    }

    fn add_node(&mut self) -> usize {
        self.nodes.push(Node::default());
        self.nodes.len() - 1
    }
}

/// The exact method first, then `GET` for a `HEAD`, then any method.
fn visit_methods<T: Copy>(
    methods: &Methods<T>,
    method: &Method,
    each: &mut impl FnMut(T) -> ControlFlow<()>,
) -> ControlFlow<()> {
    if methods.is_empty() {
        return ControlFlow::Continue(());
    }
    let of = |wanted: Option<&Method>| {
        let wanted = wanted.cloned();
        methods.iter().filter(move |(held, _)| *held == wanted).map(|(_, value)| *value)
    };
    for value in of(Some(method)) {
        each(value)?;
    }
    if method == Method::HEAD {
        for value in of(Some(&Method::GET)) {
            each(value)?;
        }
    }
    for value in of(None) {
        each(value)?;
    }
    ControlFlow::Continue(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn table(fold: bool, patterns: &[&str]) -> PatternTable<usize> {
        let mut table = PatternTable::new(fold);
        for (index, text) in patterns.iter().enumerate() {
            table.insert(&text.parse().unwrap(), index);
        }
        table
    }

    fn found<'a>(patterns: &[&'a str], request: &str) -> Option<&'a str> {
        let (method, path) = request.split_once(' ').unwrap();
        table(false, patterns).find(&method.parse().unwrap(), path).map(|index| patterns[index])
    }

    const ROUTES: &[&str] = &[
        "/**",
        "GET /projects",
        "/projects/{id}",
        "DELETE /projects/{id}",
        "/projects/new",
        "GET /public/**",
        "/projects/{id}/members/{member}",
        "/",
    ];

    #[test]
    fn z1_the_most_specific_pattern_wins_whatever_the_order() {
        let mut reversed = ROUTES.to_vec();
        reversed.reverse();
        for routes in [ROUTES, &reversed] {
            for (request, expected) in [
                ("GET /projects", "GET /projects"),
                ("POST /projects", "/**"),
                ("GET /projects/new", "/projects/new"),
                ("GET /projects/7", "/projects/{id}"),
                ("DELETE /projects/7", "DELETE /projects/{id}"),
                ("DELETE /projects/new", "/projects/new"),
                ("GET /projects/7/members/2", "/projects/{id}/members/{member}"),
                ("GET /projects/7/members", "/**"),
                ("GET /projects/", "/**"),
                ("GET /public", "GET /public/**"),
                ("GET /public/a/b/", "GET /public/**"),
                ("POST /public/a", "/**"),
                ("GET /", "/"),
                ("GET /Projects", "/**"),
            ] {
                assert_eq!(found(routes, request), Some(expected), "{request}");
            }
        }
    }

    #[test]
    fn z1_get_covers_head_unless_head_has_its_own() {
        assert_eq!(found(&["GET /a"], "HEAD /a"), Some("GET /a"));
        assert_eq!(found(&["GET /a", "HEAD /a"], "HEAD /a"), Some("HEAD /a"));
        assert_eq!(found(&["GET /a"], "OPTIONS /a"), None);
    }

    #[test]
    fn z1_a_tie_is_told() {
        let mut table = PatternTable::new(false);
        assert!(table.insert(&"GET /a/{x}".parse().unwrap(), 1).is_empty());
        assert!(table.insert(&"/a/{x}".parse().unwrap(), 2).is_empty());
        assert_eq!(table.insert(&"GET /a/{y}".parse().unwrap(), 3).as_slice(), [1]);
    }

    #[test]
    fn z1_folding_ignores_case_and_a_trailing_slash() {
        let table = table(true, &["/admin", "/files/{name}", "/"]);
        for path in ["/admin", "/ADMIN", "/Admin/", "/admin/"] {
            assert_eq!(table.find(&Method::GET, path), Some(0), "{path}");
        }
        assert_eq!(table.find(&Method::GET, "/FILES/Report/"), Some(1));
        assert_eq!(table.find(&Method::GET, "/"), Some(2));
        assert_eq!(table.find(&Method::GET, "/files/"), None);
    }

    #[test]
    fn every_covering_pattern_is_found_for_limits() {
        let table = table(true, &["/**", "POST /auth/login", "/auth/**", "GET /x"]);
        assert_eq!(table.find_all(&Method::POST, "/auth/login").as_slice(), [1, 2, 0]);
    }

    proptest! {
        /// The tree agrees with trying every pattern by hand.
        #[test]
        fn the_tree_finds_what_a_linear_search_finds(
            patterns in prop::collection::vec("(/([ab]|\\{x\\})){0,3}(/\\*\\*)?", 1..12),
            path in "(/[abc]){1,4}",
        ) {
            let patterns: Vec<Pattern> =
                patterns.iter().filter_map(|text| text.parse().ok()).collect();
            let mut table = PatternTable::new(false);
            for (index, pattern) in patterns.iter().enumerate() {
                table.insert(pattern, index);
            }
            let segments: Vec<&str> = path[1..].split('/').collect();
            let mut by_tree = table.find_all(&Method::GET, &path).to_vec();
            by_tree.sort_unstable();
            let by_hand: Vec<usize> = (0..patterns.len()).filter(|index| covers(&patterns[*index], &segments)).collect();
            prop_assert_eq!(by_tree, by_hand);
        }
    }

    fn covers(pattern: &Pattern, segments: &[&str]) -> bool {
        let length_fits = if pattern.tail {
            segments.len() >= pattern.segments.len()
        } else {
            segments.len() == pattern.segments.len()
        };
        length_fits
            && pattern.segments.iter().zip(segments).all(|(segment, text)| match segment {
                Segment::Literal(literal) => &**literal == *text,
                Segment::Parameter(_) => !text.is_empty(),
            })
    }
}
