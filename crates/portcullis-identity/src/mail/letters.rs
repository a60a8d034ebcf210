//! An operator's own letters: files that stand in for the words of ours.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use portcullis_core::Timestamp;

use super::template::{Field, Misplaced, Template, Value};
use super::{LetterKind, Mail, letter};
use crate::policy::Email;

/// What the letters say. Without a file they say what [`letter`] says.
#[derive(Clone, Debug, Default)]
pub struct Letters {
    own: Arc<BTreeMap<LetterKind, Own>>,
}

/// What an operator wrote of one letter.
#[derive(Debug, Default)]
struct Own {
    subject: Option<Arc<str>>,
    body: Option<Body>,
}

/// Both alternatives: a mail shall not say one thing to one reader and another to the next.
#[derive(Debug)]
struct Body {
    text: Template,
    html: Template,
}

/// The parts of a letter, and how their files' names end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Subject,
    Text,
    Html,
}

impl Part {
    const ALL: [Self; 3] = [Self::Subject, Self::Text, Self::Html];

    const fn ending(self) -> &'static str {
        match self {
            Self::Subject => "subject",
            Self::Text => "txt",
            Self::Html => "html",
        }
    }
}

/// The largest file: up to a thousand mails wait in memory.
const LARGEST: usize = 32 * 1024;
/// The longest subject, in characters.
const LONGEST_SUBJECT: usize = 150;

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LetterError {
    /// The file's name, without its directory.
    pub file: String,
    /// The line, counted from one; `None` where it is about the whole file.
    pub line: Option<usize>,
    /// What is wrong, in one sentence that goes on after the file's name.
    pub problem: String,
    /// What can be written instead.
    pub choices: Vec<String>,
}

impl fmt::Display for LetterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.file, self.problem),
            None => write!(f, "{} {}", self.file, self.problem),
        }
    }
}

impl std::error::Error for LetterError {}

impl Letters {
    /// Whether a file of this name is meant to be part of a letter. Others may lie beside them: notes, and what editors
    /// leave behind.
    #[must_use]
    pub fn takes(name: &str) -> bool {
        let ending = name.rsplit_once('.').filter(|(start, _)| !start.is_empty() && !name.starts_with('.'));
        ending.is_some_and(|(_, ending)| Part::ALL.iter().any(|part| part.ending() == ending))
    }

