//! What somebody may do: roles that stand for permissions, and what a route requires (Z1, Z3, Z4).

use std::collections::{BTreeMap, BTreeSet};

use portcullis_core::{Principal, Reason};

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
            let mut held = BTreeSet::new();
            collect(rules, role, &mut Vec::new(), &mut held)?;
            permissions.insert(role.clone(), held);
        }
        Ok(Self { permissions })
    }

    /// Whether a role is defined.
    #[must_use]
    pub fn knows(&self, role: &str) -> bool {
        self.permissions.contains_key(role)
    }

    /// Whether the principal holds the permission: by one of its roles, or because the credential itself says so.
    #[must_use]
    pub fn grants(&self, principal: &Principal, permission: &str) -> bool {
        let parts = principal.parts();
        let by_role = parts.roles.iter().filter_map(|role| self.permissions.get(role)).flatten();
        by_role.chain(&parts.permissions).any(|held| covers(held, permission))
    }
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
        Requirement::Public | Requirement::Authenticated => true,
        Requirement::AnyRole(wanted) => wanted.iter().any(|role| principal.has_role(role)),
        Requirement::Permissions { all, any } => {
            all.iter().all(|permission| roles.grants(principal, permission))
                && (any.is_empty() || any.iter().any(|permission| roles.grants(principal, permission)))
        }
    };
    if allowed { Ok(()) } else { Err(Reason::InsufficientPermissions) }
}

fn collect(
    rules: &BTreeMap<Box<str>, RoleRule>,
    role: &str,
    path: &mut Vec<Box<str>>,
    held: &mut BTreeSet<Box<str>>,
) -> Result<(), RolesError> {
    let Some(rule) = rules.get(role) else {
        let heir = path.last().cloned().unwrap_or_default();
        return Err(RolesError::UnknownParent { role: heir, parent: role.into() });
    };
    if path.iter().any(|seen| &**seen == role) {
        return Err(RolesError::Cycle(role.into()));
    }
    held.extend(rule.permissions.iter().cloned());
    path.push(role.into());
    for parent in &rule.inherits {
        collect(rules, parent, path, held)?;
    }
    path.pop();
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
            subject: "u1".into(),
            issuer: None,
            roles: [role.into()].into_iter().collect(),
            permissions: Vec::new(),
            plan: None,
            session: None,
            token_id: None,
            version: 0,
            expires: Timestamp::MAX,
            scheme: Scheme::Bearer,
            claims: BTreeMap::new(),
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
