//! Whom our mails are from.

use std::fmt;
use std::str::FromStr;

use crate::policy::Email;

/// Who writes: an address, and perhaps a name before it, as in `The Gate <gate@example.com>`. It cannot hold a second
/// address, a line end, or anything else that would begin a header of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    pub(super) name: Option<Box<str>>,
    pub(super) address: Email,
}

/// Why a text is no sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SenderError {
    /// It holds no single address.
    #[error("is not an e-mail address, with or without a name before it")]
    Address,
    /// The name holds what a header gives a meaning to.
    #[error("has a name with characters that cannot stand in one")]
    Name,
}

/// The longest name, in characters; with it, the header stays within one line.
const LONGEST_NAME: usize = 60;

impl FromStr for Sender {
    type Err = SenderError;

    fn from_str(text: &str) -> Result<Self, SenderError> {
        let parse = |address: &str| Email::parse(address).map_err(|_| SenderError::Address);
        let Some((name, address)) = text.strip_suffix('>').and_then(|text| text.split_once('<')) else {
            return Ok(Self { name: None, address: parse(text)? });
        };
        let address = parse(address)?;
        let name = name.trim();
        let refused = |c: char| c.is_control() || "<>\"\\,;:@\u{2028}\u{2029}".contains(c);
        if name.chars().count() > LONGEST_NAME || name.contains(refused) {
            return Err(SenderError::Name);
        }
        Ok(Self { name: (!name.is_empty()).then(|| name.into()), address })
    }
}

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name} <{}>", self.address.as_str()),
            None => f.write_str(self.address.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_is_one_address_with_or_without_a_name() {
        for (text, shown) in [
            ("gate@example.com", "gate@example.com"),
            ("<gate@example.com>", "gate@example.com"),
            ("The Gate <gate@example.com>", "The Gate <gate@example.com>"),
            ("Das Tor für alle <gate@example.com>", "Das Tor für alle <gate@example.com>"),
        ] {
            assert_eq!(text.parse::<Sender>().unwrap().to_string(), shown, "{text}");
        }
    }

    #[test]
    fn a10_what_would_begin_another_header_or_address_is_no_sender() {
        for text in [
            "",
            "Gate",
            "gate@example.com, eve@example.com",
            "Gate <gate@example.com>, Eve <eve@example.com>",
            "Gate <gate@example.com> <eve@example.com>",
            "Eve, Gate <gate@example.com>",
            "Gate\r\nBcc: eve@example.com <gate@example.com>",
            "Gate <gate@example.com\r\nBcc: eve@example.com>",
            "Gate <gate@example.com\0>",
            "\"Gate\" <gate@example.com>",
            "eve@example.com <gate@example.com>",
        ] {
            assert!(text.parse::<Sender>().is_err(), "{text:?}");
        }
        assert_eq!(format!("{} <a@example.com>", "x".repeat(61)).parse::<Sender>(), Err(SenderError::Name));
    }
}
