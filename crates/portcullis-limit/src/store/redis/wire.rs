//! RESP2, as far as it is needed: commands out, replies in.

use std::fmt::Write as _;

use crate::store::net::Malformed;

/// The longest line, bulk text or array of a reply. Ours are far shorter; what is longer is not Redis, or not ours.
const MAX_LENGTH: usize = 1 << 20;
/// The longest reply of which a part is there: what a large cluster says of its slots is shorter. A list of texts could go on
/// for ever, each of a length that is allowed, and whatever comes is read from the reply's beginning.
const LONGEST_REPLY: usize = 2 << 20;
/// How deep replies are nested: `CLUSTER SLOTS` has a list of ranges with lists of nodes with lists of facts.
const MAX_DEPTH: u8 = 5;

/// A reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Nil,
    Int(i64),
    Text(String),
    /// An error that the server tells; the first word is its code.
    Error(String),
    Array(Vec<Self>),
}

impl Value {
    pub(super) const fn int(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            _ => None,
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn array(&self) -> Option<&[Self]> {
        match self {
            Self::Array(values) => Some(values),
            _ => None,
        }
    }
}

/// Reads one reply from the front: it and its length; `None` while more must come.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Value, usize)>, Malformed> {
    let mut reader = Reader { bytes, at: 0 };
    match reader.value(0)? {
        None if bytes.len() > LONGEST_REPLY => Err(Malformed),
        value => Ok(value.map(|value| (value, reader.at))),
    }
}

struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> Reader<'b> {
    fn value(&mut self, depth: u8) -> Result<Option<Value>, Malformed> {
        let Some(line) = self.line()? else { return Ok(None) };
        let (&kind, rest) = line.split_first().ok_or(Malformed)?;
        Ok(Some(match kind {
            b':' => Value::Int(number(rest)?),
            b'+' => Value::Text(String::from_utf8_lossy(rest).into_owned()),
            b'-' => Value::Error(String::from_utf8_lossy(rest).into_owned()),
            b'$' => match number(rest)? {
                -1 => Value::Nil,
                length => {
                    let length = bounded(length)?;
                    let Some(text) = self.bytes.get(self.at..self.at + length + 2) else { return Ok(None) };
                    let text = text.strip_suffix(b"\r\n").ok_or(Malformed)?;
                    self.at += length + 2;
                    Value::Text(String::from_utf8_lossy(text).into_owned())
                }
            },
            b'*' => match number(rest)? {
                -1 => Value::Nil,
                length => {
                    if depth == MAX_DEPTH {
                        return Err(Malformed);
                    }
                    // What is said to come is not yet there: memory is taken as it comes.
                    let length = bounded(length)?;
                    let mut values = Vec::with_capacity(length.min(64));
                    for _ in 0..length {
                        let Some(value) = self.value(depth + 1)? else { return Ok(None) };
                        values.push(value);
                    }
                    Value::Array(values)
                }
            },
            _ => return Err(Malformed),
        }))
    }

    fn line(&mut self) -> Result<Option<&'b [u8]>, Malformed> {
        let rest = &self.bytes[self.at..];
        let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
            return if rest.len() > MAX_LENGTH { Err(Malformed) } else { Ok(None) };
        };
        let line = rest[..end].strip_suffix(b"\r").ok_or(Malformed)?;
        self.at += end + 1;
        Ok(Some(line))
    }
}

fn number(digits: &[u8]) -> Result<i64, Malformed> {
    std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok()).ok_or(Malformed)
}

fn bounded(length: i64) -> Result<usize, Malformed> {
    usize::try_from(length).ok().filter(|length| *length <= MAX_LENGTH).ok_or(Malformed)
}

/// The words of a command that follow its name, as they go onto the wire.
#[derive(Clone, Debug, Default)]
pub(super) struct Words {
    bytes: Vec<u8>,
    count: usize,
}

