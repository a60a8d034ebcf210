//! A query against the parameters that an operation declares.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use portcullis_core::Violation;
use smallvec::SmallVec;

use super::escape;
use super::findings::{Findings, Unknown};
use super::parameter::{Parameter, Place};
use super::schema::Book;
use super::style::{self, Decoding, Wrong};
use crate::judging::words::is_ordinary;

/// A name that a client made up is not shown beyond this, in bytes.
const LONGEST_NAME: usize = 64;

/// Whose a name in a query is.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Parameters by their name, and by the members of those whose members stand there by themselves.
    plain: HashMap<Box<str>, usize>,
    /// `deepObject` parameters by the name before the bracket.
    deep: HashMap<Box<str>, usize>,
    /// The parameter that takes whatever has no name, if there is one.
    rest: Option<usize>,
    /// Names of credentials, which are judged elsewhere.
    credentials: HashSet<Box<str>>,
    /// Every name in lower case, to know its look-alikes.
    folded: HashSet<String>,
}

/// A piece of a query that belongs to a parameter.
struct Piece<'q> {
    parameter: usize,
    /// The member of an object, else the name.
    key: Cow<'q, str>,
    raw: &'q str,
}

impl Names {
    pub(super) fn new(parameters: &[Parameter], credentials: HashSet<Box<str>>) -> Self {
        let mut names = Self { credentials, ..Self::default() };
        for (index, parameter) in parameters.iter().enumerate().filter(|(_, one)| one.place == Place::Query) {
            if parameter.is_deep() {
                names.deep.insert(parameter.name.clone(), index);
            } else if parameter.is_spread() {
                for member in parameter.shape.members.keys() {
                    names.plain.entry(member.clone()).or_insert(index);
                }
                if parameter.shape.more.is_some() {
                    names.rest = Some(index);
                }
            } else {
                names.plain.insert(parameter.name.clone(), index);
            }
        }
        let all = names.plain.keys().chain(names.deep.keys()).chain(&names.credentials);
        names.folded = all.map(|name| name.to_ascii_lowercase()).collect();
        names
    }

    /// Judges a query.
    pub(super) fn judge(
        &self,
        query: &str,
        parameters: &[Parameter],
        book: &Book,
        unknown: Unknown,
        findings: &mut Findings,
    ) {
        let mut pieces: SmallVec<[Piece<'_>; 8]> = SmallVec::new();
        let mut credentials: SmallVec<[Cow<'_, str>; 1]> = SmallVec::new();
        for piece in query.split('&').filter(|piece| !piece.is_empty()) {
            let (name, raw) = piece.split_once('=').unwrap_or((piece, ""));
            let Ok(name) = escape::decode(name, true) else {
                findings.broken(about(
                    "query",
                    "encoding",
                    "has a name that is not UTF-8, or a \"%\" without two hex digits",
                ));
                continue;
            };
            match self.owner(&name) {
                Owner::Parameter(parameter) => pieces.push(Piece { parameter, key: name, raw }),
                Owner::Member(parameter, key) => pieces.push(Piece { parameter, key: key.to_owned().into(), raw }),
                Owner::Wrong(wrong) => findings.broken(about(&named(&name), wrong.rule, wrong.message)),
                Owner::LooksAlike => {
                    let message = "is another spelling of a parameter, which some programs take for the same";
                    findings.broken(about(&named(&name), "style", message));
                }
                Owner::Credential if credentials.contains(&name) => {
                    findings.broken(about(&named(&name), "duplicate", "must not be given more than once"));
                }
                Owner::Credential => credentials.push(name),
                Owner::Nobody => findings
                    .unknown(unknown, || about(&named(&name), "unknown", "is not a parameter that is known here")),
            }
        }
        pieces.sort_by_key(|piece| piece.parameter);
        let mut rest = &pieces[..];
        for (index, parameter) in parameters.iter().enumerate().filter(|(_, one)| one.place == Place::Query) {
            let first = rest.iter().position(|piece| piece.parameter >= index).unwrap_or(rest.len());
            rest = &rest[first..];
            let (mine, others) =
                rest.split_at(rest.iter().position(|piece| piece.parameter > index).unwrap_or(rest.len()));
            rest = others;
            judge_one(parameter, mine, book, findings);
        }
    }

    fn owner<'n>(&self, name: &'n str) -> Owner<'n> {
        if let Some(parameter) = self.plain.get(name) {
            return Owner::Parameter(*parameter);
        }
        if self.credentials.contains(name) {
            return Owner::Credential;
        }
        let (stem, bracket) = name.split_at(name.find('[').unwrap_or(name.len()));
        if let Some(parameter) = self.deep.get(stem) {
            return match style::deep_key(bracket) {
                Ok(key) => Owner::Member(*parameter, key),
                Err(wrong) => Owner::Wrong(wrong),
            };
        }
        if self.folded.contains(&stem.to_ascii_lowercase()) {
            return Owner::LooksAlike;
        }
        self.rest.map_or(Owner::Nobody, Owner::Parameter)
    }
}

enum Owner<'n> {
    Parameter(usize),
    Member(usize, &'n str),
    Wrong(Wrong),
    LooksAlike,
    Credential,
    Nobody,
}

/// Judges what is there of one parameter.
fn judge_one(parameter: &Parameter, pieces: &[Piece<'_>], book: &Book, findings: &mut Findings) {
    let [first, others @ ..] = pieces else { return parameter.absent(findings) };
    if parameter.is_deep() || parameter.is_spread() {
        return parameter.judge(book, findings, |taken| {
            let pair = |piece: &Piece<'_>| -> Result<_, Wrong> {
                Ok((Cow::Owned(piece.key.to_string()), escape::decode(piece.raw, true)?.into_owned().into()))
            };
            let pairs = pieces.iter().map(pair).collect::<Result<Vec<_>, Wrong>>()?;
            style::object(pairs, &parameter.shape, taken)
        });
    }
    if parameter.may_be_empty && others.is_empty() && first.raw.is_empty() {
        return;
    }
    if parameter.repeats() && style::meant(&parameter.shape, pieces.len()) == style::Meant::List {
        return parameter.judge(book, findings, |taken| {
            let texts: Result<Vec<Cow<'_, str>>, _> =
                pieces.iter().map(|piece| escape::decode(piece.raw, true)).collect();
            Ok(style::list(texts?.iter().map(|text| &**text), &parameter.shape, taken))
        });
    }
    if !others.is_empty() {
        return findings.broken(parameter.violation("duplicate", "must not be given more than once"));
    }
    parameter.judge_text(book, findings, first.raw, Decoding::Form);
}

/// How a name that a client made up is shown: as it is where it looks like one, with its brackets.
fn named(name: &str) -> String {
    let ordinary =
        name.len() <= LONGEST_NAME && name.split(['[', ']']).all(|part| part.is_empty() || is_ordinary(part));
    format!("query.{}", if ordinary { name } else { "*" })
}

fn about(path: &str, rule: &str, message: &str) -> Violation {
    Violation { path: path.into(), rule: rule.into(), message: message.into() }
}
