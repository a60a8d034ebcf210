//! Known devices (L13): a token that says "on this device somebody has logged in to this account". It proves nobody, and
//! is asked for nothing but by whom a wrong password is counted.
//!
//! After "Slow Down Online Guessing Attacks with Device Cookies" (OWASP). Nothing is stored: a token is signed over the
//! account and its password's hash, so that another password makes every one void, whoever changed it and how. A hash that is
//! made again in another form does so too, once in the life of a configuration, for all devices but the one that logs in.

use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_core::{Secret, Timestamp};

use crate::error::IdentityError;

const ID: usize = 16;
const BODY: usize = ID + 8;
const MAC: usize = 16;
const WHOLE: usize = BODY + MAC;
/// A token's length as text.
const TEXT: usize = (WHOLE * 8).div_ceil(6);
/// What stands between tokens: one browser may be known to several accounts.
const SEPARATOR: char = '.';
/// How many accounts one browser is known to. What is presented beyond that is not looked at.
const MOST: usize = 5;
/// How far in the future a token may have been made: other instances' clocks are not quite ours.
const AHEAD: Duration = Duration::from_secs(300);

/// Makes and knows tokens of devices.
#[derive(Debug)]
pub(crate) struct Devices {
    key: hmac::Key,
}

/// An account as a device's token is bound to it.
#[derive(Clone, Copy)]
pub(crate) struct BoundTo<'a> {
    pub(crate) account: &'a str,
    /// The hash of its password, as it is stored.
    pub(crate) password: &'a str,
}

impl Devices {
    pub(crate) fn new(root: &hmac::Key) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(root, b"portcullis devices").as_ref()) }
    }

    /// A token of a device that has just been made known, with those of other accounts that were presented beside it.
    ///
    /// Each is new: a copy of the former one that somebody has taken shares no pool with it.
    pub(crate) fn make(
        &self,
        to: BoundTo<'_>,
        presented: Option<&str>,
        life: Duration,
        now: Timestamp,
    ) -> Result<Secret<String>, IdentityError> {
        let mut token = [0; WHOLE];
        aws_lc_rs::rand::fill(&mut token[..ID]).map_err(|_| IdentityError::Crypto)?;
        token[ID..BODY].copy_from_slice(&now.as_secs().to_be_bytes());
        let mac = self.mac(&token[..BODY], to);
        token[BODY..].copy_from_slice(&mac.as_ref()[..MAC]);
        let mut text = URL_SAFE_NO_PAD.encode(token);
        let others = tokens(presented).filter(|(_, other)| !self.is_of(other, to, life, now));
        for (other, _) in others.take(MOST - 1) {
            text.push(SEPARATOR);
            text.push_str(other);
        }
        Ok(Secret::new(text))
    }

    /// The id of the device that is known to an account by one of the presented tokens.
    pub(crate) fn known(&self, presented: &str, to: BoundTo<'_>, life: Duration, now: Timestamp) -> Option<String> {
        let found = tokens(Some(presented)).find(|(_, token)| self.is_of(token, to, life, now));
        found.map(|(_, token)| hex::encode(&token[..ID]))
    }

    fn is_of(&self, token: &[u8; WHOLE], to: BoundTo<'_>, life: Duration, now: Timestamp) -> bool {
        let made = token[ID..BODY].try_into().map_or(u64::MAX, u64::from_be_bytes);
        let made_up = made > now.after(AHEAD).as_secs();
        let expired = made.saturating_add(life.as_secs()) <= now.as_secs();
        let mac = self.mac(&token[..BODY], to);
        let genuine = aws_lc_rs::constant_time::verify_slices_are_equal(&mac.as_ref()[..MAC], &token[BODY..]).is_ok();
        genuine && !made_up && !expired
    }

    fn mac(&self, body: &[u8], to: BoundTo<'_>) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.key);
        // The body has a fixed length and the account's is told, so that none runs into the next.
        context.update(body);
        context.update(&(to.account.len() as u64).to_be_bytes());
        context.update(to.account.as_bytes());
        context.update(to.password.as_bytes());
        context.sign()
    }
}

/// Whether a text can hold a device's token at all, so that nothing is looked up for what cannot.
pub(crate) fn is_plausible(presented: &str) -> bool {
    tokens(Some(presented)).next().is_some()
}

