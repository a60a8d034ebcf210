//! The flows over a real database and a clock that stands still. One suite for every engine: the file that includes it
//! says which by its `database`.

mod claims;
mod everybody;
pub(crate) mod house;
mod import;
mod instances;
mod mark;
mod opaque;
mod operate;
mod owner;
pub(crate) mod raw;
mod records;
mod rehash;
mod siege;
mod strangers;
mod tokens;

use std::sync::Arc;
use std::time::Duration;

use portcullis_core::{EventKind, ManualClock, Secret, Timestamp};
use portcullis_identity::{
    Credentials, Delivery, Identity, IdentityConfig, IdentityError, MailCatcher, OpenError, Origin, Ports, Tokens,
};

use self::raw::Raw;
use crate::house::*;

#[tokio::test]
async fn a4_a5_a6_register_verify_login() {
    let house = House::new().await;
    house.register("Ann@Example.com", PASSWORD).await.unwrap();
    assert!(matches!(house.login("ann@example.com", PASSWORD).await, Err(IdentityError::NotVerified)));
    assert!(matches!(house.login("ann@example.com", "Wrong-Horse-42").await, Err(IdentityError::InvalidCredentials)));
    let token = house.mailed("ann@example.com");
    assert!(matches!(
        house.identity.verify(&"0".repeat(64), Origin::default()).await,
        Err(IdentityError::InvalidVerification)
    ));
    house.identity.verify(&token, Origin::default()).await.unwrap();
    assert!(matches!(house.identity.verify(&token, Origin::default()).await, Err(IdentityError::InvalidVerification)));
    let tokens = house.login("ANN@example.com", PASSWORD).await.unwrap();
    let principal = house.principal(&tokens);
    assert!(principal.has_role("viewer"));
    assert_eq!(principal.parts().plan.as_deref(), Some("free"));
    assert_eq!(tokens.refresh.expose().len(), 64);
}

#[tokio::test]
async fn a5_a_verification_token_lives_24_hours() {
    let house = House::new().await;
    house.register("ann@example.com", PASSWORD).await.unwrap();
    let token = house.mailed("ann@example.com");
    house.clock.advance(Duration::from_secs(24 * 3600));
    assert!(matches!(house.identity.verify(&token, Origin::default()).await, Err(IdentityError::InvalidVerification)));
    assert!(matches!(house.login("ann@example.com", PASSWORD).await, Err(IdentityError::InvalidCredentials)));
}

#[tokio::test]
async fn a4_nobody_can_plant_a_password_on_an_address_they_do_not_own() {
    let house = House::new().await;
    house.register("ann@example.com", PASSWORD).await.unwrap();
    let anns = house.mailed("ann@example.com");
    house.clock.advance(Duration::from_secs(1));
    house.register("ann@example.com", "Mallory-Was-Here-1").await.unwrap();
    house.identity.verify(&anns, Origin::default()).await.unwrap();
    assert!(house.login("ann@example.com", PASSWORD).await.is_ok());
    assert!(house.login("ann@example.com", "Mallory-Was-Here-1").await.is_err());
    // Verifying one deleted the others.
    let mallorys = house.mailed("ann@example.com");
    assert!(house.identity.verify(&mallorys, Origin::default()).await.is_err());
}

#[tokio::test]
async fn a4_at_most_three_registrations_of_an_address_are_pending() {
    let house = House::new().await;
    let mut tokens = Vec::new();
    for _ in 0..5 {
        house.clock.advance(Duration::from_secs(1));
        house.register("ann@example.com", PASSWORD).await.unwrap();
        tokens.push(house.mailed("ann@example.com"));
    }
    assert!(house.identity.verify(&tokens[1], Origin::default()).await.is_err(), "the oldest went first");
    house.identity.verify(&tokens[2], Origin::default()).await.unwrap();
}

#[tokio::test]
async fn a4_a_known_owner_is_told_by_mail_and_nobody_else_is() {
    let house = House::new().await;
    house.create("ann@example.com").await;
    house.register("ann@example.com", "Mallory-Was-Here-1").await.unwrap();
    let mails = house.mails.mails();
    assert_eq!(mails.len(), 1);
    assert_eq!(&*mails[0].subject, "You already have an account");
    assert!(!mails[0].text.contains("token="));
    assert!(house.login("ann@example.com", "Mallory-Was-Here-1").await.is_err());
}

