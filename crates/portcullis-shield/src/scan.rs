//! A reader of JSON that leaves the bytes where they are: parts can be cut out, and all others stay as they were written.
//!
//! It is strict (RFC 8259): what two readers could understand differently is refused, above all a name that stands twice
//! in one object. Numbers are never turned into anything, so none loses a digit.
//!
//! There is one other reader of JSON, `portcullis_core::json`: it makes values of what a client sent, for whoever has to
//! compare them, and bounds how many. This one makes none, because what an upstream said has to stay as it said it.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;

/// How deep values may lie in each other.
const MAX_DEPTH: usize = 128;

/// Names of an object that are compared one by one; more are hashed.
const FEW: usize = 8;

/// Why a text is no JSON that can be read in one way only.
pub(crate) type Invalid = &'static str;

/// What becomes of a member or an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It stays, as far as nothing was cut inside it.
    Keep,
    /// It is cut out.
    Cut,
}

/// A single value: no object, no array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Single<'a> {
    /// A string, its escapes undone; `None` where it holds half a surrogate pair, which is no text.
    Text(Option<Cow<'a, str>>),
    /// A number as it is written.
    Number(&'a str),
    /// `true`, `false` or `null`.
    Word,
}

/// What a value begins like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `{`.
    Object,
    /// `[`.
    Array,
    /// `null`, if it is anything.
    Null,
    /// Anything else.
    Single,
}

/// Reads one document from its beginning to its end.
pub(crate) struct Scanner<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    /// What is cut out: in order, and nowhere overlapping.
    cuts: Vec<Range<usize>>,
}

impl<'a> Scanner<'a> {
    /// Stands before the outermost value.
    ///
    /// # Errors
    /// Where the bytes are not UTF-8.
    pub(crate) fn new(body: &'a [u8]) -> Result<Self, Invalid> {
        let text = std::str::from_utf8(body).map_err(|_| "the body is not UTF-8")?;
        let mut scanner = Self { text, at: 0, depth: 0, cuts: Vec::new() };
        scanner.skip_space();
        Ok(scanner)
    }

    /// What is left of the document; `None` where nothing was cut.
    ///
    /// # Errors
    /// Where something follows the outermost value.
    pub(crate) fn finish(mut self) -> Result<Option<Vec<u8>>, Invalid> {
        self.skip_space();
        if self.at < self.text.len() {
            return Err("something follows the JSON value");
        }
        if self.cuts.is_empty() {
            return Ok(None);
        }
        let cut: usize = self.cuts.iter().map(ExactSizeIterator::len).sum();
        let mut left = Vec::with_capacity(self.text.len() - cut);
        let mut from = 0;
        for cut in &self.cuts {
            left.extend_from_slice(&self.text.as_bytes()[from..cut.start]);
            from = cut.end;
        }
        left.extend_from_slice(&self.text.as_bytes()[from..]);
        Ok(Some(left))
    }