impl Words {
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), count: 0 }
    }

    pub(super) fn of(words: &[&str]) -> Self {
        let mut all = Self::default();
        words.iter().for_each(|word| all.push(word));
        all
    }

    pub(super) fn push(&mut self, word: &str) {
        let mut digits = [0; 20];
        self.bytes.push(b'$');
        self.bytes.extend_from_slice(decimal(word.len() as u64, &mut digits));
        self.bytes.extend_from_slice(b"\r\n");
        self.bytes.extend_from_slice(word.as_bytes());
        self.bytes.extend_from_slice(b"\r\n");
        self.count += 1;
    }

    pub(super) fn push_number(&mut self, number: u64) {
        let mut digits = [0; 20];
        let digits = decimal(number, &mut digits);
        // At most twenty digits.
        let length = digits.len() as u8;
        self.bytes.push(b'$');
        if length >= 10 {
            self.bytes.push(b'0' + length / 10);
        }
        self.bytes.push(b'0' + length % 10);
        self.bytes.extend_from_slice(b"\r\n");
        self.bytes.extend_from_slice(digits);
        self.bytes.extend_from_slice(b"\r\n");
        self.count += 1;
    }

    /// Appends the command of these words after `head`.
    pub(super) fn write(&self, head: &[&str], out: &mut Vec<u8>) {
        let mut line = String::with_capacity(64);
        // Writing to a string does not fail.
        let _ = write!(line, "*{}\r\n", head.len() + self.count);
        out.extend_from_slice(line.as_bytes());
        for word in head {
            line.clear();
            let _ = write!(line, "${}\r\n", word.len());
            out.extend_from_slice(line.as_bytes());
            out.extend_from_slice(word.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(&self.bytes);
    }
}

/// A number's digits; formatting machinery costs more than the rest of a command.
fn decimal(mut number: u64, digits: &mut [u8; 20]) -> &[u8] {
    let mut from = digits.len();
    loop {
        from -= 1;
        digits[from] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return &digits[from..];
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_reply_is_read_when_it_is_whole_and_not_before() {
        let wire = b"*4\r\n:-7\r\n$5\r\na\r\nb\xff\r\n$-1\r\n*2\r\n+OK\r\n-ERR no\r\n:1\r\n";
        let whole = wire.len() - 4;
        for cut in 0..whole {
            assert_eq!(parse(&wire[..cut]), Ok(None), "{cut}");
        }
        let nested = Value::Array(vec![Value::Text("OK".into()), Value::Error("ERR no".into())]);
        let value = Value::Array(vec![Value::Int(-7), Value::Text("a\r\nb\u{fffd}".into()), Value::Nil, nested]);
        assert_eq!(parse(wire), Ok(Some((value, whole))));
    }

    #[test]
    fn what_is_no_reply_is_refused_before_it_takes_memory() {
        let deep = "*1\r\n".repeat(1_000);
        for wire in
            ["HTTP/1.1 400 Bad Request\r\n", "\r\n", ":x\r\n", "$-2\r\n", "$99999999999\r\n", "*1048577\r\n", &deep]
        {
            assert_eq!(parse(wire.as_bytes()), Err(Malformed), "{wire:.30}");
        }
        assert_eq!(parse(b":1\n"), Err(Malformed));
        let endless = format!("*1000000\r\n{}", "$4\r\nabcd\r\n".repeat(LONGEST_REPLY / 10));
        assert_eq!(parse(&endless.as_bytes()[..LONGEST_REPLY]), Ok(None));
        assert_eq!(parse(endless.as_bytes()), Err(Malformed));
    }

    #[test]
    fn a_command_is_written_as_bulk_texts() {
        let mut words = Words::of(&["a\r\nb", ""]);
        words.push_number(0);
        words.push_number(u64::MAX);
        let mut out = Vec::new();
        words.write(&["GET"], &mut out);
        let wire = "*5\r\n$3\r\nGET\r\n$4\r\na\r\nb\r\n$0\r\n\r\n$1\r\n0\r\n$20\r\n18446744073709551615\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), wire);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(prop::sample::select(b"*$+-:0123459\r\n".to_vec()), 0..80)) {
            let _ = parse(&bytes);
        }
    }
}
