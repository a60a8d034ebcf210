//! The limits that apply where a file writes none (L5).

use std::time::Duration;

use portcullis::{Count, KeyPart, LimitRule, Pattern, QuotaChoice, Scope};
use portcullis_limit::{Algorithm, Quota, Rate};

/// The names of the preset limits.
pub(super) const NAMES: [&str; 6] = ["anonymous", "auth", "auth-endpoints", "login", "user", "verify"];

const MINUTE: Duration = Duration::from_secs(60);

/// All preset limits; without the identity endpoints there is nothing for those of the login to shield.
pub(super) fn all(identity: bool) -> Vec<LimitRule> {
    NAMES
        .iter()
        .filter(|name| identity || !matches!(**name, "auth" | "auth-endpoints" | "login"))
        .filter_map(|name| named(name))
        .collect()
}

/// One preset limit.
pub(super) fn named(name: &str) -> Option<LimitRule> {
    let rule = match name {
        "anonymous" => LimitRule { scope: Scope::Anonymous, ..limit("anonymous", &["/**"], 100, MINUTE) },
        "auth-endpoints" => limit(
            "auth-endpoints",
            &[
                "POST /auth/login",
                "POST /auth/register",
                "POST /auth/forgot-password",
                "POST /auth/reset-password",
                "POST /auth/resend-verification",
                "POST /auth/verify",
                "POST /auth/confirm-email",
                "POST /auth/confirm-device",
                // Each costs a hash, and the second mails to whomever its caller names.
                "POST /auth/change-password",
                "POST /auth/change-email",
                "DELETE /auth/me",
                "POST /auth/api-keys",
                "POST /auth/api-keys/{id}/rotate",
            ],
            20,
            MINUTE,
        ),
        // Where a password or a link is asked for beside the login: whoever stole a session must not be able to try out its
        // owner's passwords. An owner whose new password breaks a rule ten times has guessed nothing.
        "auth" => LimitRule {
            key: vec![KeyPart::User],
            count: Count::Denials,
            ..limit(
                "auth",
                &[
                    "POST /auth/change-password",
                    "POST /auth/change-email",
                    "DELETE /auth/me",
                    "POST /auth/api-keys",
                    "POST /auth/api-keys/{id}/rotate",
                    "POST /auth/reset-password",
                    "POST /auth/confirm-email",
                    "POST /auth/confirm-device",
                    "POST /auth/verify",
                ],
                10,
                60 * MINUTE,
            )
        },
        "login" => LimitRule {
            quota: QuotaChoice::Fixed(rate(5, 15 * MINUTE, Algorithm::SlidingWindowLog)),
            message: Some("Too many login attempts. Try again in {minutes} minutes.".into()),
            ..limit("login", &["POST /auth/login"], 5, 15 * MINUTE)
        },
        // A stolen admin token must not be unlimited, so the exemption ends at a high ceiling.
        "user" => LimitRule {
            key: vec![KeyPart::User],
            exempt: vec!["admin".into()],
            ceiling: Some(rate(3_000, MINUTE, Algorithm::SlidingWindowCounter)),
            ..limit("user", &["/**"], 300, MINUTE)
        },
        "verify" => LimitRule { scope: Scope::Verification, ..limit("verify", &["/**"], 600, MINUTE) },
        _ => return None,
    };
    Some(rule)
}

/// The pattern of everything.
pub(super) fn everything() -> Vec<Pattern> {
    vec![pattern("/**")]
}

fn limit(name: &str, patterns: &[&str], count: u64, window: Duration) -> LimitRule {
    let patterns = patterns.iter().map(|text| pattern(text)).collect();
    LimitRule::new(name, patterns, rate(count, window, Algorithm::SlidingWindowCounter))
}

fn rate(count: u64, window: Duration, algorithm: Algorithm) -> Rate {
    Quota::new(count, window)
        .ok()
        .and_then(|quota| Rate::new(quota, algorithm, None).ok())
        .expect("the preset rates are valid")
}

fn pattern(text: &str) -> Pattern {
    text.parse().expect("the preset patterns are valid")
}
