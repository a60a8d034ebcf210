//! What somebody may do: roles that stand for permissions, and what a route requires (Z1, Z3, Z4).

mod owner;

use std::collections::{BTreeMap, BTreeSet};

use portcullis_core::{Principal, Reason};

pub use self::owner::{Ownership, Unless};

/// What a route requires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// Nothing.
    Public,
    /// A proven identity.
    Authenticated,
    /// One of these roles.
    AnyRole(Vec<Box<str>>),
    /// All of these permissions, and one of those where any are listed.
    Permissions {
        /// Every one is needed.
        all: Vec<Box<str>>,
        /// One is enough.
        any: Vec<Box<str>>,
    },
}

/// Roles and the permissions they stand for, inheritance resolved. A permission is `object:action`; `object:*` stands for
/// every action on it, `*` for everything.
#[derive(Clone, Debug, Default)]
pub struct Roles {
    permissions: BTreeMap<Box<str>, BTreeSet<Box<str>>>,
}

/// One role, as the configuration means it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoleRule {
    /// Roles whose permissions it has too.
    pub inherits: Vec<Box<str>>,
    /// Its own permissions.
    pub permissions: Vec<Box<str>>,
}

/// Why roles do not fit together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RolesError {
    /// A role inherits from one that does not exist.
    #[error("the role \"{role}\" inherits from \"{parent}\", which is not defined")]
    UnknownParent {
        /// The heir.
        role: Box<str>,
        /// The missing one.
        parent: Box<str>,
    },
    /// A role inherits from itself over others.
    #[error("the role \"{0}\" inherits from itself")]
    Cycle(Box<str>),
    /// A permission with a wildcard in the middle, or empty.
    #[error(
        "\"{permission}\" of the role \"{role}\" is not a permission; write \"object:action\", \"object:*\" or \"*\""
    )]
    Permission {
        /// The role.
        role: Box<str>,
        /// The text.
        permission: Box<str>,
    },
}

impl Roles {
    /// Resolves inheritance.
    ///
    /// # Errors
    /// [`RolesError`] names the first role that does not fit.
    pub fn new(rules: &BTreeMap<Box<str>, RoleRule>) -> Result<Self, RolesError> {
        let mut permissions = BTreeMap::new();
        for (role, rule) in rules {
            for permission in &rule.permissions {
                if !is_permission(permission) {
                    return Err(RolesError::Permission { role: role.clone(), permission: permission.clone() });
                }
            }
            resolve(rules, role, &mut Vec::new(), &mut permissions)?;
        }
        Ok(Self { permissions })
    }

    /// Whether a role is defined.
    #[must_use]
    pub fn knows(&self, role: &str) -> bool {
        self.permissions.contains_key(role)
    }

    /// Every role that is defined, in the order of their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.permissions.keys().map(|role| &**role)
    }

    /// What a role stands for, inheritance resolved, as it was written: `posts:*` is not spelt out. Nothing for a role that
    /// is not defined.
    pub fn permissions_of(&self, role: &str) -> impl Iterator<Item = &str> {
        self.permissions.get(role).into_iter().flatten().map(|permission| &**permission)
    }

    /// Whether the principal holds the permission: by one of its roles, or because the credential itself says so.
    ///
    /// What a credential says adds to its roles, so only an issuer whose `claims.permissions` is configured is heard
    /// ([`crate::ClaimNames`]), and only in so many words: a `*` in a token is a text like any other, for whoever asks an
    /// issuer for a scope often chooses its name.
    #[must_use]
    pub fn grants(&self, principal: &Principal, permission: &str) -> bool {
        let parts = principal.parts();
        if parts.scopes.as_ref().is_some_and(|scopes| !scopes.iter().any(|scope| covers(scope, permission))) {
            return false;
        }
        let mut by_role = parts.roles.iter().filter_map(|role| self.permissions.get(role)).flatten();
        by_role.any(|held| covers(held, permission)) || parts.permissions.iter().any(|held| **held == *permission)
    }
}

/// Whether a text can be a scope: a permission, or a pattern of permissions (`posts:*`).
#[must_use]
pub fn is_scope(text: &str) -> bool {
    text.len() <= 100 && text.bytes().all(|byte| byte.is_ascii_graphic()) && is_permission(text)
}

