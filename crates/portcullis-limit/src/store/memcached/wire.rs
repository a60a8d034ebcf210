//! The meta commands, as far as they are needed: commands out, replies in.

use std::io::Write as _;

use crate::store::StoreError;
use crate::store::net::{Kind, Malformed, Question, readable};

/// The longest line of a reply. Ours are far shorter; what is longer is not memcached.
const MAX_LINE: usize = 8 * 1024;
/// The longest value, and the longest list of figures.
const MAX_LENGTH: usize = 1 << 20;
/// How much of a value is kept. Ours are numbers and marks.
const KEPT: usize = 64;

/// A command. No key has a blank or a control character, and none is longer than 250 bytes.
#[derive(Clone, Debug)]
pub(super) enum Command {
    /// Adds to a count, which begins with that where there is none and then runs out at `expiry`.
    Reserve { key: Box<str>, cost: u64, expiry: i32 },
    /// Takes from a count; where there is none, nothing happens. No count goes below zero.
    Release { key: Box<str>, cost: u64 },
    /// Reads.
    Look { key: Box<str> },
    /// Reads, and lets the item live for so long from now on, in seconds.
    Renew { key: &'static str, expiry: i32 },
    /// Writes where there is nothing.
    Add { key: &'static str, value: String, expiry: i32 },
    /// Writes.
    Set { key: Box<str>, value: String, expiry: i32 },
    /// Removes.
    Delete { key: Box<str> },
    /// The server's figures, its time among them.
    Stats,
    /// Nothing: an answer as soon as there is a connection.
    Nothing,
}

/// A reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// It was done.
    Done,
    /// It was done, and this is (the beginning of) the value.
    Value(String),
    /// There is no such item.
    Absent,
    /// It was not done: the item is there already.
    Held,
    /// The figures, a line each.
    Stats(String),
    /// The answer to nothing.
    Nothing,
    /// An error that the server tells, with its first word.
    Error(String),
}

impl Question for Command {
    type Answer = Said;

    fn opening() -> Vec<Self> {
        Vec::new()
    }

    fn before(&self) -> Option<Self> {
        None
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Reserve { .. } => Kind::Charge,
            Self::Release { .. } => Kind::GiveBack,
            _ => Kind::Other,
        }
    }

    fn write(&self, _: bool, out: &mut Vec<u8>) {
        // Writing to memory does not fail. An expiry of zero would be never, and is never written.
        let _ = match self {
            Self::Reserve { key, cost, expiry } => write!(out, "ma {key} N{expiry} J{cost} D{cost} v\r\n"),
            Self::Release { key, cost } => write!(out, "ma {key} MD D{cost}\r\n"),
            Self::Look { key } => write!(out, "mg {key} v\r\n"),
            Self::Renew { key, expiry } => write!(out, "mg {key} v T{expiry}\r\n"),
            Self::Add { key, value, expiry } => {
                write!(out, "ms {key} {} T{expiry} ME\r\n{value}\r\n", value.len())
            }
            Self::Set { key, value, expiry } => write!(out, "ms {key} {} T{expiry}\r\n{value}\r\n", value.len()),
            Self::Delete { key } => write!(out, "md {key}\r\n"),
            Self::Stats => write!(out, "stats\r\n"),
            Self::Nothing => write!(out, "mn\r\n"),
        };
    }

    fn read(bytes: &[u8]) -> Result<Option<(Said, usize)>, Malformed> {
        if bytes.starts_with(b"STAT ") {
            return match find(bytes, b"\r\nEND\r\n") {
                Some(at) => Ok(Some((Said::Stats(text(&bytes[..at])), at + 7))),
                None if bytes.len() > MAX_LENGTH => Err(Malformed),
                None => Ok(None),
            };
        }
        let Some(end) = find(&bytes[..bytes.len().min(MAX_LINE)], b"\r\n") else {
            // What cannot become a reply any more is told at once, a web server's greeting for example.
            let begun = bytes
                .iter()
                .take(12)
                .take_while(|byte| **byte != b' ')
                .all(|byte| b"_\r".contains(byte) || byte.is_ascii_uppercase());
            return if bytes.len() >= MAX_LINE || !begun { Err(Malformed) } else { Ok(None) };
        };
        let (line, after) = (&bytes[..end], end + 2);
        let word = line.split(|byte| *byte == b' ').next().unwrap_or_default();
        let said = match word {
            b"HD" => Said::Done,
            b"EN" | b"NF" => Said::Absent,
            b"NS" | b"EX" => Said::Held,
            b"MN" => Said::Nothing,
            b"ERROR" | b"CLIENT_ERROR" | b"SERVER_ERROR" => Said::Error(text(line)),
            b"VA" => {
                let length =
                    line.split(|byte| *byte == b' ').nth(1).and_then(|digits| std::str::from_utf8(digits).ok());
                let length = length.and_then(|digits| digits.parse::<usize>().ok());
                let length = length.filter(|length| *length <= MAX_LENGTH).ok_or(Malformed)?;
                let Some(value) = bytes.get(after..after + length + 2) else { return Ok(None) };
                let value = value.strip_suffix(b"\r\n").ok_or(Malformed)?;
                return Ok(Some((Said::Value(text(&value[..length.min(KEPT)])), after + length + 2)));
            }
            _ => return Err(Malformed),
        };
        Ok(Some((said, after)))
    }

    fn must_be_in_full(&self, _: &Said) -> bool {
        false
    }

