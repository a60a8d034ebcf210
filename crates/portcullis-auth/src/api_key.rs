//! The form of API keys (T9): a prefix that people and secret scanners recognise, 256 random bits, and a checksum that
//! tells a mistyped or cut key from an unknown one without asking anybody.

use crc::{CRC_32_ISO_HDLC, Crc};
use portcullis_core::Secret;

/// What every key begins with.
pub const PREFIX: &str = "ptc_";
/// Base-62 digits of 256 bits.
const SECRET_DIGITS: usize = 43;
/// Base-62 digits of the CRC-32 of all before it.
const CHECK_DIGITS: usize = 6;
const LENGTH: usize = PREFIX.len() + SECRET_DIGITS + CHECK_DIGITS;
/// How much of a key may be shown again: enough to tell keys apart, and 24 bits of the 256.
const START: usize = PREFIX.len() + 4;

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

/// The key of 256 random bits.
#[must_use]
pub fn make(random: &[u8; 32]) -> Secret<String> {
    let mut text = String::with_capacity(LENGTH);
    text.push_str(PREFIX);
    push_digits(&mut text, random, SECRET_DIGITS);
    let check = CRC.checksum(text.as_bytes());
    push_digits(&mut text, &check.to_be_bytes(), CHECK_DIGITS);
    Secret::new(text)
}

/// Whether a text says that it is one of our keys; whether it can be one is another question.
#[must_use]
pub fn is_ours(text: &str) -> bool {
    text.starts_with(PREFIX)
}

/// Whether a text can be a key: its length, its digits and its checksum are right.
#[must_use]
pub fn is_well_formed(text: &str) -> bool {
    if text.len() != LENGTH || !is_ours(text) || !text[PREFIX.len()..].bytes().all(|byte| byte.is_ascii_alphanumeric())
    {
        return false;
    }
    let (key, check) = text.split_at(LENGTH - CHECK_DIGITS);
    let mut expected = String::with_capacity(CHECK_DIGITS);
    push_digits(&mut expected, &CRC.checksum(key.as_bytes()).to_be_bytes(), CHECK_DIGITS);
    // The checksum is no secret, so it may be compared as it is.
    expected == check
}

/// The beginning of a key, by which its owner recognises it in a list.
#[must_use]
pub fn start(key: &str) -> &str {
    key.get(..START).unwrap_or_default()
}

/// Writes a number of big-endian bytes with so many base-62 digits, the highest first.
fn push_digits(text: &mut String, number: &[u8], digits: usize) {
    let mut number = number.to_vec();
    let mut lowest_first = Vec::with_capacity(digits);
    for _ in 0..digits {
        let mut rest = 0_u32;
        for byte in &mut number {
            let value = rest * 256 + u32::from(*byte);
            *byte = u8::try_from(value / 62).unwrap_or(u8::MAX);
            rest = value % 62;
        }
        lowest_first.push(char::from(DIGITS[rest as usize]));
    }
    text.extend(lowest_first.iter().rev());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t9_a_key_is_a_prefix_256_bits_and_a_checksum() {
        let mut random = [0; 32];
        aws_lc_rs::rand::fill(&mut random).unwrap();
        let key = make(&random);
        let text = key.expose();
        assert_eq!(text.len(), 53);
        assert!(text.starts_with("ptc_") && is_well_formed(text), "{text}");
        assert_eq!(start(text), &text[..8]);
        // 62^43 is just over 2^256: no two numbers have the same digits, and the greatest still has its place.
        assert!(make(&[0; 32]).expose().starts_with(&format!("ptc_{}", "0".repeat(43))));
        let greatest = make(&[255; 32]);
        assert!(greatest.expose() != make(&[254; 32]).expose() && is_well_formed(greatest.expose()));
        random[31] ^= 1;
        assert!(make(&random).expose() != text);
    }

    #[test]
    fn t9_one_wrong_character_is_found_without_asking_anybody() {
        let key = make(&[7; 32]);
        let key = key.expose();
        for place in 0..key.len() {
            for other in ['0', 'z', '_', 'é', ' ', '\0'] {
                let changed: String =
                    key.chars().enumerate().map(|(index, held)| if index == place { other } else { held }).collect();
                assert!(changed == *key || !is_well_formed(&changed), "{changed}");
            }
        }
        for bad in ["", "ptc_", &key[..52], &format!("{key}0"), &key.to_uppercase(), &"ptc_".repeat(100_000)] {
            assert!(!is_well_formed(bad));
        }
    }
}