#[tokio::test]
async fn a2_a_weak_password_is_told_rule_by_rule_and_stores_nothing() {
    let house = House::new().await;
    let Err(IdentityError::Invalid(broken)) = house.register("not an address", "short").await else { panic!() };
    let fields: Vec<_> = broken.iter().map(|violation| violation.field).collect();
    assert_eq!(fields, ["email", "password", "password", "password"]);
    assert!(house.mails.mails().is_empty());
}

#[tokio::test]
async fn a5_a_resend_mails_new_links_for_what_is_pending_and_nothing_else() {
    let house = House::new().await;
    house.register("ann@example.com", PASSWORD).await.unwrap();
    let first = house.mailed("ann@example.com");
    for email in ["ann@example.com", "nobody@example.com", "nonsense"] {
        house.identity.resend_verification(email, Origin::default()).await.unwrap();
    }
    assert_eq!(house.mails.mails().len(), 2);
    assert!(house.identity.verify(&first, Origin::default()).await.is_err(), "the old link is void");
    house.identity.verify(&house.mailed("ann@example.com"), Origin::default()).await.unwrap();
}

#[tokio::test]
async fn a10_registration_can_be_closed() {
    let house = House::with(|config| config.registration = false).await;
    assert!(matches!(house.register("a@example.com", PASSWORD).await, Err(IdentityError::RegistrationClosed)));
}

#[tokio::test]
async fn w1_every_act_is_audited_with_what_it_did() {
    let house = House::new().await;
    house.register("bob@example.com", PASSWORD).await.unwrap();
    house.identity.verify(&house.mailed("bob@example.com"), Origin::default()).await.unwrap();
    let tokens = house.login("bob@example.com", PASSWORD).await.unwrap();
    let next = house.refresh(&tokens).await.unwrap();
    house.identity.logout(next.refresh.expose(), Origin::default()).await.unwrap();
    let audit = house.audit().await;
    assert_eq!(audit, ["key_rotated", "registered", "verified", "logged_in", "refreshed", "logged_out"]);
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_restart_and_keys_are_sealed() {
    let house = House::new().await;
    house.create("ann@example.com").await;
    let tokens = house.login("ann@example.com", PASSWORD).await.unwrap();
    let private = house.raw().await.everything(house.folder.path()).await;
    assert!(private.len() > 1000, "the search below would find what it looks for");
    assert!(!private.windows(PASSWORD.len()).any(|window| window == PASSWORD.as_bytes()));
    assert!(!private.windows(64).any(|window| window == tokens.refresh.expose().as_bytes()));
    house.identity.close().await;
    let again = house.second().await;
    assert!(again.refresh(tokens.refresh.expose(), Origin::default()).await.is_ok());
    assert_eq!(accounts(&again).await.len(), 1);
}

#[tokio::test]
async fn a9_a_database_of_a_newer_version_is_refused_untouched() {
    let folder = tempfile::tempdir().unwrap();
    Raw::connect(&config(&folder).database, folder.path()).await.become_newer().await;
    let key = (0..32).collect::<Vec<u8>>();
    let config = IdentityConfig { master_key: Some(Secret::new(key)), ..config(&folder) };
    let ports = Ports {
        clock: Arc::new(ManualClock::default()),
        mailer: Arc::new(MailCatcher::default()),
        events: Arc::new(Records::default()),
    };
    let error = Identity::open(config, ports).await.unwrap_err();
    assert!(matches!(error, OpenError::Newer { found: 999, .. }), "{error}");
    let told = error.to_string();
    assert!(told.starts_with("the database is of schema version 999, this program knows up to "), "{told}");
}

#[tokio::test]
async fn a11_a_new_database_holds_no_account() {
    let house = House::new().await;
    assert!(accounts(&house.identity).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a9_two_processes_may_start_at_once() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let key = Secret::new((0..32).collect::<Vec<u8>>());
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let config = IdentityConfig { master_key: Some(key.clone()), ..config(&folder) };
            let ports = Ports {
                clock: Arc::new(ManualClock::new(Timestamp::from_secs(1_800_000_000))),
                mailer: Arc::new(MailCatcher::default()),
                events: Arc::new(Records::default()),
            };
            tokio::spawn(async move { Identity::open(config, ports).await })
        })
        .collect();
    let mut jwks = Vec::new();
    for task in tasks {
        let identity = task.await.unwrap().unwrap();
        jwks.push(identity.keys().load().1.public_jwks_json());
    }
    jwks.dedup();
    assert_eq!(jwks.len(), 1, "all agree on one key");
}