fn tokens(presented: Option<&str>) -> impl Iterator<Item = (&str, [u8; WHOLE])> {
    let parts = presented.into_iter().flat_map(|text| text.splitn(MOST + 1, SEPARATOR).take(MOST));
    parts.filter(|part| part.len() == TEXT).filter_map(|part| {
        let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
        Some((part, bytes.try_into().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: Duration = Duration::from_secs(90 * 86_400);
    const ANN: BoundTo<'_> = BoundTo { account: "ann", password: "$argon2id$1" };
    const BOB: BoundTo<'_> = BoundTo { account: "bob", password: "$argon2id$2" };

    fn devices(seed: u8) -> Devices {
        Devices::new(&hmac::Key::new(hmac::HMAC_SHA256, &[seed; 32]))
    }

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(1_800_000_000 + secs)
    }

    fn made(to: BoundTo<'_>, beside: Option<&str>) -> String {
        devices(1).make(to, beside, LIFE, at(0)).unwrap().expose().clone()
    }

    #[test]
    fn l13_a_device_is_known_to_the_account_it_logged_in_to_until_its_password_changes() {
        let token = made(ANN, None);
        assert_eq!(token.len(), TEXT);
        let known = |to, now| devices(1).known(&token, to, LIFE, now);
        assert!(known(ANN, at(0)).is_some());
        assert_eq!(known(ANN, at(0)), known(ANN, at(1000)), "one device, one pool");
        assert_eq!(known(BOB, at(0)), None);
        assert_eq!(known(BoundTo { password: "$argon2id$3", ..ANN }, at(0)), None, "another password");
        assert_eq!(known(BoundTo { account: "ann$", password: "argon2id$1" }, at(0)), None, "nothing runs over");
        assert_eq!(devices(2).known(&token, ANN, LIFE, at(0)), None, "another deployment's");
    }

    #[test]
    fn l13_a_device_is_forgotten_with_its_life_and_never_known_from_the_future() {
        let token = made(ANN, None);
        let known = |life, now| devices(1).known(&token, ANN, life, now).is_some();
        assert!(known(LIFE, at(LIFE.as_secs() - 1)) && !known(LIFE, at(LIFE.as_secs())));
        assert!(!known(Duration::from_secs(60), at(61)), "a shorter life in the configuration holds for all");
        let earlier = |secs: u64| Timestamp::from_secs(1_800_000_000 - secs);
        assert!(known(LIFE, earlier(300)) && !known(LIFE, earlier(301)));
    }

    #[test]
    fn l13_whoever_turns_one_bit_of_a_token_has_none() {
        let token = made(ANN, None);
        let bytes = URL_SAFE_NO_PAD.decode(&token).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut turned = bytes.clone();
            turned[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(devices(1).known(&URL_SAFE_NO_PAD.encode(turned), ANN, LIFE, at(0)), None, "bit {bit}");
        }
    }

    #[test]
    fn l13_a_browser_is_known_to_several_accounts_and_to_five_at_most() {
        let both = made(BOB, Some(&made(ANN, None)));
        assert!(devices(1).known(&both, ANN, LIFE, at(0)).is_some());
        assert!(devices(1).known(&both, BOB, LIFE, at(0)).is_some());
        // A new login takes the place of the former one of the same account.
        let again = made(ANN, Some(&both));
        assert_eq!(again.split(SEPARATOR).count(), 2);
        assert_ne!(devices(1).known(&both, ANN, LIFE, at(0)), devices(1).known(&again, ANN, LIFE, at(0)));

        let mut all = again;
        for number in 0..20 {
            let account = format!("a{number}");
            all = made(BoundTo { account: &account, password: "" }, Some(&all));
        }
        assert_eq!(all.split(SEPARATOR).count(), MOST);
        assert_eq!(devices(1).known(&all, ANN, LIFE, at(0)), None);
    }

    #[test]
    fn what_is_no_token_is_none_however_long() {
        let token = made(ANN, None);
        for bad in ["", ".", "....", "x", &token[1..], &format!("{token}A"), &".".repeat(100_000), &"A".repeat(100_000)]
        {
            assert!(!is_plausible(bad), "{}", bad.len());
            assert_eq!(devices(1).known(bad, ANN, LIFE, at(0)), None);
        }
        // Nothing but tokens is handed on.
        assert_eq!(made(ANN, Some("<script>.x; Domain=evil")).split(SEPARATOR).count(), 1);
        assert!(is_plausible(&format!("x.{token}")));
        assert!(!is_plausible(&format!("x.x.x.x.x.{token}")), "not beyond the fifth");
    }
}