    /// What comes next.
    pub(crate) fn kind(&self) -> Kind {
        match self.peek() {
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b'n') => Kind::Null,
            _ => Kind::Single,
        }
    }

    /// Reads an object. `each` is told a member's name, reads its value and says what becomes of the member.
    pub(crate) fn object(
        &mut self,
        each: &mut dyn FnMut(&mut Self, &str) -> Result<Fate, Invalid>,
    ) -> Result<(), Invalid> {
        let mut names = Names::default();
        self.list(b'{', b'}', &mut |scanner| {
            let name = scanner.string()?.ok_or("a name in the JSON holds half a character")?;
            if !names.insert(name.clone()) {
                return Err("a name stands twice in an object of the JSON");
            }
            scanner.skip_space();
            scanner.expect(b':', "a name in the JSON has no value")?;
            scanner.skip_space();
            each(scanner, &name)
        })
    }

    /// Reads an array. `each` reads an element and says what becomes of it.
    pub(crate) fn array(&mut self, each: &mut dyn FnMut(&mut Self) -> Result<Fate, Invalid>) -> Result<(), Invalid> {
        self.list(b'[', b']', each)
    }

    /// Reads a value that is neither an object nor an array.
    pub(crate) fn single(&mut self) -> Result<Single<'a>, Invalid> {
        match self.peek() {
            Some(b'"') => self.string().map(Single::Text),
            Some(b'-' | b'0'..=b'9') => self.number().map(Single::Number),
            _ => self.word().map(|()| Single::Word),
        }
    }

    /// Reads past a value, whatever it is; it has to be JSON all the same.
    pub(crate) fn skip(&mut self) -> Result<(), Invalid> {
        match self.kind() {
            Kind::Object => self.object(&mut |scanner, _| scanner.skip().map(|()| Fate::Keep)),
            Kind::Array => self.array(&mut |scanner| scanner.skip().map(|()| Fate::Keep)),
            Kind::Null | Kind::Single => self.single().map(drop),
        }
    }

    /// Reads what stands between two brackets, piece by piece. What is cut out takes one comma along: the one before it,
    /// or, where nothing before it stays, the one behind.
    fn list(
        &mut self,
        open: u8,
        close: u8,
        each: &mut dyn FnMut(&mut Self) -> Result<Fate, Invalid>,
    ) -> Result<(), Invalid> {
        self.expect(open, "the JSON breaks off")?;
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err("the JSON is nested too deeply");
        }
        let (mut start, mut kept) = (self.at, false);
        self.skip_space();
        if self.peek() == Some(close) {
            self.at += 1;
            self.depth -= 1;
            return Ok(());
        }
        loop {
            let cuts = self.cuts.len();
            let fate = each(self)?;
            let end = self.at;
            self.skip_space();
            let ends = match self.peek() {
                Some(b',') => false,
                Some(byte) if byte == close => true,
                _ => return Err("the JSON breaks off, or a comma is missing"),
            };
            match fate {
                Fate::Keep => kept = true,
                Fate::Cut => {
                    self.cuts.truncate(cuts);
                    let cut = match (kept, ends) {
                        (true, _) => start - 1..end,
                        (false, true) => start..end,
                        (false, false) => start..self.at + 1,
                    };
                    self.cut(cut);
                }
            }
            self.at += 1;
            if ends {
                self.depth -= 1;
                return Ok(());
            }
            start = self.at;
            self.skip_space();
        }
    }

    /// Cuts touch where neighbours go; they are one then, so that there are few.
    fn cut(&mut self, range: Range<usize>) {
        match self.cuts.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => self.cuts.push(range),
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8, otherwise: Invalid) -> Result<(), Invalid> {
        if self.peek() != Some(byte) {
            return Err(otherwise);
        }
        self.at += 1;
        Ok(())
    }

    /// A string, escapes undone; `None` where an escape is half a surrogate pair (RFC 8259 §8.2).
    fn string(&mut self) -> Result<Option<Cow<'a, str>>, Invalid> {
        self.expect(b'"', "the JSON has something else where a string belongs")?;
        let start = self.at;
        let mut escapes = false;
        loop {
            match self.peek().ok_or("the JSON breaks off in a string")? {
                b'"' => break,
                b'\\' => {
                    escapes = true;
                    self.at += 2;
                }
                0..=0x1f => return Err("a string of the JSON holds a control character"),
                _ => self.at += 1,
            }
        }
        let inside = &self.text[start..self.at];
        self.at += 1;
        if escapes { unescaped(inside) } else { Ok(Some(Cow::Borrowed(inside))) }
    }

    /// A number (RFC 8259 §6), of any size.
    fn number(&mut self) -> Result<&'a str, Invalid> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(&self.text[start..self.at])
    }

    fn digits(&mut self) -> Result<(), Invalid> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start { Err("a number of the JSON is not one") } else { Ok(()) }
    }

    fn word(&mut self) -> Result<(), Invalid> {
        let rest = &self.text.as_bytes()[self.at..];
        let word = ["true", "false", "null"].into_iter().find(|word| rest.starts_with(word.as_bytes()));
        self.at += word.ok_or("the body is not JSON")?.len();
        Ok(())
    }
}

/// The names of one object.
#[derive(Default)]
struct Names<'a> {
    few: Vec<Cow<'a, str>>,
    many: HashSet<Cow<'a, str>>,
}

impl<'a> Names<'a> {
    /// Whether the name is new.
    fn insert(&mut self, name: Cow<'a, str>) -> bool {
        if !self.many.is_empty() {
            return self.many.insert(name);
        }
        if self.few.contains(&name) {
            return false;
        }
        self.few.push(name);
        if self.few.len() > FEW {
            self.many.extend(self.few.drain(..));
        }
        true
    }
}

/// A string without its escapes. What follows a backslash was not looked at yet.
fn unescaped(inside: &str) -> Result<Option<Cow<'_, str>>, Invalid> {
    const WRONG: Invalid = "a string of the JSON holds an escape that is none";
    let mut text = String::with_capacity(inside.len());
    let mut is_text = true;
    let mut rest = inside;
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        let escape = *rest.as_bytes().get(at + 1).ok_or(WRONG)?;
        let mut length = 2;
        match escape {
            b'"' | b'\\' | b'/' => text.push(char::from(escape)),
            b'b' => text.push('\u{8}'),
            b'f' => text.push('\u{c}'),
            b'n' => text.push('\n'),
            b'r' => text.push('\r'),
            b't' => text.push('\t'),
            b'u' => {
                let unit = hex(rest, at + 2).ok_or(WRONG)?;
                length = 6;
                let second = (rest.get(at + 6..at + 8) == Some("\\u")).then(|| hex(rest, at + 8)).flatten();
                match (char::from_u32(unit), second) {
                    (Some(character), _) => text.push(character),
                    (None, Some(low @ 0xdc00..=0xdfff)) if unit < 0xdc00 => {
                        length = 12;
                        text.extend(char::from_u32(0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00)));
                    }
                    (None, _) => is_text = false,
                }
            }
            _ => return Err(WRONG),
        }
        rest = &rest[at + length..];
    }
    text.push_str(rest);
    Ok(is_text.then_some(Cow::Owned(text)))
}

