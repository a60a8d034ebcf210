//! Path templates (`/pets/{petId}`, `/files/{name}.{kind}`) and the tree that finds the one for a path.

use std::collections::HashMap;

use portcullis_core::NormalizedPath;
use smallvec::SmallVec;

/// The variable parts of a path, in the order of its template and as they stand in the path: still percent-encoded.
pub(super) type Values<'p> = SmallVec<[&'p str; 4]>;

/// More variables than this in one segment have no clear reading.
const MOST_IN_A_SEGMENT: usize = 4;

/// A path template.
#[derive(Clone, Debug)]
pub(super) struct Template {
    segments: Vec<Segment>,
    /// The names of its variables, in order.
    pub(super) names: Vec<Box<str>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Literal(Box<str>),
    /// One variable that is all of it.
    Whole,
    /// Variables between texts: one text more than variables, the first and the last may be empty.
    Mixed(Box<[Box<str>]>),
}

impl Template {
    /// Reads a template of the document, put behind the base path. Its literal parts are brought to the one spelling that
    /// paths have at the gate.
    pub(super) fn parse(base: &str, text: &str) -> Result<Self, String> {
        let Some(inside) = text.strip_prefix('/') else { return Err("a path begins with \"/\"".to_owned()) };
        if text.contains(['?', '#']) {
            return Err("a path has no query; parameters \"in: query\" are declared beside it".to_owned());
        }
        let base = base.strip_prefix('/').unwrap_or(base);
        let mut names = Vec::new();
        let mut segments = Vec::new();
        let before = base.split('/').filter(|segment| !segment.is_empty());
        let count = inside.split('/').count();
        for segment in before {
            segments.push(Segment::Literal(spelled(segment)?));
        }
        for (index, part) in inside.split('/').enumerate() {
            if part.is_empty() && index + 1 < count {
                return Err("it has an empty segment, which no path has at the gate".to_owned());
            }
            segments.push(segment(part, &mut names)?);
        }
        Ok(Self { segments, names })
    }
}

/// The spelling that the gate gives to a literal part of a path (RFC 3986 §6.2.2).
fn spelled(text: &str) -> Result<Box<str>, String> {
    let path = format!("/{text}");
    let spelled = NormalizedPath::parse(&path).map_err(|error| format!("no path at the gate is like that: {error}"))?;
    Ok(spelled.as_str()[1..].into())
}

fn segment(text: &str, names: &mut Vec<Box<str>>) -> Result<Segment, String> {
    if !text.contains(['{', '}']) {
        return spelled(text).map(Segment::Literal);
    }
    let odd = || format!("{text:?} is not a segment: a variable is written \"{{name}}\"");
    let mut texts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').ok_or_else(odd)?;
        if before.contains('}') || name.is_empty() || name.contains('{') {
            return Err(odd());
        }
        if before.is_empty() && !texts.is_empty() {
            return Err(format!("two variables stand side by side in {text:?}: nobody can say where one ends"));
        }
        if names.iter().any(|known| **known == *name) {
            return Err(format!("the variable {name:?} stands in it twice"));
        }
        texts.push(part(before)?);
        names.push(name.into());
        rest = after;
    }
    if rest.contains('}') {
        return Err(odd());
    }
    texts.push(part(rest)?);
    if texts.len() > MOST_IN_A_SEGMENT + 1 {
        return Err(format!("{text:?} has more than {MOST_IN_A_SEGMENT} variables"));
    }
    if texts.len() == 2 && texts.iter().all(|text| text.is_empty()) {
        return Ok(Segment::Whole);
    }
    Ok(Segment::Mixed(texts.into()))
}

/// A literal part of a segment; only a whole segment must not end in a dot.
fn part(text: &str) -> Result<Box<str>, String> {
    let padded = spelled(&format!("{text}x"))?;
    Ok(padded[..padded.len() - 1].into())
}

/// Finds templates by paths, without trying one after the other.
#[derive(Debug)]
pub(super) struct Tree {
    nodes: Vec<Node>,
}

