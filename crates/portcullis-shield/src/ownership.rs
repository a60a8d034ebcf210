//! Whose a response is (Z7): a member of it that must be the caller's id.

use portcullis_core::{Principal, Reason};

use crate::scan::{Fate, Invalid, Kind, Scanner, Single};
use crate::shape::{Asking, SeenResponse, Shape, Wants};

/// What becomes of a list in which something belongs to others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Foreign {
    /// What is not the caller's is left out.
    #[default]
    Remove,
    /// The whole list is refused.
    Refuse,
}

/// The rule that a member of each thing in a response names the caller.
///
/// The member must be a string that is the caller's id to the last byte, once JSON's escapes are undone, or a whole number
/// that is written as the id is. Anything else belongs to somebody else: no member, `null`, another spelling, a list of
/// owners. Only what says that it was done (2xx) can be the caller's; a redirect shows no owner and is refused.
#[derive(Clone, Debug)]
pub struct OwnedContent {
    /// The names that lead from a thing to its owner's id.
    pub member: Vec<Box<str>>,
    /// The names that lead to the list of things. `None`: the response is one thing or an array of them.
    pub list: Option<Vec<Box<str>>>,
    /// What becomes of a list in which something belongs to others.
    pub foreign: Foreign,
    /// Whether the answer to what belongs to others is the one to what does not exist.
    pub hidden: bool,
}

impl OwnedContent {
    const fn refused(&self) -> Reason {
        Reason::NotOwner { hidden: self.hidden }
    }

    /// Reads the response; `false` where it is not the caller's.
    fn read(&self, scanner: &mut Scanner<'_>, id: &str) -> Result<bool, Invalid> {
        match &self.list {
            Some(list) => self.read_list(scanner, list, id),
            None if scanner.kind() == Kind::Array => self.read_things(scanner, id),
            None => is_owned(scanner, &self.member, id),
        }
    }

    /// Reads down to the list. Where there is none, nothing says whose the rest is.
    fn read_list(&self, scanner: &mut Scanner<'_>, names: &[Box<str>], id: &str) -> Result<bool, Invalid> {
        match (names, scanner.kind()) {
            ([], Kind::Array) => self.read_things(scanner, id),
            ([first, below @ ..], Kind::Object) => {
                let mut passes = false;
                scanner.object(&mut |scanner, name| {
                    if name == &**first {
                        passes = self.read_list(scanner, below, id)?;
                    } else {
                        scanner.skip()?;
                    }
                    Ok(Fate::Keep)
                })?;
                Ok(passes)
            }
            _ => scanner.skip().map(|()| false),
        }
    }

    fn read_things(&self, scanner: &mut Scanner<'_>, id: &str) -> Result<bool, Invalid> {
        let mut all = true;
        scanner.array(&mut |scanner| {
            let owned = is_owned(scanner, &self.member, id)?;
            all &= owned;
            Ok(if owned { Fate::Keep } else { Fate::Cut })
        })?;
        Ok(all || self.foreign == Foreign::Remove)
    }
}

impl Shape for OwnedContent {
    fn binds(&self, asking: &Asking<'_>) -> bool {
        !asking.sees_others
    }

    fn wants(&self, seen: &SeenResponse<'_>) -> Result<Wants, Reason> {
        if !self.binds(&seen.asking) {
            return Ok(Wants::Nothing);
        }
        match seen.status.as_u16() {
            300..400 => Err(Reason::ResponseRefused("a redirect does not say whose it is")),
            // The content of an error is nobody's thing; what becomes of it is a rule of its own.
            400.. => Ok(Wants::Nothing),
            _ => Ok(Wants::Content),
        }
    }

    fn shape(&self, seen: &SeenResponse<'_>, body: &[u8]) -> Result<Option<Vec<u8>>, Reason> {
        let id = seen.asking.principal.map(Principal::subject).ok_or_else(|| self.refused())?;
        if body.is_empty() {
            return Err(self.refused());
        }
        let mut scanner = Scanner::new(body).map_err(Reason::ResponseRefused)?;
        let passes = self.read(&mut scanner, id).map_err(Reason::ResponseRefused)?;
        let left = scanner.finish().map_err(Reason::ResponseRefused)?;
        if passes { Ok(left) } else { Err(self.refused()) }
    }
}

/// Reads one thing and tells whether the member at these names is the id.
fn is_owned(scanner: &mut Scanner<'_>, names: &[Box<str>], id: &str) -> Result<bool, Invalid> {
    match (names, scanner.kind()) {
        ([], Kind::Single) => Ok(match scanner.single()? {
            Single::Text(text) => text.is_some_and(|text| text == id),
            Single::Number(number) => is_whole(number) && number == id,
            Single::Word => false,
        }),
        ([first, below @ ..], Kind::Object) => {
            let mut owned = false;
            scanner.object(&mut |scanner, name| {
                if name == &**first {
                    owned = is_owned(scanner, below, id)?;
                } else {
                    scanner.skip()?;
                }
                Ok(Fate::Keep)
            })?;
            Ok(owned)
        }
        _ => scanner.skip().map(|()| false),
    }
}

/// Whether a number is a whole one in its one spelling: `-0`, `1.0` and `1e0` are other texts for what is written `0` or `1`,
/// and a reader that makes floats of numbers takes large ones for each other.
fn is_whole(number: &str) -> bool {
    number != "-0" && number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')
}