    fn is_error(answer: &Said) -> bool {
        matches!(answer, Said::Error(_))
    }

    fn leaves(_: &Said) -> Option<String> {
        None
    }
}

impl Said {
    /// A number among the figures, or another of their words.
    pub(super) fn figure(&self, name: &str) -> Option<&str> {
        let Self::Stats(figures) = self else { return None };
        figures
            .lines()
            .find_map(|line| line.strip_prefix("STAT ")?.strip_prefix(name)?.strip_prefix(' '))
            .map(str::trim)
    }

    /// An error that the server tells is one.
    pub(super) fn or_error(self, store: &str) -> Result<Self, StoreError> {
        match self {
            Self::Error(answer) => Err(error_of(store, &answer)),
            said => Ok(said),
        }
    }
}

/// What an error that the server tells means.
fn error_of(store: &str, answer: &str) -> StoreError {
    let store = store.into();
    let lower = answer.to_ascii_lowercase();
    let answer = readable(answer);
    if lower.contains("out of memory") {
        StoreError::Full { store }
    } else if lower.contains("non-numeric") {
        StoreError::Foreign { store, answer }
    } else if lower.contains("unauthenticated") || lower.contains("access denied") {
        StoreError::NotAllowed { store, answer, needs: "a memcached that asks for no login, as SASL is not spoken" }
    } else if lower.starts_with("server_error") {
        StoreError::NotReady { store, answer }
    } else {
        StoreError::Protocol { store, answer }
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_reply_is_read_when_it_is_whole_and_not_before() {
        for (wire, said) in [
            (&b"HD\r\n"[..], Said::Done),
            (b"HD t10 c7\r\n", Said::Done),
            (b"EN\r\n", Said::Absent),
            (b"NF\r\n", Said::Absent),
            (b"NS\r\n", Said::Held),
            (b"MN\r\n", Said::Nothing),
            (b"VA 2 t3\r\n4 \r\n", Said::Value("4 ".into())),
            (b"VA 7\r\nHD\r\nEN\xff\r\n", Said::Value("HD\r\nEN\u{fffd}".into())),
            (b"SERVER_ERROR out of memory\r\n", Said::Error("SERVER_ERROR out of memory".into())),
            (b"ERROR\r\n", Said::Error("ERROR".into())),
            (b"STAT pid 7\r\nSTAT time 9\r\nEND\r\n", Said::Stats("STAT pid 7\r\nSTAT time 9".into())),
        ] {
            for cut in 0..wire.len() {
                assert_eq!(Command::read(&wire[..cut]), Ok(None), "{cut} of {wire:?}");
            }
            let more = [wire, b"HD\r\n"].concat();
            assert_eq!(Command::read(&more), Ok(Some((said, wire.len()))));
        }
        let stats = Command::read(b"STAT pid 7\r\nSTAT time 1792281427\r\nEND\r\n").unwrap().unwrap().0;
        assert_eq!(
            (stats.figure("time"), stats.figure("pid"), stats.figure("pi")),
            (Some("1792281427"), Some("7"), None)
        );
    }

    #[test]
    fn what_is_no_reply_is_refused_before_it_takes_memory() {
        let long = "H".repeat(MAX_LINE);
        for wire in [
            "HTTP/1.1 400 Bad Request\r\n",
            "\r\n",
            "VA\r\n",
            "VA -1\r\n",
            "VA 99999999999\r\n",
            "+OK\r\n",
            "-ERR",
            &long,
        ] {
            assert_eq!(Command::read(wire.as_bytes()), Err(Malformed), "{wire:.30}");
        }
        assert_eq!(Command::read(b"VA 1\r\n12\r\n"), Err(Malformed));
        let value = format!("VA 1000\r\n{}\r\n", "x".repeat(1000));
        assert_eq!(Command::read(value.as_bytes()), Ok(Some((Said::Value("x".repeat(KEPT)), value.len()))));
    }

    #[test]
    fn l10_what_a_server_says_begins_no_line_of_its_own_in_a_log_and_has_an_end() {
        for beginning in ["SERVER_ERROR", "CLIENT_ERROR non-numeric", "CLIENT_ERROR unauthenticated", "ERROR"] {
            let wire =
                format!("{beginning} can't\n2026-01-01T00:00:00Z  INFO all is well\u{1b}[2J{}\r\n", "x".repeat(999));
            let said = Command::read(wire.as_bytes()).unwrap().unwrap().0;
            let told = said.or_error("memcached at 127.0.0.1:1").unwrap_err().to_string();
            let expected = format!("{beginning} can't\\n2026-01-01T00:00:00Z  INFO all is well\\u{{1b}}[2Jxxx");
            assert!(told.contains(&expected) && told.len() < 1_000, "{told}");
        }
    }

    #[test]
    fn a_command_is_one_line_and_no_item_is_eternal() {
        let mut out = Vec::new();
        for command in [
            Command::Reserve { key: "a".into(), cost: 3, expiry: 60 },
            Command::Release { key: "a".into(), cost: 3 },
            Command::Add { key: "rl::epoch", value: "x".into(), expiry: 9 },
        ] {
            command.write(false, &mut out);
        }
        let wire = "ma a N60 J3 D3 v\r\nma a MD D3\r\nms rl::epoch 1 T9 ME\r\nx\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), wire);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(prop::sample::select(b"VAHDENSTO _0129\r\n\xff".to_vec()), 0..80)) {
            let _ = Command::read(&bytes);
        }
    }
}
