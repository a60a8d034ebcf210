//! One spelling for a password that keyboards spell differently.

use portcullis_core::Secret;
use unicode_normalization::UnicodeNormalization as _;

/// The password in Normalization Form C, as NIST SP 800-63B-4 §3.1.1.2 asks: "é" is one password whether a system typed it
/// as one character or as two. Nothing else is changed and nothing is cut.
pub(crate) fn one_spelling(password: &str) -> Secret<String> {
    Secret::new(if password.is_ascii() { password.to_owned() } else { password.nfc().collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a2_one_password_has_one_spelling_on_every_system() {
        assert_eq!(one_spelling("Cafe\u{301}").expose(), "Caf\u{e9}");
        assert_eq!(one_spelling("Caf\u{e9}").expose(), "Caf\u{e9}");
        // Compatibility characters stay apart: folding them would make different passwords one.
        assert_eq!(one_spelling("\u{fb01} \u{ff21}").expose(), "\u{fb01} \u{ff21}");
        assert_eq!(one_spelling(" two  spaces ").expose(), " two  spaces ");
    }
}
