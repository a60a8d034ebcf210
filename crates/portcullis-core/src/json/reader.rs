//! One pass over a text.

use serde_json::map::Entry;
use serde_json::{Map, Value};

use super::number::number;
use super::{Reading, Unreadable, Wrong};

pub(super) fn read(bytes: &[u8], rules: Reading) -> Result<Value, Unreadable> {
    if bytes.starts_with(b"\xef\xbb\xbf") {
        return Err(Unreadable { why: Wrong::ByteOrderMark, at: 0 });
    }
    // All that has a meaning in JSON is ASCII: whatever stands between is checked here, once.
    let text =
        std::str::from_utf8(bytes).map_err(|error| Unreadable { why: Wrong::NotUtf8, at: error.valid_up_to() })?;
    let mut reader = Reader { text, at: 0, left: rules.values, rules };
    reader.skip_space();
    if reader.at == text.len() {
        return Err(reader.wrong(Wrong::Empty));
    }
    let value = reader.value(rules.depth.min(Reading::DEEPEST))?;
    reader.skip_space();
    if reader.at < text.len() { Err(reader.wrong(Wrong::Trailing)) } else { Ok(value) }
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
    /// How many values may still come.
    left: usize,
    rules: Reading,
}

impl Reader<'_> {
    const fn wrong(&self, why: Wrong) -> Unreadable {
        Unreadable { why, at: self.at }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// What stands here is not what JSON has here.
    fn unexpected(&self) -> Unreadable {
        self.wrong(if self.peek().is_none() { Wrong::Ends } else { Wrong::Syntax })
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    /// Goes past a byte if it stands here.
    fn eat(&mut self, byte: u8) -> bool {
        let here = self.peek() == Some(byte);
        self.at += usize::from(here);
        here
    }

    /// A value, in which objects and arrays may be nested this deeply.
    fn value(&mut self, depth: usize) -> Result<Value, Unreadable> {
        self.left = self.left.checked_sub(1).ok_or(self.wrong(Wrong::Values))?;
        match self.peek() {
            Some(b'"') => self.string().map(Value::String),
            Some(b'{') => self.object(depth).map(Value::Object),
            Some(b'[') => self.array(depth).map(Value::Array),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            _ => Err(self.unexpected()),
        }
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, Unreadable> {
        for byte in word.bytes() {
            if !self.eat(byte) {
                return Err(self.unexpected());
            }
        }
        Ok(value)
    }

    fn object(&mut self, depth: usize) -> Result<Map<String, Value>, Unreadable> {
        let inside = depth.checked_sub(1).ok_or(self.wrong(Wrong::Depth))?;
        self.at += 1;
        let mut members = Map::new();
        self.skip_space();
        if self.eat(b'}') {
            return Ok(members);
        }
        loop {
            self.skip_space();
            let begin = self.at;
            if self.peek() != Some(b'"') {
                return Err(self.unexpected());
            }
            let name = self.string()?;
            let Entry::Vacant(place) = members.entry(name) else {
                return Err(Unreadable { why: Wrong::Duplicate, at: begin });
            };
            self.skip_space();
            if !self.eat(b':') {
                return Err(self.unexpected());
            }
            self.skip_space();
            place.insert(self.value(inside)?);
            self.skip_space();
            if self.eat(b'}') {
                return Ok(members);
            }
            if !self.eat(b',') {
                return Err(self.unexpected());
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Vec<Value>, Unreadable> {
        let inside = depth.checked_sub(1).ok_or(self.wrong(Wrong::Depth))?;
        self.at += 1;
        let mut elements = Vec::new();
        self.skip_space();
        if self.eat(b']') {
            return Ok(elements);
        }
        loop {
            self.skip_space();
            elements.push(self.value(inside)?);
            self.skip_space();
            if self.eat(b']') {
                return Ok(elements);
            }
            if !self.eat(b',') {
                return Err(self.unexpected());
            }
        }
    }

    fn number(&mut self) -> Result<Value, Unreadable> {
        let begin = self.at;
        self.eat(b'-');
        // A zero stands alone before the point (RFC 8259 §6); what follows it is judged by whoever comes next.
        if !self.eat(b'0') {
            self.digits()?;
        }
        let mut whole = true;
        if self.eat(b'.') {
            whole = false;
            self.digits()?;
        }
        if self.eat(b'e') || self.eat(b'E') {
            whole = false;
            let _ = self.eat(b'+') || self.eat(b'-');
            self.digits()?;
        }
        number(&self.text[begin..self.at], whole, self.rules.numbers)
            .map(Value::Number)
            .ok_or(Unreadable { why: Wrong::Number, at: begin })
    }

    /// At least one digit.
    fn digits(&mut self) -> Result<(), Unreadable> {
        let begin = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == begin { Err(self.unexpected()) } else { Ok(()) }
    }

    fn string(&mut self) -> Result<String, Unreadable> {
        self.at += 1;
        let mut string = String::new();
        loop {
            let begin = self.at;
            let rest = &self.text.as_bytes()[begin..];
            let plain = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f)).unwrap_or(rest.len());
            self.at += plain;
            // Nearly every string is plain to its end.
            string.push_str(&self.text[begin..self.at]);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(string);
                }
                Some(b'\\') => string.push(self.escape()?),
                Some(_) => return Err(self.wrong(Wrong::Control)),
                None => return Err(self.wrong(Wrong::Ends)),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Unreadable> {
        let begin = self.at;
        self.at += 1;
        let plain = match self.peek() {
            Some(byte @ (b'"' | b'\\' | b'/')) => char::from(byte),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let half = Unreadable { why: Wrong::Surrogate, at: begin };
                let first = self.code_unit()?;
                if !(0xd800..0xdc00).contains(&first) {
                    return char::from_u32(first).ok_or(half);
                }
                if self.peek() != Some(b'\\') || self.text.as_bytes().get(self.at + 1) != Some(&b'u') {
                    return Err(half);
                }
                self.at += 1;
                let second = self.code_unit()?.checked_sub(0xdc00).filter(|second| *second < 0x400).ok_or(half)?;
                return char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + second).ok_or(half);
            }
            Some(_) => return Err(Unreadable { why: Wrong::Escape, at: begin }),
            None => return Err(self.wrong(Wrong::Ends)),
        };
        self.at += 1;
        Ok(plain)
    }

    /// The four digits after a `u`, which stands here.
    fn code_unit(&mut self) -> Result<u32, Unreadable> {
        let mut unit = 0;
        for _ in 0..4 {
            self.at += 1;
            let digit = self.peek().ok_or(self.wrong(Wrong::Ends))?;
            unit = unit * 16 + char::from(digit).to_digit(16).ok_or(self.wrong(Wrong::Escape))?;
        }
        self.at += 1;
        Ok(unit)
    }
}