/// Four hexadecimal digits.
fn hex(text: &str, at: usize) -> Option<u32> {
    let digits = text.get(at..at + 4)?;
    digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skipped(body: &[u8]) -> Result<Option<Vec<u8>>, Invalid> {
        let mut scanner = Scanner::new(body)?;
        scanner.skip()?;
        scanner.finish()
    }

    /// What is left of an object or array when members or elements that hold the text `cut` go.
    fn without(text: &str) -> String {
        fn walk(scanner: &mut Scanner<'_>) -> Result<Fate, Invalid> {
            match scanner.kind() {
                Kind::Object => {
                    scanner.object(&mut |scanner, _| walk(scanner))?;
                }
                Kind::Array => scanner.array(&mut walk)?,
                _ => {
                    let cut = matches!(scanner.single()?, Single::Text(Some(text)) if text == "cut");
                    return Ok(if cut { Fate::Cut } else { Fate::Keep });
                }
            }
            Ok(Fate::Keep)
        }
        let mut scanner = Scanner::new(text.as_bytes()).unwrap();
        walk(&mut scanner).unwrap();
        scanner.finish().unwrap().map_or_else(|| "unchanged".to_owned(), |left| String::from_utf8(left).unwrap())
    }

    #[test]
    fn what_is_cut_out_takes_one_comma_along() {
        for (text, left) in [
            (r#"{"a": 1, "b": 2}"#, "unchanged"),
            (r#"{"a": "cut", "b": 2}"#, r#"{ "b": 2}"#),
            (r#"{"a": 1, "b": "cut"}"#, r#"{"a": 1}"#),
            (r#"{"a": 1, "b": "cut", "c": 3}"#, r#"{"a": 1, "c": 3}"#),
            (r#"{"a": "cut", "b": "cut", "c": 3}"#, r#"{ "c": 3}"#),
            (r#"{ "a" : "cut" , "b" : "cut" }"#, "{ }"),
            (r#"["cut",["cut",1,"cut"],"cut",{"x":"cut"}]"#, "[[1],{}]"),
            (" [\n  1,\n  \"cut\",\n  2\n]\n", " [\n  1,\n  2\n]\n"),
        ] {
            assert_eq!(without(text), left, "{text}");
        }
    }

    #[test]
    fn json_is_read_in_one_way_or_not_at_all() {
        for good in [
            "0",
            " -0.5e+10 ",
            "123456789012345678901234567890.10",
            r#""\u00e9\n\ud83d\ude00 é \/""#,
            r#""\ud800 in a value is passed on as it came""#,
            "[]",
            "{ }",
            r#"[true,false,null,{"a":{"a":1}}]"#,
            &format!("{}{}", "[".repeat(128), "]".repeat(128)),
        ] {
            assert_eq!(skipped(good.as_bytes()), Ok(None), "{good}");
        }
        for bad in [
            "",
            " ",
            "01",
            "1.",
            ".5",
            "+1",
            "1e",
            "-",
            "NaN",
            "Infinity",
            "nul",
            "nullx",
            "'a'",
            "{a:1}",
            "[1,]",
            "[,1]",
            "[1 2]",
            r#"{"a":1,}"#,
            r#"{"a" 1}"#,
            r#"{"a":}"#,
            r#"{"a":1"#,
            "[1",
            "[1}",
            r#"{"a":1]"#,
            r#""a"#,
            r#""\"#,
            r#""\x""#,
            r#""\u12g4""#,
            r#""\u+123""#,
            "\"\n\"",
            "\"\u{0}\"",
            "// a\n1",
            "1 2",
            "{} {}",
            "\u{feff}{}",
            r#"{"a":1,"a":2}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"x":[{"a":1,"b":2,"a":3}]}"#,
            r#"{"\ud800":1}"#,
            &format!("{}{}", "[".repeat(129), "]".repeat(129)),
            &format!("{{{}\"n7\":0}}", (0..40).map(|n| format!("\"n{n}\":0,")).collect::<String>()),
        ] {
            assert!(skipped(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(skipped(b"\"\xff\"").is_err());
        assert!(skipped("{\"a\":1}".encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>().as_slice()).is_err());
    }

    #[test]
    fn single_values_are_told_as_they_are_written() {
        let single = |text: &'static str| Scanner::new(text.as_bytes()).unwrap().single();
        assert_eq!(single("1.0"), Ok(Single::Number("1.0")));
        assert_eq!(single(r#""\u0061\ud83d\ude00""#), Ok(Single::Text(Some("a😀".into()))));
        assert_eq!(single(r#""\udc00""#), Ok(Single::Text(None)));
        assert_eq!(single(r#""\ud83d\u0061""#), Ok(Single::Text(None)));
        assert_eq!(single("null"), Ok(Single::Word));
    }
}
