//! What a password must be (A2).

/// A preset of password rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PasswordPolicy {
    /// At least 10 characters with an upper-case letter, a lower-case letter and a number.
    #[default]
    Standard,
    /// 8 to 100 characters with an upper-case letter, a lower-case letter, a number and a special character.
    Special,
    /// NIST SP 800-63B-4: at least 15 characters, no composition rules.
    Nist,
}
