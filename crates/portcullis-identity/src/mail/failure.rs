//! Why a mail did not go out: whether it is worth another try, and what may be said of it.

use lettre::transport::smtp;

/// Why one attempt failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// Whether the server has refused this very mail, so that no further attempt can help.
    pub(super) is_final: bool,
    /// One stable word for events.
    pub(super) slug: &'static str,
    /// What the server or the connection said, for a log.
    pub(super) said: String,
}

/// Codes with which a server refuses us and not the mail (RFC 4954 §6, RFC 3207 §4): somebody has to put the password or
/// the protection right, and may do so before the last attempt.
const ABOUT_US: [u16; 4] = [530, 534, 535, 538];

impl Failure {
    /// Judges an error of the transport: RFC 5321 §4.2.1 leaves a 5yz to nobody's patience, all else may pass.
    pub(super) fn judge(error: &smtp::Error) -> Self {
        let code = error.status().map(u16::from);
        let is_final = error.is_permanent() && code.is_none_or(|code| !ABOUT_US.contains(&code));
        let slug = match code {
            Some(_) if is_final => "mail_refused",
            Some(code) if ABOUT_US.contains(&code) => "mail_login_refused",
            Some(_) => "mail_deferred",
            None if error.is_tls() => "mail_server_not_trusted",
            None => "mail_server_unreachable",
        };
        Self { is_final, slug, said: scrub(&error.to_string()) }
    }

    /// The attempt took too long.
    pub(super) fn timeout() -> Self {
        Self { is_final: false, slug: "mail_server_unreachable", said: "no answer in time".to_owned() }
    }
}

/// The longest answer of a server that is logged, in characters.
const LONGEST: usize = 300;
/// Letters and digits in a row from which on a word could be a piece of a token; those have 43.
const SUSPICIOUS: usize = 20;

/// What a server said, fit for a log: a filter may quote the link that it did not like, so whatever could be a piece of
/// a token is left out, and so is what would begin a line of its own.
fn scrub(said: &str) -> String {
    let mut clean = String::new();
    let mut word = String::new();
    let end = |word: &mut String, clean: &mut String| {
        if word.len() >= SUSPICIOUS {
            clean.push('…')
        } else {
            clean.push_str(word)
        }
        word.clear();
    };
    for c in said.chars() {
        if c.is_ascii_alphanumeric() || c == '_' || c == '-' || c == '%' || c == '=' {
            word.push(c);
            continue;
        }
        end(&mut word, &mut clean);
        clean.push(if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') { ' ' } else { c });
    }
    end(&mut word, &mut clean);
    clean.chars().take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_quotes_our_link_brings_no_token_into_a_log() {
        let token = "q3Jx9_0vKc7wLrT2mZs8Yf1uN5bHd4Ga-x0PqRsTuVw";
        let said =
            scrub(&format!("permanent error (554): 5.7.1 spam: https://api.example.com/auth/verify?token={token}"));
        assert!(said.contains("5.7.1 spam: https://api.example.com/auth/verify?…"), "{said}");
        for length in SUSPICIOUS..=token.len() {
            assert!(!scrub(&token[..length]).contains(&token[..8]), "{length}");
        }
        assert_eq!(scrub("550 <ann@example.com>: no such user"), "550 <ann@example.com>: no such user");
    }

    #[test]
    fn a_server_cannot_forge_a_line_of_a_log() {
        assert_eq!(scrub("no\r\n2026 ERROR \u{1b}[31mforged\u{2028}\0"), "no  2026 ERROR  [31mforged  ");
        assert_eq!(scrub(&"a ".repeat(1000)).chars().count(), LONGEST);
    }
}
