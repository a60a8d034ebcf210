//! The letters: what our mails say, as text and as HTML from one source. Nothing in them comes from a stranger but the
//! link's token, which we drew; no name, no address and no `Host` header finds its way in. An operator's own words can
//! take their place, see `letters`.

use std::fmt::Write as _;

use portcullis_core::Timestamp;

use super::{LetterKind, Mail};
use crate::policy::Email;

/// What stands in a letter.
enum Part<'a> {
    /// A paragraph.
    Words(String),
    /// A link on a line of its own, and what its button says.
    Link { url: String, button: &'a str },
}

/// How long the link of a registration is good, as the letter says it.
pub(super) const VERIFICATION_HOURS: &str = "24";

/// How long a link to set another password is good, in hours.
pub(super) const RESET_HOURS: &str = "1";

/// How long a link that makes a device known is good, in hours.
pub(super) const DEVICE_HOURS: &str = "24";

/// The link that makes a device known.
pub(super) fn device_link(public_url: &str, token: &str) -> String {
    format!("{public_url}/auth/confirm-device?token={token}")
}

/// The link to set another password.
pub(super) fn reset_link(public_url: &str, token: &str) -> String {
    format!("{public_url}/auth/reset-password?token={token}")
}

/// The link that confirms the new address of an account.
pub(super) fn confirm_email_link(public_url: &str, token: &str) -> String {
    format!("{public_url}/auth/confirm-email?token={token}")
}

/// The link that confirms an address.
pub(super) fn verification_link(public_url: &str, token: &str) -> String {
    format!("{public_url}/auth/verify?token={token}")
}

/// For a new registration: the link that confirms the address.
pub(super) fn verify(to: Email, link: &str, registered: Timestamp, at: Timestamp) -> Mail {
    let parts = [
        Part::Words("Welcome!".to_owned()),
        Part::Words(format!(
            "Your address was registered at {registered}. Please confirm it within {VERIFICATION_HOURS} hours of that:"
        )),
        Part::Link { url: link.to_owned(), button: "Confirm the address" },
        Part::Words(
            "If you did not ask for an account, ignore this mail: without your confirmation none is made.".to_owned(),
        ),
    ];
    write(LetterKind::Verify, to, "Confirm your e-mail address", &parts, at)
}

/// For the owner of an address that somebody tried to register again.
pub(super) fn already_registered(to: Email, public_url: &str, at: Timestamp) -> Mail {
    let parts = [
        Part::Words(format!("Somebody, perhaps you, tried to register your e-mail address at {public_url} again.")),
        Part::Words(
            "You already have an account; just log in. If it was not you, there is nothing to do: your account is \
             untouched."
                .to_owned(),
        ),
    ];
    write(LetterKind::AlreadyRegistered, to, "You already have an account", &parts, at)
}

/// For somebody who forgot their password.
pub(super) fn reset(to: Email, link: &str, public_url: &str, at: Timestamp) -> Mail {
    let parts = [
        Part::Words(format!("Somebody, hopefully you, asked for another password for your account at {public_url}.")),
        Part::Words(format!("Set it within {RESET_HOURS} hour:")),
        Part::Link { url: link.to_owned(), button: "Set another password" },
        Part::Words("If it was not you, ignore this mail: your password stays what it is.".to_owned()),
    ];
    write(LetterKind::Reset, to, "Set another password", &parts, at)
}

/// What to do for whoever did not cause what a letter tells of.
fn if_it_was_not_you(public_url: &str) -> Part<'static> {
    Part::Words(format!(
        "If it was not you, somebody else knows your password: set another at once with \"forgot password\" at {public_url}."
    ))
}

/// For the owner of an account whose password was changed.
pub(super) fn password_changed(to: Email, public_url: &str, at: Timestamp) -> Mail {
    let parts = [
        Part::Words(format!(
            "The password of your account at {public_url} was changed at {at}. Whoever was logged in has to log in again."
        )),
        Part::Words("If it was you, there is nothing to do.".to_owned()),
        if_it_was_not_you(public_url),
        Part::Words("API keys of the account go on working; end those that you did not make.".to_owned()),
    ];
    write(LetterKind::PasswordChanged, to, "Your password was changed", &parts, at)
}

/// For the new address of an account.
pub(super) fn confirm_email(to: Email, link: &str, public_url: &str, at: Timestamp) -> Mail {
    let parts = [
        Part::Words(format!("This is to be the address of an account at {public_url}.")),
        Part::Words(format!("Please confirm it within {VERIFICATION_HOURS} hours:")),
        Part::Link { url: link.to_owned(), button: "Confirm the new address" },
        Part::Words("If you did not ask for that, ignore this mail: nothing changes without you.".to_owned()),
    ];
    write(LetterKind::ConfirmEmail, to, "Confirm your new e-mail address", &parts, at)
}