    /// Reads files by name: `verify.txt`, `verify.html`, `verify.subject`, and so on for each [`LetterKind`].
    ///
    /// # Errors
    /// Everything that is wrong with any of them, in the order of the files.
    pub fn read<'f>(files: impl IntoIterator<Item = (&'f str, &'f [u8])>) -> Result<Self, Vec<LetterError>> {
        let mut wrong = Vec::new();
        let mut parts: BTreeMap<(LetterKind, Part), Option<Template>> = BTreeMap::new();
        for (name, bytes) in files {
            let Some((kind, part)) = meaning(name) else {
                let choices = LetterKind::ALL.iter().flat_map(|kind| Part::ALL.map(|part| file(*kind, part)));
                let problem = "belongs to no letter".to_owned();
                wrong.push(LetterError { file: name.to_owned(), line: None, problem, choices: choices.collect() });
                continue;
            };
            let read = template(name, kind, part, bytes).map_err(|told| wrong.extend(told));
            parts.insert((kind, part), read.ok());
        }
        let mut own: BTreeMap<LetterKind, Own> = BTreeMap::new();
        for kind in LetterKind::ALL {
            if let Some(Some(subject)) = parts.remove(&(kind, Part::Subject)) {
                own.entry(kind).or_default().subject = Some(subject.as_text(&[]).into());
            }
            let alone = |there: Part, absent: Part| LetterError {
                file: file(kind, there),
                line: None,
                problem: format!("is there without {}; a mail has both", file(kind, absent)),
                choices: Vec::new(),
            };
            match (parts.remove(&(kind, Part::Text)), parts.remove(&(kind, Part::Html))) {
                (Some(Some(text)), Some(Some(html))) => own.entry(kind).or_default().body = Some(Body { text, html }),
                (Some(_), None) => wrong.push(alone(Part::Text, Part::Html)),
                (None, Some(_)) => wrong.push(alone(Part::Html, Part::Text)),
                _ => {}
            }
        }
        if wrong.is_empty() { Ok(Self { own: Arc::new(own) }) } else { Err(wrong) }
    }

    /// For a new registration: the link that confirms the address.
    pub(crate) fn verify(
        &self,
        to: Email,
        public_url: &str,
        token: &str,
        registered: Timestamp,
        at: Timestamp,
    ) -> Mail {
        let link = letter::verification_link(public_url, token);
        let when = registered.to_string();
        let values = [
            (Field::Link, &*link),
            (Field::PublicUrl, public_url),
            (Field::Registered, &*when),
            (Field::Hours, letter::VERIFICATION_HOURS),
        ];
        self.in_own_words(letter::verify(to, &link, registered, at), &values)
    }

    /// For the owner of an address that somebody tried to register again.
    pub(crate) fn already_registered(&self, to: Email, public_url: &str, at: Timestamp) -> Mail {
        self.in_own_words(letter::already_registered(to, public_url, at), &[(Field::PublicUrl, public_url)])
    }

    /// For somebody who forgot their password: the link to set another.
    pub(crate) fn reset(&self, to: Email, public_url: &str, token: &str, at: Timestamp) -> Mail {
        let link = letter::reset_link(public_url, token);
        let values = [(Field::Link, &*link), (Field::PublicUrl, public_url), (Field::Hours, letter::RESET_HOURS)];
        self.in_own_words(letter::reset(to, &link, public_url, at), &values)
    }

    /// For a new address of an account: the link that confirms it.
    pub(crate) fn confirm_email(&self, to: Email, public_url: &str, token: &str, at: Timestamp) -> Mail {
        let link = letter::confirm_email_link(public_url, token);
        let values =
            [(Field::Link, &*link), (Field::PublicUrl, public_url), (Field::Hours, letter::VERIFICATION_HOURS)];
        self.in_own_words(letter::confirm_email(to, &link, public_url, at), &values)
    }

    /// For the owner of an account whose password was changed.
    pub(crate) fn password_changed(&self, to: Email, public_url: &str, at: Timestamp) -> Mail {
        self.notice(letter::password_changed(to, public_url, at), public_url)
    }

    /// For the present address of an account that is to get another.
    pub(crate) fn email_changing(&self, to: Email, public_url: &str, at: Timestamp) -> Mail {
        self.notice(letter::email_changing(to, public_url, at), public_url)
    }

    /// For the former address of an account that got another.
    pub(crate) fn email_changed(&self, to: Email, public_url: &str, at: Timestamp) -> Mail {
        self.notice(letter::email_changed(to, public_url, at), public_url)
    }

    /// For the owner of an account that was deleted.
    pub(crate) fn account_deleted(&self, to: Email, public_url: &str, at: Timestamp) -> Mail {
        self.notice(letter::account_deleted(to, public_url, at), public_url)
    }

    /// For the owner of an account at which too many wrong passwords were tried: the link that makes a device known.
    pub(crate) fn logins_exhausted(&self, to: Email, public_url: &str, token: &str, at: Timestamp) -> Mail {
        let link = letter::device_link(public_url, token);
        let when = at.to_string();
        let values = [
            (Field::Link, &*link),
            (Field::PublicUrl, public_url),
            (Field::When, &*when),
            (Field::Hours, letter::DEVICE_HOURS),
        ];
        self.in_own_words(letter::logins_exhausted(to, &link, public_url, at), &values)
    }

    /// A letter that tells what happened, and when.
    fn notice(&self, mail: Mail, public_url: &str) -> Mail {
        let when = mail.at.to_string();
        self.in_own_words(mail, &[(Field::PublicUrl, public_url), (Field::When, &when)])
    }

    fn in_own_words(&self, mut mail: Mail, values: &[Value<'_>]) -> Mail {
        let Some(own) = self.own.get(&mail.kind) else { return mail };
        if let Some(subject) = &own.subject {
            mail.subject = Arc::clone(subject);
        }
        if let Some(body) = &own.body {
            mail.text = body.text.as_text(values);
            mail.html = body.html.as_html(values);
        }
        mail
    }
}