/// Judges a requirement.
///
/// # Errors
/// [`Reason::AuthenticationRequired`] for nobody, [`Reason::InsufficientPermissions`] for somebody who may not.
pub fn permits(requirement: &Requirement, principal: Option<&Principal>, roles: &Roles) -> Result<(), Reason> {
    if *requirement == Requirement::Public {
        return Ok(());
    }
    let principal = principal.ok_or(Reason::AuthenticationRequired)?;
    let allowed = match requirement {
        Requirement::Public => true,
        // Such a route names no permission, so that no scope can stand for it.
        Requirement::Authenticated => principal.parts().scopes.is_none(),
        Requirement::AnyRole(wanted) => wanted.iter().any(|role| principal.has_role(role)),
        // To ask for no permission at all is a mistake, not an open door.
        Requirement::Permissions { all, any } if all.is_empty() && any.is_empty() => false,
        Requirement::Permissions { all, any } => {
            all.iter().all(|permission| roles.grants(principal, permission))
                && (any.is_empty() || any.iter().any(|permission| roles.grants(principal, permission)))
        }
    };
    if allowed { Ok(()) } else { Err(Reason::InsufficientPermissions) }
}

/// Puts a role's permissions and those of its ancestors into `resolved`. Every role is walked once, however many heirs it
/// has.
fn resolve<'a>(
    rules: &'a BTreeMap<Box<str>, RoleRule>,
    role: &'a str,
    path: &mut Vec<&'a str>,
    resolved: &mut BTreeMap<Box<str>, BTreeSet<Box<str>>>,
) -> Result<(), RolesError> {
    if resolved.contains_key(role) {
        return Ok(());
    }
    let Some(rule) = rules.get(role) else {
        let heir = path.last().copied().unwrap_or_default();
        return Err(RolesError::UnknownParent { role: heir.into(), parent: role.into() });
    };
    if path.contains(&role) {
        return Err(RolesError::Cycle(role.into()));
    }
    let mut held: BTreeSet<Box<str>> = rule.permissions.iter().cloned().collect();
    path.push(role);
    for parent in &rule.inherits {
        resolve(rules, parent, path, resolved)?;
        held.extend(resolved.get(parent).into_iter().flatten().cloned());
    }
    path.pop();
    resolved.insert(role.into(), held);
    Ok(())
}

/// Whether a held permission covers a wanted one.
fn covers(held: &str, wanted: &str) -> bool {
    match held.strip_suffix('*') {
        Some("") => true,
        Some(object) => wanted.starts_with(object) && object.ends_with(':'),
        None => held == wanted,
    }
}

/// Whether a text is a permission: `*`, or parts joined by `:` of which the last may be `*`.
fn is_permission(text: &str) -> bool {
    let parts: Vec<&str> = text.split(':').collect();
    text == "*"
        || parts.iter().enumerate().all(|(index, part)| {
            let last = index > 0 && index + 1 == parts.len();
            (last && *part == "*") || (!part.is_empty() && !part.contains('*') && !part.contains(char::is_whitespace))
        })
}

#[cfg(test)]
mod tests {
    use portcullis_core::{PrincipalParts, Scheme, Timestamp};

    use super::*;

    fn rule(inherits: &[&str], permissions: &[&str]) -> RoleRule {
        let boxed = |texts: &[&str]| texts.iter().map(|text| (*text).into()).collect();
        RoleRule { inherits: boxed(inherits), permissions: boxed(permissions) }
    }

    fn example() -> Roles {
        let rules = BTreeMap::from([
            ("user".into(), rule(&[], &["posts:read", "posts:write"])),
            ("moderator".into(), rule(&["user"], &["posts:delete", "users:read"])),
            ("admin".into(), rule(&[], &["users:*", "posts:*", "admin:access"])),
        ]);
        Roles::new(&rules).unwrap()
    }

    fn holder(role: &str) -> Principal {
        Principal::new(PrincipalParts {
            roles: [role.into()].into_iter().collect(),
            ..PrincipalParts::of("u1", Scheme::Bearer, Timestamp::MAX)
        })
        .unwrap()
    }

    #[test]
    fn z3_roles_stand_for_permissions_with_wildcards_and_inheritance() {
        let roles = example();
        for (role, permission, granted) in [
            ("user", "posts:read", true),
            ("user", "posts:delete", false),
            ("moderator", "posts:write", true),
            ("moderator", "users:read", true),
            ("moderator", "users:delete", false),
            ("admin", "users:delete", true),
            ("admin", "posts:anything", true),
            ("admin", "postscript:read", false),
            ("admin", "admin:access", true),
            ("admin", "admin:other", false),
            ("nobody", "posts:read", false),
        ] {
            assert_eq!(roles.grants(&holder(role), permission), granted, "{role} {permission}");
        }
    }

    #[test]
    fn t1_what_a_role_stands_for_is_listed_with_what_it_inherits() {
        let roles = example();
        let listed = |role: &str| roles.permissions_of(role).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(listed("moderator"), ["posts:delete", "posts:read", "posts:write", "users:read"]);
        assert_eq!(listed("admin"), ["admin:access", "posts:*", "users:*"]);
        assert!(listed("nobody").is_empty());
    }