/// For the present address of an account that is to get another.
pub(super) fn email_changing(to: Email, public_url: &str, at: Timestamp) -> Mail {
    let parts = [
        Part::Words(format!(
            "Somebody, hopefully you, asked at {at} to give your account at {public_url} another e-mail address. It changes \
             once the new address is confirmed."
        )),
        Part::Words("If it was you, there is nothing to do here.".to_owned()),
        if_it_was_not_you(public_url),
    ];
    write(LetterKind::EmailChanging, to, "Your e-mail address is about to change", &parts, at)
}

/// For the former address of an account that got another.
pub(super) fn email_changed(to: Email, public_url: &str, at: Timestamp) -> Mail {
    let parts = [
        Part::Words(format!("Your account at {public_url} has another e-mail address since {at}.")),
        Part::Words(
            "If it was not you, write to whoever runs this service: this address opens the account no more.".to_owned(),
        ),
    ];
    write(LetterKind::EmailChanged, to, "Your e-mail address was changed", &parts, at)
}

/// For the owner of an account that was deleted.
pub(super) fn account_deleted(to: Email, public_url: &str, at: Timestamp) -> Mail {
    let parts = [
        Part::Words(format!("Your account at {public_url} was deleted at {at}, as somebody with its password asked.")),
        Part::Words("If it was not you, write to whoever runs this service.".to_owned()),
    ];
    write(LetterKind::AccountDeleted, to, "Your account was deleted", &parts, at)
}

/// For the owner of an account at which too many wrong passwords were tried.
pub(super) fn logins_exhausted(to: Email, link: &str, public_url: &str, at: Timestamp) -> Mail {
    let parts = [
        Part::Words(format!(
            "Too many wrong passwords were tried for your account at {public_url}, the last one at {at}."
        )),
        Part::Words(
            "For a while no new device can sign in to it. Where you have signed in before, everything goes on.".to_owned(),
        ),
        Part::Words(format!(
            "If you want to sign in on a new device now, open this link there within {DEVICE_HOURS} hours. You need your \
             password then, as always:"
        )),
        Part::Link { url: link.to_owned(), button: "Let this device sign in" },
        Part::Words(
            "If it was not you, there is nothing that you must do: these attempts have failed. A long password that you use \
             nowhere else keeps it so."
                .to_owned(),
        ),
    ];
    write(LetterKind::LoginsExhausted, to, "Wrong passwords were tried for your account", &parts, at)
}

fn write(kind: LetterKind, to: Email, subject: &str, parts: &[Part<'_>], at: Timestamp) -> Mail {
    Mail { to, kind, subject: subject.into(), text: as_text(parts), html: as_html(subject, parts), at }
}

fn as_text(parts: &[Part<'_>]) -> String {
    let paragraphs: Vec<&str> = parts
        .iter()
        .map(|part| match part {
            Part::Words(words) => words.as_str(),
            Part::Link { url, .. } => url.as_str(),
        })
        .collect();
    paragraphs.join("\n\n") + "\n"
}

/// No picture, style sheet or script: nothing in a mail shall be fetched when it is opened.
fn as_html(subject: &str, parts: &[Part<'_>]) -> String {
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{}</title></head>\n\
         <body style=\"font-family:sans-serif;max-width:36em;margin:2em auto;line-height:1.5\">\n",
        escape(subject)
    );
    for part in parts {
        // Writing into a text cannot fail.
        let _ = match part {
            Part::Words(words) => writeln!(html, "<p>{}</p>", escape(words)),
            Part::Link { url, button } => {
                let url = escape(url);
                writeln!(html, "<p><a href=\"{url}\">{}</a></p>\n<p>Or open this address: {url}</p>", escape(button))
            }
        };
    }
    html.push_str("</body></html>\n");
    html
}

/// What HTML takes for markup, as text. What is escaped comes from the configuration, which may hold a `&` or a `'`.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ann() -> Email {
        Email::parse("ann@example.com").unwrap()
    }

    #[test]
    fn a10_a_letter_is_the_same_as_text_and_as_html() {
        let mail =
            verify(ann(), &verification_link("https://api.example.com", "T0ken-_"), Timestamp::EPOCH, Timestamp::EPOCH);
        let link = "https://api.example.com/auth/verify?token=T0ken-_";
        assert!(mail.text.contains(&format!("\n\n{link}\n\n")), "{}", mail.text);
        assert!(mail.html.contains(&format!("<a href=\"{link}\">")), "{}", mail.html);
        assert!(mail.text.contains("within 24 hours") && mail.html.contains("within 24 hours"));
    }

    #[test]
    fn a10_what_looks_like_markup_is_text_in_a_letter() {
        let mail = already_registered(ann(), "https://x/\"><img src=//evil>&'", Timestamp::EPOCH);
        assert!(!mail.html.contains("<img") && mail.html.contains("&quot;&gt;&lt;img src=//evil&gt;&amp;&#39;"));
    }

    #[test]
    fn a10_opening_a_letter_fetches_nothing() {
        let mail = verify(ann(), "https://api.example.com/auth/verify?token=T", Timestamp::EPOCH, Timestamp::EPOCH);
        for word in ["<img", "<link", "<script", "src=", "url(", "@import"] {
            assert!(!mail.html.contains(word), "{word}");
        }
    }
}
