//! What an address, a name and a password must be (A1, A2).

mod obvious;

use crate::password::one_spelling;
pub use obvious::PasswordContext;
use obvious::{Obvious, obvious};

/// The longest address (A1).
pub(crate) const MAX_EMAIL_BYTES: usize = 255;
/// The longest name of a person (A1).
pub(crate) const MAX_NAME_CHARS: usize = 100;
/// The longest name of a role or a plan.
pub(crate) const MAX_PLAIN_NAME_BYTES: usize = 64;

/// A preset of password rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PasswordPolicy {
    /// At least 10 characters with an upper-case letter, a lower-case letter and a number.
    #[default]
    Standard,
    /// 8 to 100 characters with an upper-case letter, a lower-case letter, a number and a special character.
    Special,
    /// NIST SP 800-63B-4: at least 15 characters, no composition rules.
    Nist,
}

/// A rule that an input breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The member of the request (`email`, `name`, `password`).
    pub field: &'static str,
    /// What it must be, as the client is told.
    pub message: &'static str,
}

/// An address in its one spelling: lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Email(Box<str>);

/// A password over this many bytes is refused, so that hashing cannot be used to keep the process busy.
const MAX_PASSWORD_BYTES: usize = 4096;

impl PasswordPolicy {
    /// Every rule that a password breaks. A character is a Unicode code point of the password's one spelling (NFC), as NIST
    /// SP 800-63B-4 §3.1.1.2 counts.
    #[must_use]
    pub fn violations(self, password: &str, context: &PasswordContext) -> Vec<Violation> {
        // Before anything is done with it in proportion to its length.
        if password.len() > MAX_PASSWORD_BYTES {
            return vec![Violation { field: "password", message: "Must be at most 4096 bytes" }];
        }
        let password = one_spelling(password);
        let password = password.expose().as_str();
        let length = password.chars().count();
        let mut broken = Vec::new();
        let mut must = |holds: bool, message| {
            if !holds {
                broken.push(Violation { field: "password", message });
            }
        };
        match self {
            Self::Standard => must(length >= 10, "Must be at least 10 characters"),
            Self::Special => must((8..=100).contains(&length), "Must be 8 to 100 characters"),
            Self::Nist => must(length >= 15, "Must be at least 15 characters"),
        }
        if self != Self::Nist {
            must(password.chars().any(char::is_uppercase), "Must contain uppercase");
            must(password.chars().any(char::is_lowercase), "Must contain lowercase");
            must(password.chars().any(char::is_numeric), "Must contain number");
        }
        if self == Self::Special {
            must(
                password.chars().any(|c| !c.is_alphanumeric() && !c.is_whitespace()),
                "Must contain special character",
            );
        }
        match obvious(password, context) {
            Some(Obvious::Common) => must(false, "Must not be a common password"),
            Some(Obvious::OfOwner) => {
                must(false, "Must not be made of your e-mail address, your name or the name of this service");
            }
            None => {}
        }
        broken
    }
}

impl Email {
    /// Reads an address: a subset of RFC 5321 §4.1.2 without quoting, ASCII only, at most 255 characters.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn parse(text: &str) -> Result<Self, Violation> {
        let broken = |message| Err(Violation { field: "email", message });
        let text = text.trim();
        if text.len() > MAX_EMAIL_BYTES {
            return broken("Must be at most 255 characters");
        }
        if !text.is_ascii() {
            return broken("Must be written in ASCII; write an international domain in its xn-- form");
        }
        let Some((local, domain)) = text.rsplit_once('@') else { return broken("Must be an e-mail address") };
        let atom = |part: &str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&b))
        };
        let label = |part: &str| {
            !part.is_empty()
                && part.len() <= 63
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && !part.starts_with('-')
                && !part.ends_with('-')
        };
        let labels = domain.split('.').count();
        if local.len() > 64 || !local.split('.').all(atom) || labels < 2 || !domain.split('.').all(label) {
            return broken("Must be an e-mail address");
        }
        Ok(Self(text.to_ascii_lowercase().into()))
    }

    /// The address.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether it can be the name of a role or a plan: 1 to 64 letters, digits, `-` and `_`.
pub(crate) fn is_plain_name(text: &str) -> bool {
    (1..=MAX_PLAIN_NAME_BYTES).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

/// An id of an account: it stands in tokens, headers and limit keys.
pub(crate) fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:|".contains(&byte))
}

/// A stranger's text as it may stand in a list or a log: one line of at most 200 characters, without those that end lines,
/// steer a terminal or turn the direction of writing.
pub(crate) fn plain_text(text: &str) -> String {
    let hidden = |c: char| steers(c) || matches!(c, '\u{200c}'..='\u{200f}');
    text.chars().map(|c| if hidden(c) { '\u{fffd}' } else { c }).take(200).collect()
}