/// What has a value in a letter, and whether it makes no sense without its link.
const fn fields(kind: LetterKind) -> (&'static [Field], bool) {
    match kind {
        LetterKind::Verify => (&[Field::Link, Field::PublicUrl, Field::Registered, Field::Hours], true),
        LetterKind::AlreadyRegistered => (&[Field::PublicUrl], false),
        LetterKind::Reset | LetterKind::ConfirmEmail => (&[Field::Link, Field::PublicUrl, Field::Hours], true),
        LetterKind::LoginsExhausted => (&[Field::Link, Field::PublicUrl, Field::When, Field::Hours], true),
        LetterKind::PasswordChanged
        | LetterKind::EmailChanging
        | LetterKind::EmailChanged
        | LetterKind::AccountDeleted => (&[Field::PublicUrl, Field::When], false),
    }
}

fn file(kind: LetterKind, part: Part) -> String {
    format!("{}.{}", kind.as_str(), part.ending())
}

fn meaning(name: &str) -> Option<(LetterKind, Part)> {
    let kinds = LetterKind::ALL.into_iter().flat_map(|kind| Part::ALL.map(|part| (kind, part)));
    kinds.into_iter().find(|(kind, part)| file(*kind, *part) == name)
}

fn template(name: &str, kind: LetterKind, part: Part, bytes: &[u8]) -> Result<Template, Vec<LetterError>> {
    let about = |line: Option<usize>, problem: String, choices: Vec<String>| LetterError {
        file: name.to_owned(),
        line,
        problem,
        choices,
    };
    let whole = |problem: &str| Err(vec![about(None, problem.to_owned(), Vec::new())]);
    if bytes.len() > LARGEST {
        return whole("is larger than 32 KiB");
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return whole("is not UTF-8 text") };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n");
    let text = if part == Part::Subject { text.trim() } else { &text };
    if text.trim().is_empty() {
        return whole("is empty");
    }
    let forbidden = |c: char| match c {
        '\n' | '\t' => part == Part::Subject,
        c => c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'),
    };
    if let Some(at) = text.find(forbidden) {
        let line = text[..at].matches('\n').count() + 1;
        return Err(vec![about(Some(line), forbidden_words(part).to_owned(), Vec::new())]);
    }
    if part == Part::Subject && text.chars().count() > LONGEST_SUBJECT {
        return whole("is longer than 150 characters");
    }
    // A subject is logged and shown in lists, so nothing is put into it: least of all a link that is a credential.
    let (known, needs_link) = if part == Part::Subject { (&[] as &[Field], false) } else { fields(kind) };
    let choices = || known.iter().map(|field| format!("{{{{{}}}}}", field.as_str())).collect::<Vec<_>>();
    let template = Template::parse(text, known).map_err(|wrong| {
        let told = wrong.into_iter().map(|wrong| match wrong {
            Misplaced::Open(line) => about(Some(line), "\"{{\" is not closed in this line".to_owned(), Vec::new()),
            Misplaced::Unknown(line, _) if part == Part::Subject => {
                about(Some(line), "a subject has no placeholders".to_owned(), Vec::new())
            }
            Misplaced::Unknown(line, name) => about(
                Some(line),
                format!("{:?} is no placeholder of this letter", format!("{{{{{name}}}}}")),
                choices(),
            ),
        });
        told.collect::<Vec<_>>()
    })?;
    if needs_link && !template.holds(Field::Link) {
        return whole("has no {{link}}, so nobody could follow it");
    }
    Ok(template)
}

const fn forbidden_words(part: Part) -> &'static str {
    match part {
        Part::Subject => "a subject is one line without control characters",
        Part::Text | Part::Html => "there is a control character here",
    }
}

#[cfg(test)]
mod tests;
