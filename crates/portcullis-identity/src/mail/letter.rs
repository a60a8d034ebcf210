//! The letters: what our mails say, as text and as HTML from one source. Nothing in them comes from a stranger but the
//! link's token, which we drew; no name, no address and no `Host` header finds its way in.

use std::fmt::Write as _;

use portcullis_core::Timestamp;

use super::Mail;
use crate::policy::Email;

/// What stands in a letter.
enum Part<'a> {
    /// A paragraph.
    Words(String),
    /// A link on a line of its own, and what its button says.
    Link { url: String, button: &'a str },
}

/// For a new registration: the link that confirms the address.
pub(crate) fn verify(to: Email, public_url: &str, token: &str, registered: Timestamp, at: Timestamp) -> Mail {
    let parts = [
        Part::Words("Welcome!".to_owned()),
        Part::Words(format!("Your address was registered at {registered}. Please confirm it within 24 hours of that:")),
        Part::Link { url: format!("{public_url}/auth/verify?token={token}"), button: "Confirm the address" },
        Part::Words(
            "If you did not ask for an account, ignore this mail: without your confirmation none is made.".to_owned(),
        ),
    ];
    write(to, "Confirm your e-mail address", &parts, at)
}

/// For the owner of an address that somebody tried to register again.
pub(crate) fn already_registered(to: Email, public_url: &str, at: Timestamp) -> Mail {
    let parts = [
        Part::Words(format!("Somebody, perhaps you, tried to register your e-mail address at {public_url} again.")),
        Part::Words(
            "You already have an account; just log in. If it was not you, there is nothing to do: your account is \
             untouched."
                .to_owned(),
        ),
    ];
    write(to, "You already have an account", &parts, at)
}

fn write(to: Email, subject: &'static str, parts: &[Part<'_>], at: Timestamp) -> Mail {
    Mail { to, subject, text: as_text(parts), html: as_html(subject, parts), at }
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
fn escape(text: &str) -> String {
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
        let mail = verify(ann(), "https://api.example.com", "T0ken-_", Timestamp::EPOCH, Timestamp::EPOCH);
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
        let mail = verify(ann(), "https://api.example.com", "T", Timestamp::EPOCH, Timestamp::EPOCH);
        for word in ["<img", "<link", "<script", "src=", "url(", "@import"] {
            assert!(!mail.html.contains(word), "{word}");
        }
    }
}