#[derive(Debug, Default)]
struct Node {
    literals: HashMap<Box<str>, usize>,
    /// Those with the most text first.
    mixed: Vec<(Box<[Box<str>]>, usize)>,
    whole: Option<usize>,
    here: Option<usize>,
}

impl Tree {
    pub(super) fn new() -> Self {
        Self { nodes: vec![Node::default()] }
    }

    /// Adds a template under a number; answers the number of one that covers exactly the same paths, if there is one.
    pub(super) fn insert(&mut self, template: &Template, number: usize) -> Option<usize> {
        let mut at = 0;
        for segment in &template.segments {
            let next = self.nodes.len();
            let node = &mut self.nodes[at];
            at = match segment {
                Segment::Literal(text) => *node.literals.entry(text.clone()).or_insert(next),
                Segment::Whole => *node.whole.get_or_insert(next),
                Segment::Mixed(texts) => match node.mixed.iter().find(|(known, _)| known == texts) {
                    Some((_, known)) => *known,
                    None => {
                        node.mixed.push((texts.clone(), next));
                        let length = |texts: &[Box<str>]| texts.iter().map(|text| text.len()).sum::<usize>();
                        node.mixed.sort_by_key(|(texts, _)| std::cmp::Reverse(length(texts)));
                        next
                    }
                },
            };
            if at == next {
                self.nodes.push(Node::default());
            }
        }
        let here = &mut self.nodes[at].here;
        let before = *here;
        here.get_or_insert(number);
        before
    }

    /// The first that is taken of those that cover a normalised path: what is literal goes before what varies, from left
    /// to right.
    pub(super) fn find<'p, R>(
        &self,
        path: &'p str,
        mut take: impl FnMut(usize, &Values<'p>) -> Option<R>,
    ) -> Option<R> {
        let path = path.strip_prefix('/').unwrap_or(path);
        self.walk(0, Some(path), &mut Values::new(), &mut take)
    }

    fn walk<'p, R>(
        &self,
        node: usize,
        rest: Option<&'p str>,
        values: &mut Values<'p>,
        take: &mut impl FnMut(usize, &Values<'p>) -> Option<R>,
    ) -> Option<R> {
        let node = &self.nodes[node];
        let Some(rest) = rest else { return node.here.and_then(|number| take(number, values)) };
        let (segment, after) = match rest.split_once('/') {
            Some((segment, after)) => (segment, Some(after)),
            None => (rest, None),
        };
        if let Some(next) = node.literals.get(segment)
            && let Some(found) = self.walk(*next, after, values, take)
        {
            return Some(found);
        }
        if segment.is_empty() {
            return None;
        }
        let before = values.len();
        for (texts, next) in &node.mixed {
            if let Some(parts) = split(texts, segment) {
                values.extend(parts);
                if let Some(found) = self.walk(*next, after, values, take) {
                    return Some(found);
                }
                values.truncate(before);
            }
        }
        if let Some(next) = node.whole {
            values.push(segment);
            if let Some(found) = self.walk(next, after, values, take) {
                return Some(found);
            }
            values.truncate(before);
        }
        None
    }
}

