//! Whose something is (Z7): what must be the caller's own, and for whom it need not be.

use portcullis_core::{NormalizedPath, Principal, Reason};

use super::Roles;

/// A rule that something belongs to the caller. What is compared is the subject, the very text that an upstream is told in
/// `X-User-Id`: for an API key that of its account, for another issuer's token its `sub`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ownership {
    /// Which segment of the path is the owner's id, counted from zero; `None`: the path does not say.
    pub segment: Option<usize>,
    /// Who may see and do it to others'.
    pub unless: Unless,
    /// Whether the answer to what belongs to others is the one to what does not exist.
    pub hidden: bool,
}

/// Roles and permissions of which one is enough.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unless {
    /// Roles. What is restricted to scopes holds none.
    pub roles: Vec<Box<str>>,
    /// Permissions.
    pub permissions: Vec<Box<str>>,
}

impl Unless {
    /// Whether the rule does not hold for this one.
    #[must_use]
    pub fn covers(&self, principal: Option<&Principal>, roles: &Roles) -> bool {
        principal.is_some_and(|principal| {
            self.roles.iter().any(|role| principal.has_role(role))
                || self.permissions.iter().any(|permission| roles.grants(principal, permission))
        })
    }
}

impl Ownership {
    /// What has to be the caller's own, in a few words for the operator.
    #[must_use]
    pub fn describe(&self) -> String {
        let what = match self.segment {
            Some(segment) => format!("segment {} of the path must be the caller's id", segment + 1),
            None => "the answer must be the caller's own".to_owned(),
        };
        let Unless { roles, permissions } = &self.unless;
        let lifted: Vec<&str> = roles.iter().chain(permissions).map(|name| &**name).collect();
        if lifted.is_empty() { what } else { format!("{what}, unless they hold {}", lifted.join(" or ")) }
    }

    /// Judges the path of a request, before anything is forwarded.
    ///
    /// # Errors
    /// [`Reason::NotOwner`] where the path names somebody else, or nobody proved who they are.
    pub fn judge(&self, path: &NormalizedPath<'_>, principal: Option<&Principal>, roles: &Roles) -> Result<(), Reason> {
        let Some(segment) = self.segment else { return Ok(()) };
        let named = path.segments().nth(segment);
        let own = named.zip(principal).is_some_and(|(named, principal)| is_same(named, principal.subject()));
        if own || self.unless.covers(principal, roles) {
            return Ok(());
        }
        Err(Reason::NotOwner { hidden: self.hidden })
    }
}

