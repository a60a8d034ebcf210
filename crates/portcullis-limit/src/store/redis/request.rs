//! A command or a script as it goes over a lane.

use super::script::{CHARGE, GIVE_BACK, PULSE, Script, TAKE};
use super::wire::{Value, Words, parse};
use crate::store::net::{Kind, Malformed, Question};

/// A command, or a script with its words.
#[derive(Clone, Debug)]
pub(super) struct Request {
    script: Option<&'static Script>,
    command: &'static str,
    words: Words,
    /// Whether `ASKING` goes before it: a slot of a cluster is on its way to this node.
    pub(super) asking: bool,
}

impl Request {
    pub(super) const fn script(script: &'static Script, words: Words) -> Self {
        Self { script: Some(script), command: "EVALSHA", words, asking: false }
    }

    pub(super) fn command(command: &'static str, words: &[&str]) -> Self {
        Self { script: None, command, words: Words::of(words), asking: false }
    }

    fn runs(&self, script: &Script) -> bool {
        self.script.is_some_and(|held| held.sha == script.sha)
    }
}

impl Question for Request {
    type Answer = Value;

    /// So that the first calls find their scripts. Where that is not allowed, the first call brings its own.
    fn opening() -> Vec<Self> {
        [&*CHARGE, &*GIVE_BACK, &*PULSE].map(|script| Self::command("SCRIPT", &["LOAD", &script.text])).into()
    }

    fn before(&self) -> Option<Self> {
        self.asking.then(|| Self::command("ASKING", &[]))
    }

    fn kind(&self) -> Kind {
        if self.runs(&CHARGE) || self.runs(&TAKE) {
            Kind::Charge
        } else if self.runs(&GIVE_BACK) {
            Kind::GiveBack
        } else {
            Kind::Other
        }
    }

    fn write(&self, in_full: bool, out: &mut Vec<u8>) {
        match self.script {
            None => self.words.write(&[self.command], out),
            Some(script) if in_full => self.words.write(&["EVAL", &script.text], out),
            Some(script) => self.words.write(&["EVALSHA", &script.sha], out),
        }
    }

    fn read(bytes: &[u8]) -> Result<Option<(Value, usize)>, Malformed> {
        parse(bytes)
    }

    /// The server was restarted or told to forget scripts.
    fn must_be_in_full(&self, answer: &Value) -> bool {
        self.script.is_some() && matches!(answer, Value::Error(error) if error.starts_with("NOSCRIPT"))
    }

    fn is_error(answer: &Value) -> bool {
        matches!(answer, Value::Error(_))
    }

    /// The server has become a replica: the master is elsewhere, and behind this name perhaps already.
    fn leaves(answer: &Value) -> Option<String> {
        match answer {
            Value::Error(error) if error.starts_with("READONLY") || error.contains("READONLY You can't write") => {
                Some(error.clone())
            }
            _ => None,
        }
    }
}