#[tokio::test]
async fn no_secret_is_shown_by_debug() {
    let house = House::new().await;
    house.create("ann@example.com").await;
    let tokens = house.login("ann@example.com", PASSWORD).await.unwrap();
    let shown = format!("{tokens:?} {:?}", house.identity);
    assert!(!shown.contains(tokens.refresh.expose()) && !shown.contains(tokens.access.expose()));
}

/// Many logins queue for two hashing threads, so that the last of them are still waiting when the account changes.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a7_a_login_that_waits_while_the_account_is_disabled_leaves_no_session() {
    let house = Arc::new(House::new().await);
    house.create("ada@example.com").await;
    let logins: Vec<_> = (0..12)
        .map(|_| {
            let house = Arc::clone(&house);
            tokio::spawn(async move { house.login("ada@example.com", PASSWORD).await })
        })
        .collect();
    // One of them is done, so that all have read the account as it was.
    while house.records.0.lock().unwrap().iter().all(|kind| *kind != EventKind::LoginSucceeded) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    house.identity.set_disabled("ada@example.com", true, Origin::default()).await.unwrap();
    let mut refused = 0;
    let mut let_in = Vec::new();
    for login in logins {
        match login.await.unwrap() {
            Ok(tokens) => let_in.push(tokens),
            Err(IdentityError::Disabled) => refused += 1,
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(refused > 0, "none of the logins was still waiting");
    // What was let in before is revoked, and stays so when the account comes back.
    house.identity.set_disabled("ada@example.com", false, Origin::default()).await.unwrap();
    for tokens in &let_in {
        assert!(matches!(house.refresh(tokens).await, Err(IdentityError::InvalidRefresh)));
    }
}

/// Keeps the only hashing thread busy, so that whoever logs in now has read the account long before the password is
/// checked; gives that login.
async fn slow_login(house: &House) -> tokio::task::JoinHandle<Result<Tokens, IdentityError>> {
    let login = |email: &str| {
        let identity = Arc::clone(&house.identity);
        let credentials =
            Credentials { email: email.to_owned(), password: secret(PASSWORD), delivery: Delivery::Body, agent: None };
        tokio::spawn(async move { identity.login(credentials, Origin::default()).await })
    };
    for _ in 0..10 {
        login("nobody@example.com");
    }
    // These have read what they need and wait; then so does the one behind them.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let slow = login("ann@example.com");
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!slow.is_finished(), "the login still waits for its hash");
    slow
}

#[tokio::test]
async fn a6_a_password_replaced_while_it_is_checked_opens_no_session() {
    let house = House::with(|config| config.hash_threads = 1).await;
    house.create("ann@example.com").await;
    let slow = slow_login(&house).await;
    // What a reset does, in the middle: everything of the old password ends.
    house.execute("UPDATE account SET password = 'another hash', version = version + 1").await;
    assert!(matches!(slow.await.unwrap(), Err(IdentityError::InvalidCredentials)));
    assert_eq!(house.count("SELECT count(*) FROM session").await, 0);
}

#[tokio::test]
async fn no_link_of_a_mail_is_shown_by_debug() {
    let house = House::new().await;
    house.register("bob@example.com", PASSWORD).await.unwrap();
    let token = house.mailed("bob@example.com");
    let shown = format!("{:?} {:?}", house.mails, house.mails.mails());
    assert!(!shown.contains(&token));
}