/// The variables of a segment, where there is one way only to read it and none of them is empty.
fn split<'p>(texts: &[Box<str>], segment: &'p str) -> Option<Values<'p>> {
    let (first, others) = texts.split_first()?;
    let (last, between) = others.split_last()?;
    let middle = segment.strip_prefix(&**first)?.strip_suffix(&**last)?;
    let mut values = Values::new();
    let mut rest = middle;
    for text in between {
        let at = rest.find(&**text)?;
        // What separates variables stands there once, or another program could cut elsewhere.
        if rest[at + 1..].contains(&**text) {
            return None;
        }
        values.push(&rest[..at]);
        rest = &rest[at + text.len()..];
    }
    values.push(rest);
    values.iter().all(|value| !value.is_empty()).then_some(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(templates: &[&str]) -> Tree {
        let mut tree = Tree::new();
        for (number, text) in templates.iter().enumerate() {
            assert_eq!(tree.insert(&Template::parse("/v1", text).unwrap(), number), None, "{text}");
        }
        tree
    }

    const PATHS: &[&str] = &[
        "/pets",
        "/pets/{id}",
        "/pets/mine",
        "/pets/{id}/photos/{photo}",
        "/files/{name}.{kind}",
        "/files/{name}.json",
        "/a%20b",
        "/",
        "/{x}/y/",
    ];

    #[test]
    fn what_is_literal_goes_before_what_varies() {
        let tree = tree(PATHS);
        let find = |path| tree.find(path, |number, values| Some((PATHS[number], values.join("|"))));
        for (path, template, values) in [
            ("/v1/pets", "/pets", ""),
            ("/v1/pets/7", "/pets/{id}", "7"),
            ("/v1/pets/mine", "/pets/mine", ""),
            ("/v1/pets/mine/photos/a%20b", "/pets/{id}/photos/{photo}", "mine|a%20b"),
            ("/v1/files/a.txt", "/files/{name}.{kind}", "a|txt"),
            ("/v1/files/a.b.json", "/files/{name}.json", "a.b"),
            ("/v1/a%20b", "/a%20b", ""),
            ("/v1/", "/", ""),
            ("/v1/q/y/", "/{x}/y/", "q"),
        ] {
            assert_eq!(find(path), Some((template, values.to_owned())), "{path}");
        }
        for path in [
            "/pets",
            "/v1",
            "/v1/Pets",
            "/v1/pets/",
            "/v1/pets/7/photos",
            "/v1/files/a.b.txt",
            "/v1/files/.x",
            "/v1/q/y",
        ] {
            assert_eq!(find(path), None, "{path}");
        }
    }

    #[test]
    fn whoever_takes_nothing_lets_the_next_one_be_asked() {
        let tree = tree(PATHS);
        let mut asked = Vec::new();
        assert_eq!(
            tree.find("/v1/pets/mine", |number, _| -> Option<()> {
                asked.push(PATHS[number]);
                None
            }),
            None
        );
        assert_eq!(asked, ["/pets/mine", "/pets/{id}"]);
    }

    #[test]
    fn templates_of_the_same_paths_are_told() {
        let mut tree = tree(&["/a/{x}", "/b/{x}.{y}"]);
        assert_eq!(tree.insert(&Template::parse("/v1", "/a/{other}").unwrap(), 9), Some(0));
        assert_eq!(tree.insert(&Template::parse("/v1", "/b/{p}.{q}").unwrap(), 9), Some(1));
        assert_eq!(tree.insert(&Template::parse("/v1", "/b/{p}-{q}").unwrap(), 9), None);
    }

    #[test]
    fn a_template_that_no_path_can_match_is_refused() {
        for (text, message) in [
            ("pets", "begins with"),
            ("/a//b", "empty segment"),
            ("/a/../b", "dot segment"),
            ("/a%2Fb", "encoded slash"),
            ("/a;x", "\";\" parameter"),
            ("/a?b=1", "no query"),
            ("/{a", "is not a segment"),
            ("/a}", "is not a segment"),
            ("/{}", "is not a segment"),
            ("/{a}{b}", "side by side"),
            ("/{a}/{a}", "twice"),
            ("/{a}-{b}-{c}-{d}-{e}", "more than 4"),
        ] {
            let error = Template::parse("", text).unwrap_err();
            assert!(error.contains(message), "{text}: {error}");
        }
    }

    #[test]
    fn ten_thousand_paths_are_found_without_trying_each() {
        let templates: Vec<String> = (0..10_000).map(|n| format!("/service{}/resource{n}/{{id}}", n % 100)).collect();
        let mut tree = Tree::new();
        for (number, text) in templates.iter().enumerate() {
            tree.insert(&Template::parse("", text).unwrap(), number);
        }
        for number in [0, 5_000, 9_999] {
            let path = format!("/service{}/resource{number}/x", number % 100);
            let mut asked = 0;
            let found = tree.find(&path, |found, _| {
                asked += 1;
                Some(found)
            });
            assert_eq!((found, asked), (Some(number), 1));
        }
    }
}
