//! Lists of JSON members that are allowed: what a role may see of a response, what a request may set (Z8).
//!
//! A path names members from the outermost inwards, with dots between them: `owner.id`. `*` stands for any one member of
//! an object or element of an array (`items.*.id`), and an element is named by nothing else; `**` at the end stands for
//! whatever is there, at any depth. Names are compared exactly, after JSON's own escapes are undone. A dot, a star or a
//! backslash that is part of a name is written with a backslash before it.
//!
//! A path that ends in a name or in `*` is about a single value (a string, a number, `true`, `false` or `null`): an object
//! or an array in its place is another thing than what was listed, and is let through only by `**` or by paths that go
//! on into it. So `name` neither shows a `name.secret` that is added one day nor lets `{"name": {"$gt": ""}}` in.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use smallvec::SmallVec;

/// The most steps of a path: deeper values are refused by every reader of JSON here.
const MAX_STEPS: usize = 64;

/// One listed path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MemberPath {
    steps: Vec<Step>,
    /// Whether all that lies below is meant too.
    rest: bool,
    text: Box<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// The member of this name.
    Name(Box<str>),
    /// Any one member or element.
    Any,
}

/// Why a text is not a path of members.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemberPathError {
    /// A name is missing: the text is empty, begins or ends with a dot, or has two in a row.
    #[error("a name is missing; write names with one dot between them: \"owner.id\"")]
    Empty,
    /// A star that is not a whole step.
    #[error("\"{0}\" is not a step; \"*\" stands alone for any one member, and is written \"\\*\" in a name")]
    Star(Box<str>),
    /// `**` somewhere else than at the end.
    #[error("\"**\" may stand only at the end")]
    RestInside,
    /// A backslash before something that needs none.
    #[error("a backslash stands only before \".\", \"*\" or another backslash")]
    Escape,
    /// More steps than any value is deep.
    #[error("a path has at most 64 steps")]
    TooDeep,
}

impl MemberPath {
    /// The names, where it consists of nothing else; `None` with a `*` or `**`.
    #[must_use]
    pub fn names(&self) -> Option<Vec<&str>> {
        if self.rest {
            return None;
        }
        self.steps
            .iter()
            .map(|step| match step {
                Step::Name(name) => Some(&**name),
                Step::Any => None,
            })
            .collect()
    }

    /// The path as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for MemberPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for MemberPath {
    type Err = MemberPathError;

    fn from_str(text: &str) -> Result<Self, MemberPathError> {
        let mut steps = Vec::new();
        let mut rest = false;
        let mut left = Some(text);
        while let Some(open) = left {
            let end = end_of_step(open)?;
            let (step, after) = open.split_at(end);
            left = after.strip_prefix('.');
            match step {
                "" => return Err(MemberPathError::Empty),
                "**" if left.is_some() => return Err(MemberPathError::RestInside),
                "**" => rest = true,
                "*" => steps.push(Step::Any),
                step => steps.push(Step::Name(unescaped(step)?)),
            }
        }
        if steps.len() > MAX_STEPS {
            return Err(MemberPathError::TooDeep);
        }
        Ok(Self { steps, rest, text: text.into() })
    }
}

/// Where the first dot is that is not part of a name, or the end.
fn end_of_step(text: &str) -> Result<usize, MemberPathError> {
    let mut bytes = text.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'.' => return Ok(at),
            b'\\' if !matches!(bytes.next(), Some((_, b'.' | b'*' | b'\\'))) => return Err(MemberPathError::Escape),
            _ => {}
        }
    }
    Ok(text.len())
}

/// A name without the backslashes that protect parts of it.
fn unescaped(step: &str) -> Result<Box<str>, MemberPathError> {
    let mut name = String::with_capacity(step.len());
    let mut characters = step.chars();
    while let Some(character) = characters.next() {
        match character {
            '*' => return Err(MemberPathError::Star(step.into())),
            '\\' => name.extend(characters.next()),
            character => name.push(character),
        }
    }
    Ok(name.into())
}

