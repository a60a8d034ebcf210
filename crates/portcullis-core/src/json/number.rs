//! Numbers that two programs read as the same.

use serde_json::Number;

/// Which numbers are read. Most readers of JSON know one kind, IEEE 754 doubles; some keep whole numbers of 64 bits, some
/// every digit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Numbers {
    /// What all of them read alike: whole numbers up to 2⁵³−1 either way, and fractions that a double tells apart
    /// (RFC 7493 §2.2).
    #[default]
    Exact,
    /// Whole numbers of 64 bits beside that, for upstreams that keep them whole.
    Long,
    /// Whatever a double can come near to.
    Near,
}

/// The largest whole number that a double has no neighbour for closer than one.
const LARGEST_EXACT: u64 = (1 << 53) - 1;

/// No number that means something is written longer than this, in bytes.
const LONGEST: usize = 64;

/// A number in the spelling of RFC 8259 §6. `whole`: it has neither a fraction nor an exponent.
pub(super) fn number(text: &str, whole: bool, numbers: Numbers) -> Option<Number> {
    if text.len() > LONGEST {
        return None;
    }
    // A double has a zero of either sign, and so have the readers that know nothing else.
    if whole && text != "-0" {
        let parsed = match text.parse::<i64>() {
            Ok(signed) => Some((Number::from(signed), signed.unsigned_abs())),
            Err(_) => text.parse::<u64>().ok().map(|unsigned| (Number::from(unsigned), unsigned)),
        };
        match (parsed, numbers) {
            (Some((number, size)), Numbers::Exact) => return (size <= LARGEST_EXACT).then_some(number),
            (Some((number, _)), Numbers::Long | Numbers::Near) => return Some(number),
            (None, Numbers::Exact | Numbers::Long) => return None,
            (None, Numbers::Near) => {}
        }
    }
    let double: f64 = text.parse().ok()?;
    if numbers != Numbers::Near && !tells_apart(text, double) {
        return None;
    }
    // None for what is too large for a double.
    Number::from_f64(double)
}

/// Whether no other number with as many digits is the same double: then whoever keeps digits and whoever keeps doubles mean
/// the same.
fn tells_apart(text: &str, double: f64) -> bool {
    let mantissa = text.split(['e', 'E']).next().unwrap_or(text);
    let digits = || mantissa.trim_start_matches(['-', '0', '.']).bytes().filter(u8::is_ascii_digit);
    let significant = digits().zip(1..).filter(|(digit, _)| *digit != b'0').map(|(_, count)| count).last().unwrap_or(0);
    match significant {
        0 => true,
        // It is not zero, and the double is.
        _ if double == 0.0 => false,
        // As many digits as any double keeps.
        1..=15 => true,
        16 | 17 => {
            let shown = format!("{:.*e}", significant - 1, double);
            let shown = shown.bytes().take_while(|byte| *byte != b'e').filter(u8::is_ascii_digit);
            shown.eq(digits().take(significant))
        }
        _ => false,
    }
}
