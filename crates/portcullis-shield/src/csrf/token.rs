//! The token itself: a moment, random bytes, and an HMAC over both and the session they are for.

use std::time::Duration;

use aws_lc_rs::{constant_time, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_core::{Principal, Timestamp};

const AT: usize = 8;
const RANDOM: usize = 16;
const BODY: usize = AT + RANDOM;
const MAC: usize = 32;
const WHOLE: usize = BODY + MAC;
/// A token's length as text.
pub const TOKEN_LENGTH: usize = (WHOLE * 8).div_ceil(6);
/// How far in the future a token may have been made: other instances' clocks are not quite ours.
const AHEAD: Duration = Duration::from_secs(300);

/// The session that a token is for.
///
/// One of our own is named by its id alone, which no two share. Another issuer's may be called whatever its issuer likes, so
/// that the issuer and the user stand beside it: nobody gets a token for somebody else's session by naming theirs alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BoundTo<'a> {
    issuer: Option<&'a str>,
    user: &'a str,
    session: &'a str,
}

impl<'a> BoundTo<'a> {
    /// One of our own sessions, by its id (`sid`).
    #[must_use]
    pub const fn own(session: &'a str) -> Self {
        Self { issuer: None, user: "", session }
    }

    /// The session by which somebody was known. A credential that names no session stands for all of its user's.
    #[must_use]
    pub fn of(principal: &'a Principal) -> Self {
        let parts = principal.parts();
        match (&parts.issuer, &parts.session) {
            (None, Some(session)) => Self::own(session),
            (issuer, session) => Self {
                issuer: issuer.as_deref(),
                user: &parts.subject,
                session: session.as_deref().unwrap_or_default(),
            },
        }
    }
}

/// A token that is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Good {
    /// How long it has been good.
    pub age: Duration,
}

/// Makes a token; `None` where the system has no random bytes to give.
pub(super) fn make(key: &hmac::Key, to: BoundTo<'_>, now: Timestamp) -> Option<String> {
    let mut token = [0; WHOLE];
    token[..AT].copy_from_slice(&now.as_secs().to_be_bytes());
    aws_lc_rs::rand::fill(&mut token[AT..BODY]).ok()?;
    let mac = sign(key, &token[..BODY], to);
    token[BODY..].copy_from_slice(mac.as_ref());
    Some(URL_SAFE_NO_PAD.encode(token))
}

/// Whether it is a token of ours for this session, and not too old. Nothing is told apart: every other text is `None`.
pub(super) fn judge(key: &hmac::Key, text: &[u8], to: BoundTo<'_>, life: Duration, now: Timestamp) -> Option<Good> {
    // The length first: what somebody sends in its place is not even decoded.
    if text.len() != TOKEN_LENGTH {
        return None;
    }
    let mut token = [0; WHOLE];
    URL_SAFE_NO_PAD.decode_slice(text, &mut token).ok().filter(|decoded| *decoded == WHOLE)?;
    let mac = sign(key, &token[..BODY], to);
    constant_time::verify_slices_are_equal(mac.as_ref(), &token[BODY..]).ok()?;
    let made = Timestamp::from_secs(token[..AT].try_into().map_or(u64::MAX, u64::from_be_bytes));
    (made <= now.after(AHEAD) && made.after(life) > now).then(|| Good { age: now.since(made) })
}

fn sign(key: &hmac::Key, body: &[u8], to: BoundTo<'_>) -> hmac::Tag {
    let mut context = hmac::Context::with_key(key);
    // The body has a fixed length and the others' are told, so that none runs into the next.
    context.update(body);
    context.update(&[u8::from(to.issuer.is_some())]);
    for part in [to.issuer.unwrap_or_default(), to.user] {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    context.update(to.session.as_bytes());
    context.sign()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
    const HOUR: Duration = Duration::from_secs(3_600);

    fn key(seed: u8) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &[seed; 32])
    }

    fn holds(token: &str, to: BoundTo<'_>, now: Timestamp) -> bool {
        judge(&key(7), token.as_bytes(), to, HOUR, now).is_some()
    }

    #[test]
    fn h2_a_token_is_bound_to_its_session_its_key_and_its_hour() {
        let ours = BoundTo::own("session-1");
        let token = make(&key(7), ours, NOW).unwrap();
        assert_eq!(token.len(), TOKEN_LENGTH);
        assert_ne!(token, make(&key(7), ours, NOW).unwrap(), "each is drawn anew");
        assert_eq!(judge(&key(7), token.as_bytes(), ours, HOUR, NOW), Some(Good { age: Duration::ZERO }));
        assert!(holds(&token, ours, NOW.after(HOUR - Duration::from_secs(1))));
        assert!(!holds(&token, ours, NOW.after(HOUR)), "expired");
        assert!(holds(&token, ours, NOW.before(Duration::from_secs(300))), "made by an instance that is ahead");
        assert!(!holds(&token, ours, NOW.before(Duration::from_secs(301))), "made in the future");
        assert!(!holds(&token, BoundTo::own("session-2"), NOW), "another session's");
        assert!(!holds(&token, BoundTo::own(""), NOW));
        assert!(judge(&key(8), token.as_bytes(), ours, HOUR, NOW).is_none(), "another key's");
    }

    #[test]
    fn h2_no_part_of_a_session_runs_into_the_next() {
        let of = |issuer, user, session| BoundTo { issuer, user, session };
        let all = [
            of(None, "", "abc"),
            of(Some(""), "", "abc"),
            of(Some("a"), "bc", ""),
            of(Some("a"), "b", "c"),
            of(Some("ab"), "", "c"),
            of(None, "abc", ""),
            of(None, "ab", "c"),
        ];
        for (index, one) in all.iter().enumerate() {
            let token = make(&key(7), *one, NOW).unwrap();
            for (other, to) in all.iter().enumerate() {
                assert_eq!(holds(&token, *to, NOW), index == other, "{one:?} {to:?}");
            }
        }
    }

    #[test]
    fn h2_a_token_that_was_tampered_with_is_none() {
        let ours = BoundTo::own("s");
        let token = make(&key(7), ours, NOW).unwrap();
        for at in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            assert!(judge(&key(7), &bytes, ours, HOUR, NOW).is_none(), "changed at {at}");
        }
        for forged in [
            "",
            "A",
            &token[1..],
            &format!("{token}A"),
            &format!("{token}="),
            &format!(" {}", &token[1..]),
            &"A".repeat(TOKEN_LENGTH),
            &"A".repeat(1 << 20),
            &token.to_uppercase(),
            &token.replace(['-', '_'], "+"),
            &"\u{e9}".repeat(TOKEN_LENGTH / 2),
        ] {
            assert!(*forged == token || !holds(forged, ours, NOW), "{forged:.100}");
        }
        assert!(judge(&key(7), &[0xff; TOKEN_LENGTH], ours, HOUR, NOW).is_none());
    }
}