/// Lists of paths, compiled together so that the union of several is asked like one.
#[derive(Clone, Debug, Default)]
pub struct Members {
    nodes: Vec<Node>,
}

/// One list among [`Members`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct List(usize);

#[derive(Clone, Debug, Default)]
struct Node {
    names: HashMap<Box<str>, usize>,
    any: Option<usize>,
    /// Whether a path ends here: a single value is allowed.
    single: bool,
    /// Whether `**` stands here: whatever it is is allowed.
    rest: bool,
}

impl Members {
    /// Adds a list. An empty one allows nothing.
    pub fn add<'p>(&mut self, paths: impl IntoIterator<Item = &'p MemberPath>) -> List {
        let root = self.add_node();
        for path in paths {
            let mut node = root;
            for step in &path.steps {
                node = self.step(node, step);
            }
            let last = &mut self.nodes[node];
            last.rest |= path.rest;
            last.single |= !path.rest;
        }
        List(root)
    }

    /// The outermost value, where these lists allow something together.
    #[must_use]
    pub fn place(&self, lists: impl IntoIterator<Item = List>) -> Place<'_> {
        let mut place = Place { members: self, nodes: SmallVec::new(), rest: false };
        for List(root) in lists {
            place.enter(root);
        }
        place
    }

    fn add_node(&mut self) -> usize {
        self.nodes.push(Node::default());
        self.nodes.len() - 1
    }

    fn step(&mut self, from: usize, step: &Step) -> usize {
        let known = match step {
            Step::Name(name) => self.nodes[from].names.get(name).copied(),
            Step::Any => self.nodes[from].any,
        };
        if let Some(next) = known {
            return next;
        }
        let next = self.add_node();
        match step {
            Step::Name(name) => {
                self.nodes[from].names.insert(name.clone(), next);
            }
            Step::Any => self.nodes[from].any = Some(next),
        }
        next
    }
}

/// A value somewhere in a document, and what the lists say of it. Nodes are few: one for each listed path that leads here.
#[derive(Clone, Debug)]
pub struct Place<'m> {
    members: &'m Members,
    nodes: SmallVec<[usize; 4]>,
    rest: bool,
}