/// Whether a character ends lines, steers a terminal, turns the direction of writing, or is there without being seen and of
/// no use in a word. Joiners are of use: names of several scripts need them.
fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}' | '\u{2028}'..='\u{202e}' | '\u{2060}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// A name: 2 to 100 characters after trimming, none of which [`steers`].
pub(crate) fn parse_name(text: &str) -> Result<String, Violation> {
    let text = text.trim();
    let broken = |message| Err(Violation { field: "name", message });
    if !(2..=MAX_NAME_CHARS).contains(&text.chars().count()) {
        return broken("Must be 2 to 100 characters");
    }
    if text.chars().any(steers) {
        return broken("Must not contain control characters");
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(policy: PasswordPolicy, password: &str) -> Vec<&'static str> {
        policy
            .violations(password, &PasswordContext::default())
            .into_iter()
            .map(|violation| violation.message)
            .collect()
    }

    #[test]
    fn a2_each_failed_rule_is_told() {
        use PasswordPolicy::{Nist, Special, Standard};
        assert_eq!(messages(Standard, "Str0ngEnough"), [""; 0]);
        assert_eq!(
            messages(Standard, "short"),
            ["Must be at least 10 characters", "Must contain uppercase", "Must contain number"]
        );
        assert_eq!(messages(Standard, "ALLUPPER123"), ["Must contain lowercase"]);
        assert_eq!(messages(Special, "Str0ngEnough"), ["Must contain special character"]);
        assert_eq!(messages(Special, "Str0ng-Enough"), [""; 0]);
        assert_eq!(messages(Special, &format!("Aa1-{}", "xyzabq".repeat(17))), ["Must be 8 to 100 characters"]);
        assert_eq!(messages(Nist, "all lower is fine"), [""; 0]);
        assert_eq!(messages(Nist, "too short"), ["Must be at least 15 characters"]);
    }

    #[test]
    fn a2_long_passphrases_of_any_script_are_welcome() {
        let long = format!("Ünïcödé1 {}", "пароль ".repeat(40));
        assert!(long.chars().count() > 128);
        assert_eq!(messages(PasswordPolicy::Standard, &long), [""; 0]);
        assert_eq!(messages(PasswordPolicy::Nist, &long), [""; 0]);
        // Two code points that are one character count as one.
        assert_eq!(messages(PasswordPolicy::Standard, "Kr0ketmno\u{308}"), ["Must be at least 10 characters"]);
        assert_eq!(messages(PasswordPolicy::Nist, &"x".repeat(5000)), ["Must be at most 4096 bytes"]);
    }

    #[test]
    fn a2_common_passwords_are_refused_in_every_dress() {
        for password in ["Password123", "Qwertyuiop1", "Iloveyou2024", "!!Sunshine99"] {
            let told = messages(PasswordPolicy::Special, password);
            assert!(told.contains(&"Must not be a common password"), "{password}: {told:?}");
        }
    }

    #[test]
    fn a2_the_owners_and_the_services_words_are_refused() {
        let context = PasswordContext::new("https://www.tidewater.io", Some("ann.lee@example.com"), None);
        for password in ["Ann.Lee.2024", "Tidewater12!"] {
            let broken = PasswordPolicy::Special.violations(password, &context);
            assert_eq!(broken.len(), 1, "{password}");
            assert!(broken[0].message.starts_with("Must not be made of your e-mail address"), "{password}");
        }
        assert!(PasswordPolicy::Special.violations("Annual-Leek-93", &context).is_empty());
    }

    #[test]
    fn a1_addresses_are_compared_in_lower_case() {
        assert_eq!(Email::parse(" Ann.Lee+x@Example.COM ").unwrap().as_str(), "ann.lee+x@example.com");
        for bad in [
            "",
            "ann",
            "@example.com",
            "ann@",
            "ann@localhost",
            "ann@@example.com",
            "ann@example..com",
            "a nn@example.com",
            "ann@example.com\r\nBcc: x@example.com",
            "ann@-example.com",
            ".ann@example.com",
            "\"ann\"@example.com",
            "ann@exämple.com",
            "<ann@example.com>",
            "ann@example.com,bob@example.com",
        ] {
            assert!(Email::parse(bad).is_err(), "{bad:?}");
        }
        assert!(Email::parse(&format!("a@{}.com", "x.".repeat(130))).is_err());
    }

    #[test]
    fn a1_names_are_trimmed_and_bounded() {
        assert_eq!(parse_name("  Ann ").unwrap(), "Ann");
        assert_eq!(parse_name("李 明").unwrap(), "李 明");
        for bad in ["", " x ", "a\nb", &"x".repeat(101)] {
            assert!(parse_name(bad).is_err(), "{bad:?}");
        }
    }
}