/// Whether a segment of a normalised path is this text once its escapes are undone, to the last byte. Nothing is folded:
/// what an upstream takes for the same must not be another's here.
fn is_same(segment: &str, text: &str) -> bool {
    let mut bytes = segment.bytes();
    let decoded = std::iter::from_fn(|| match bytes.next()? {
        b'%' => {
            let mut digit = || char::from(bytes.next()?).to_digit(16);
            let (high, low) = (digit()?, digit()?);
            u8::try_from(high * 16 + low).ok()
        }
        byte => Some(byte),
    });
    !text.is_empty() && decoded.eq(text.bytes())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use portcullis_core::{PrincipalParts, Scheme, Timestamp};

    use super::*;
    use crate::access::RoleRule;

    fn caller(subject: &str, role: &str, scopes: Option<&[&str]>) -> Principal {
        Principal::new(PrincipalParts {
            roles: [role.into()].into_iter().collect(),
            scopes: scopes.map(|scopes| scopes.iter().map(|scope| (*scope).into()).collect()),
            ..PrincipalParts::of(subject, Scheme::Bearer, Timestamp::MAX)
        })
        .unwrap()
    }

    fn ownership() -> Ownership {
        let unless = Unless { roles: vec!["admin".into()], permissions: vec!["orders:any".into()] };
        Ownership { segment: Some(1), unless, hidden: true }
    }

    fn roles() -> Roles {
        let support = RoleRule { inherits: Vec::new(), permissions: vec!["orders:*".into()] };
        Roles::new(&BTreeMap::from([("support".into(), support), ("admin".into(), RoleRule::default())])).unwrap()
    }

    /// Whether the caller may have the path; `None` where no path is spelt like that.
    fn may(path: &str, principal: Option<&Principal>) -> Option<bool> {
        let path = NormalizedPath::parse(path).ok()?;
        Some(ownership().judge(&path, principal, &roles()).is_ok())
    }

    #[test]
    fn z7_a_path_is_the_callers_own_only_by_the_exact_id() {
        let ann = caller("ann", "viewer", None);
        for (path, own) in [
            ("/users/ann/orders", Some(true)),
            ("/users/ann", Some(true)),
            ("/users/ann/", Some(true)),
            ("/users/%61nn/orders", Some(true)),
            ("/users//ann/orders", Some(true)),
            ("/users/bob/orders", Some(false)),
            ("/users/ANN/orders", Some(false)),
            ("/users/Ann/orders", Some(false)),
            ("/users/%2561nn/orders", Some(false)),
            ("/users/ann%20x/orders", Some(false)),
            ("/users/ann%C2%A0/orders", Some(false)),
            ("/users/an/orders", Some(false)),
            ("/users/anna/orders", Some(false)),
            ("/users/ann,bob/orders", Some(false)),
            ("/users/%5B%22ann%22%5D/orders", Some(false)),
            ("/users/bob/ann", Some(false)),
            ("/ann/users", Some(false)),
            ("/users", Some(false)),
            ("/users/", Some(false)),
            ("/users/ann./orders", None),
            ("/users/ann%20/orders", None),
            ("/users/ann%2F/orders", None),
            ("/users/ann%5C..%5Cbob/orders", None),
            ("/users/ann%00/orders", None),
            ("/users/ann;x=bob/orders", None),
            ("/users/bob/../ann/orders", None),
            ("/users/%c1%a1nn/orders", None),
        ] {
            assert_eq!(may(path, Some(&ann)), own, "{path}");
        }
        assert_eq!(may("/users/ann/orders", None), Some(false));
    }

    #[test]
    fn z7_ids_beyond_ascii_are_compared_by_their_bytes() {
        let composed = caller("jos\u{e9}", "viewer", None);
        assert_eq!(may("/users/jos%C3%A9", Some(&composed)), Some(true));
        assert_eq!(may("/users/jos%c3%a9", Some(&composed)), Some(true));
        assert_eq!(may("/users/jose%CC%81", Some(&composed)), Some(false));
        assert_eq!(may("/users/jos%E9", Some(&composed)), None);
        let slashed = caller("team|ann@example.com", "viewer", None);
        assert_eq!(may("/users/team%7Cann@example.com", Some(&slashed)), Some(true));
        assert_eq!(may("/users/team%7Cann%40example.com", Some(&slashed)), Some(true));
    }

    #[test]
    fn z7_a_role_or_a_permission_lifts_it_and_scopes_hold_no_role() {
        for (who, may_have_others) in [
            (caller("bob", "admin", None), true),
            (caller("bob", "support", None), true),
            (caller("bob", "viewer", None), false),
            (caller("bob", "admin", Some(&["users:read"])), false),
            (caller("bob", "admin", Some(&["*"])), false),
            (caller("bob", "support", Some(&["orders:read"])), false),
            (caller("bob", "support", Some(&["orders:any"])), true),
        ] {
            assert_eq!(may("/users/ann", Some(&who)), Some(may_have_others), "{:?}", who.parts());
        }
        let nobody = Ownership { unless: Unless::default(), ..ownership() };
        let path = NormalizedPath::parse("/users/ann").unwrap();
        let admin = caller("bob", "admin", None);
        assert_eq!(nobody.judge(&path, Some(&admin), &roles()), Err(Reason::NotOwner { hidden: true }));
        let told = Ownership { hidden: false, ..nobody };
        assert_eq!(told.judge(&path, Some(&admin), &roles()), Err(Reason::NotOwner { hidden: false }));
    }
}