impl Place<'_> {
    /// The member of this name, escapes undone.
    #[must_use]
    pub fn member(&self, name: &str) -> Self {
        self.next(|node| node.names.get(name).copied())
    }

    /// An element, whichever.
    #[must_use]
    pub fn element(&self) -> Self {
        self.next(|_| None)
    }

    /// Whether whatever stands here is allowed as it is.
    #[must_use]
    pub const fn allows_all(&self) -> bool {
        self.rest
    }

    /// Whether a single value is allowed here: a string, a number, `true`, `false` or `null`.
    #[must_use]
    pub fn allows_single(&self) -> bool {
        self.rest || self.here().any(|node| node.single)
    }

    /// Whether an object or an array is allowed here, with what is listed of it.
    #[must_use]
    pub fn allows_inside(&self) -> bool {
        self.rest || self.here().any(|node| node.any.is_some() || !node.names.is_empty())
    }

    fn here(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().map(|node| &self.members.nodes[*node])
    }

    fn next(&self, named: impl Fn(&Node) -> Option<usize>) -> Self {
        let mut next = Self { members: self.members, nodes: SmallVec::new(), rest: self.rest };
        if !self.rest {
            for node in self.here() {
                for step in named(node).into_iter().chain(node.any) {
                    next.enter(step);
                }
            }
        }
        next
    }

    fn enter(&mut self, node: usize) {
        // What is wholly allowed already needs no further opinion.
        self.rest |= self.members.nodes[node].rest;
        self.nodes.push(node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(lists: &[&[&str]]) -> (Members, Vec<List>) {
        let mut members = Members::default();
        let lists = lists
            .iter()
            .map(|list| {
                let paths: Vec<MemberPath> = list.iter().map(|path| path.parse().unwrap()).collect();
                members.add(&paths)
            })
            .collect();
        (members, lists)
    }

    /// What a list says of the value that the steps lead to; `#` is an element.
    fn said(list: &[&str], steps: &[&str]) -> (bool, bool, bool) {
        let (members, lists) = members(&[list]);
        let place = steps.iter().fold(members.place(lists), |place, step| match *step {
            "#" => place.element(),
            name => place.member(name),
        });
        (place.allows_single(), place.allows_inside(), place.allows_all())
    }

    #[test]
    fn z8_a_path_allows_what_it_names_and_nothing_beside() {
        let list = ["id", "owner.name", "items.*.id", "tags.*", "address.**", r"a\.b", "*.public"];
        for (steps, allowed) in [
            (&[][..], (false, true, false)),
            (&["id"], (true, true, false)),
            (&["ID"], (false, true, false)),
            (&["id", "x"], (false, false, false)),
            (&["id", "public"], (true, false, false)),
            (&["owner"], (false, true, false)),
            (&["owner", "name"], (true, false, false)),
            (&["owner", "#"], (false, false, false)),
            (&["owner", "public"], (true, false, false)),
            (&["items", "#"], (false, true, false)),
            (&["items", "#", "id"], (true, false, false)),
            (&["items", "first", "id"], (true, false, false)),
            (&["items", "#", "#", "id"], (false, false, false)),
            (&["tags", "#"], (true, false, false)),
            (&["tags", "#", "#"], (false, false, false)),
            (&["address"], (true, true, true)),
            (&["address", "geo", "#", "lat"], (true, true, true)),
            (&["a.b"], (true, true, false)),
            (&["a", "b"], (false, false, false)),
            (&["#", "public"], (true, false, false)),
            (&["other"], (false, true, false)),
            (&["other", "secret"], (false, false, false)),
        ] {
            assert_eq!(said(&list, steps), allowed, "{steps:?}");
        }
        assert_eq!(said(&["**"], &["anything", "#"]), (true, true, true));
        assert_eq!(said(&["**"], &[]), (true, true, true));
        assert_eq!(said(&[], &[]), (false, false, false));
        assert_eq!(said(&["id"], &["#"]), (false, false, false));
    }

    #[test]
    fn z8_several_lists_allow_together_what_each_allows_alone() {
        let (members, lists) = members(&[&["id", "owner.id"], &["owner.name"], &["owner.**"]]);
        let asks = |lists: &[List], name: &str| {
            let owner = members.place(lists.iter().copied()).member("owner");
            owner.member(name).allows_single()
        };
        for (of, id, name, secret) in [
            (&lists[..1], true, false, false),
            (&lists[..2], true, true, false),
            (&lists[..], true, true, true),
            (&[], false, false, false),
        ] {
            assert_eq!((asks(of, "id"), asks(of, "name"), asks(of, "secret")), (id, name, secret), "{of:?}");
        }
    }

    #[test]
    fn a_path_that_means_nothing_is_refused() {
        for (text, error) in [
            ("", MemberPathError::Empty),
            ("a.", MemberPathError::Empty),
            (".a", MemberPathError::Empty),
            ("a..b", MemberPathError::Empty),
            ("a*", MemberPathError::Star("a*".into())),
            ("a.***", MemberPathError::Star("***".into())),
            ("**.a", MemberPathError::RestInside),
            (r"a\n", MemberPathError::Escape),
            (r"a\", MemberPathError::Escape),
            (&vec!["a"; 65].join("."), MemberPathError::TooDeep),
        ] {
            assert_eq!(text.parse::<MemberPath>(), Err(error), "{text}");
        }
        let names = |text: &str| text.parse::<MemberPath>().unwrap().names().map(|names| names.join("|"));
        assert_eq!(names(r"a\.b.c\*\\").as_deref(), Some(r"a.b|c*\"));
        assert_eq!(names("größe. x").as_deref(), Some("größe| x"));
        assert_eq!((names("a.*"), names("a.**")), (None, None));
    }
}
