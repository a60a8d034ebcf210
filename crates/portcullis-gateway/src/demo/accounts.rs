//! The demo's three accounts and their passwords.

use std::path::Path;

use portcullis_core::Secret;

use crate::admin::{PrivateFileError, random, read_or_create};

/// E-mail address and role of each.
const WHO: [(&str, &str); 3] =
    [("viewer@example.com", "viewer"), ("editor@example.com", "editor"), ("admin@example.com", "admin")];

/// Characters of a password.
const LENGTH: usize = 20;

/// One account of the demo.
#[derive(Clone, Debug)]
pub struct Account {
    /// Its e-mail address, verified.
    pub email: &'static str,
    /// Its role.
    pub role: &'static str,
    /// Its password: 20 letters and digits, random.
    pub password: Secret<String>,
}

/// Why there are no accounts.
pub type AccountsError = PrivateFileError;

/// The accounts viewer, editor and admin.
#[derive(Clone, Debug)]
pub struct Accounts([Account; 3]);

impl Accounts {
    /// The accounts with the passwords in `<state_dir>/demo-passwords`, which are drawn at the first start (mode 0600)
    /// and stay the same afterwards. Whoever creates the accounts in the database must set these passwords also where an
    /// account exists already, because the file may have been removed meanwhile.
    ///
    /// # Errors
    /// When the file cannot be read or made, or does not hold what it should.
    pub fn load_or_create(state_dir: &Path) -> Result<Self, AccountsError> {
        let path = state_dir.join("demo-passwords");
        let text = read_or_create(&path, || WHO.map(|(email, _)| format!("{email} {}\n", password())).concat())?;
        Self::parse(&text).ok_or(PrivateFileError::Invalid(path))
    }

    /// All three, the least powerful first.
    pub fn iter(&self) -> impl Iterator<Item = &Account> {
        self.0.iter()
    }

    /// The one that may do everything.
    #[must_use]
    pub const fn admin(&self) -> &Account {
        &self.0[2]
    }

    fn parse(text: &str) -> Option<Self> {
        let accounts: Vec<Account> = WHO
            .iter()
            .map_while(|&(email, role)| {
                let password = text.lines().find_map(|line| line.strip_prefix(email)?.strip_prefix(' '))?;
                let plain = password.len() == LENGTH && password.bytes().all(|byte| byte.is_ascii_alphanumeric());
                plain.then(|| Account { email, role, password: Secret::new(password.to_owned()) })
            })
            .collect();
        accounts.try_into().ok().map(Self)
    }
}

/// Random letters and digits that satisfy the standard password policy (92 bits). The characters need no quoting in a
/// shell or in JSON.
fn password() -> String {
    const LETTERS: &[u8; 32] = b"abcdefghkmnpqrstuvwxyzABCDEFGHKM";
    const DIGITS: &[u8; 8] = b"23456789";
    loop {
        let characters = random().into_iter().take(LENGTH).enumerate().map(|(index, byte)| {
            char::from(if index % 5 == 4 { DIGITS[usize::from(byte % 8)] } else { LETTERS[usize::from(byte % 32)] })
        });
        let password: String = characters.collect();
        if password.contains(|c: char| c.is_ascii_uppercase()) && password.contains(|c: char| c.is_ascii_lowercase()) {
            return password;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_start_has_the_same_passwords() {
        let directory = tempfile::tempdir().unwrap();
        let first = Accounts::load_or_create(directory.path()).unwrap();
        let second = Accounts::load_or_create(directory.path()).unwrap();
        for (first, second) in first.iter().zip(second.iter()) {
            assert!(first.email == second.email && first.password == second.password);
        }
        assert_eq!(first.admin().role, "admin");
        assert!(!format!("{first:?}").contains(first.admin().password.expose()));
    }

    #[test]
    fn passwords_satisfy_the_policy_and_need_no_quoting() {
        for _ in 0..200 {
            let password = password();
            assert_eq!(password.len(), LENGTH);
            for needed in [char::is_uppercase, char::is_lowercase, char::is_numeric] {
                assert!(password.contains(needed), "{password}");
            }
            assert!(password.chars().all(|character| character.is_ascii_alphanumeric()), "{password}");
        }
        assert_ne!(password(), password());
    }

    #[test]
    fn a_spoilt_file_is_told_and_not_used() {
        let directory = tempfile::tempdir().unwrap();
        read_or_create(&directory.path().join("demo-passwords"), || "viewer@example.com $(reboot)\n".into()).unwrap();
        let error = Accounts::load_or_create(directory.path()).unwrap_err();
        assert!(error.to_string().contains("remove it to get a new one"), "{error}");
    }
}
