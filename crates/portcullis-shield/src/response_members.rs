//! The members of a response that a role may see (Z8): whatever is not listed is left out.

use std::collections::BTreeMap;

use http::StatusCode;
use portcullis_core::{Principal, Reason};

use crate::members::{List, MemberPath, Members, Place};
use crate::scan::{Fate, Invalid, Kind, Scanner};
use crate::shape::{Asking, SeenResponse, Shape, Wants};

/// Which members of a response each role may see. Who holds several listed roles sees what any of them may; who holds none,
/// and nobody, sees what is listed for all others.
///
/// Members that are not listed are cut out; every other byte stays as it is, numbers and order included. What is left of an
/// object of which nothing is listed is `{}` where paths lead into it, and is gone where none does. A `null` stands where an
/// object or array with listed members would.
#[derive(Clone, Debug)]
pub struct ResponseMembers {
    members: Members,
    roles: BTreeMap<Box<str>, List>,
    otherwise: List,
}

impl ResponseMembers {
    /// From the lists by role, and the list of whoever holds none of those.
    #[must_use]
    pub fn new(roles: &BTreeMap<Box<str>, Vec<MemberPath>>, otherwise: &[MemberPath]) -> Self {
        let mut members = Members::default();
        let roles = roles.iter().map(|(role, list)| (role.clone(), members.add(list))).collect();
        let otherwise = members.add(otherwise);
        Self { members, roles, otherwise }
    }

    /// The outermost value, as this caller may see it.
    fn place(&self, principal: Option<&Principal>) -> Place<'_> {
        let holds = |role: &str| principal.is_some_and(|principal| principal.has_role(role));
        let mut held = self.roles.iter().filter(|(role, _)| holds(role)).map(|(_, list)| *list).peekable();
        if held.peek().is_none() { self.members.place([self.otherwise]) } else { self.members.place(held) }
    }
}

impl Shape for ResponseMembers {
    fn binds(&self, asking: &Asking<'_>) -> bool {
        !self.place(asking.principal).allows_all()
    }

    fn wants(&self, seen: &SeenResponse<'_>) -> Result<Wants, Reason> {
        Ok(if self.binds(&seen.asking) { Wants::Content } else { Wants::Nothing })
    }

    fn shape(&self, seen: &SeenResponse<'_>, body: &[u8]) -> Result<Option<Vec<u8>>, Reason> {
        // No content has no members. Where a client expects some, that is the upstream's to answer for.
        if body.is_empty() || seen.status == StatusCode::NO_CONTENT {
            return Ok(None);
        }
        left_of(&self.place(seen.asking.principal), body).map_err(Reason::ResponseRefused)
    }
}

/// What the lists leave of a document.
fn left_of(place: &Place<'_>, body: &[u8]) -> Result<Option<Vec<u8>>, Invalid> {
    let mut scanner = Scanner::new(body)?;
    if walk(&mut scanner, place)? == Fate::Cut {
        return Err("the answer is a single value, and none is listed");
    }
    scanner.finish()
}

fn walk(scanner: &mut Scanner<'_>, place: &Place<'_>) -> Result<Fate, Invalid> {
    let kind = scanner.kind();
    let allowed = match kind {
        Kind::Object | Kind::Array => place.allows_inside(),
        Kind::Null => place.allows_single() || place.allows_inside(),
        Kind::Single => place.allows_single(),
    };
    // What is left out and what is wholly allowed has to be JSON as well: a reader that is confused by one member
    // misreads the next.
    match kind {
        Kind::Object if allowed && !place.allows_all() => {
            scanner.object(&mut |scanner, name| walk(scanner, &place.member(name)))?;
        }
        Kind::Array if allowed && !place.allows_all() => {
            scanner.array(&mut |scanner| walk(scanner, &place.element()))?;
        }
        _ => scanner.skip()?,
    }
    Ok(if allowed { Fate::Keep } else { Fate::Cut })
}