    #[test]
    fn z3_a_credential_adds_what_it_says_in_so_many_words() {
        let roles = example();
        let bearing = |role: &str, permissions: &[&str]| {
            let parts = holder(role).parts().clone();
            let permissions = permissions.iter().map(|text| (*text).into()).collect();
            Principal::new(PrincipalParts { permissions, ..parts }).unwrap()
        };
        assert!(roles.grants(&bearing("user", &["reports:read"]), "reports:read"));
        assert!(roles.grants(&bearing("nobody", &["reports:read"]), "reports:read"));
        for scope in ["*", "reports:*", "reports", "reports:", "REPORTS:READ", ""] {
            assert!(!roles.grants(&bearing("user", &[scope]), "reports:read"), "{scope}");
        }
        // A role of another issuer that nobody defined here stands for nothing.
        assert!(!roles.grants(&bearing("*", &[]), "reports:read"));
    }

    #[test]
    fn z3_wildcards_cover_whole_parts_and_inheritance_is_not_repeated() {
        for (held, wanted, covered) in [
            ("posts:*", "posts:comments:read", true),
            ("posts:*", "posts", false),
            ("posts:*", "posts:", true),
            ("posts:comments:*", "posts:read", false),
            ("*", "anything:at:all", true),
            ("posts:read", "posts:read:all", false),
        ] {
            assert_eq!(covers(held, wanted), covered, "{held} {wanted}");
        }
        // A diamond is no cycle; a role may not be its own parent.
        let diamond = BTreeMap::from([
            ("a".into(), rule(&["b", "c"], &[])),
            ("b".into(), rule(&["d"], &[])),
            ("c".into(), rule(&["d"], &[])),
            ("d".into(), rule(&[], &["x:y"])),
        ]);
        assert!(Roles::new(&diamond).unwrap().grants(&holder("a"), "x:y"));
        let own_parent = BTreeMap::from([("a".into(), rule(&["a"], &[]))]);
        assert_eq!(Roles::new(&own_parent).unwrap_err(), RolesError::Cycle("a".into()));
        // Forty layers of two parents each are 2^40 ways, and must not be walked one by one.
        let mut ladder = BTreeMap::from([("r40".into(), rule(&[], &["x:y"]))]);
        for layer in 0..40 {
            let parent = format!("r{}", layer + 1);
            ladder.insert(format!("r{layer}").into(), rule(&[&parent, &parent], &[]));
        }
        assert!(Roles::new(&ladder).unwrap().grants(&holder("r0"), "x:y"));
    }

    #[test]
    fn z4_nobody_and_somebody_who_may_not_are_two_answers() {
        let roles = example();
        let admin_only = Requirement::AnyRole(vec!["admin".into()]);
        assert_eq!(permits(&admin_only, None, &roles), Err(Reason::AuthenticationRequired));
        assert_eq!(permits(&admin_only, Some(&holder("user")), &roles), Err(Reason::InsufficientPermissions));
        assert_eq!(permits(&admin_only, Some(&holder("admin")), &roles), Ok(()));
        assert_eq!(permits(&Requirement::Public, None, &roles), Ok(()));
        let both = Requirement::Permissions {
            all: vec!["posts:read".into()],
            any: vec!["users:read".into(), "admin:access".into()],
        };
        assert_eq!(permits(&both, Some(&holder("user")), &roles), Err(Reason::InsufficientPermissions));
        assert_eq!(permits(&both, Some(&holder("moderator")), &roles), Ok(()));
        assert_eq!(permits(&both, None, &roles), Err(Reason::AuthenticationRequired));
        let nothing = Requirement::Permissions { all: Vec::new(), any: Vec::new() };
        for empty in [nothing, Requirement::AnyRole(Vec::new())] {
            assert_eq!(permits(&empty, Some(&holder("admin")), &roles), Err(Reason::InsufficientPermissions));
        }
    }

    #[test]
    fn roles_that_do_not_fit_together_are_refused() {
        let unknown = BTreeMap::from([("a".into(), rule(&["b"], &[]))]);
        let error = Roles::new(&unknown).unwrap_err();
        assert_eq!(error, RolesError::UnknownParent { role: "a".into(), parent: "b".into() });
        let cycle = BTreeMap::from([("a".into(), rule(&["b"], &[])), ("b".into(), rule(&["a"], &[]))]);
        assert!(matches!(Roles::new(&cycle), Err(RolesError::Cycle(_))));
        for bad in ["", "po*", "*:read", "a b", "a::b", ":"] {
            let rules = BTreeMap::from([("a".into(), rule(&[], &[bad]))]);
            assert!(matches!(Roles::new(&rules), Err(RolesError::Permission { .. })), "{bad}");
        }
    }
}
