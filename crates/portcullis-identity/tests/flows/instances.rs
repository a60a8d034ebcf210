//! Two instances on one database: what one decides holds for the other, and of two who decide at once one is first.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use portcullis_core::Clock as _;
use portcullis_core::ports::{Revocations as _, Standing};
use portcullis_identity::{Credentials, Delivery, Identity, IdentityError, Origin, Tokens};
use tokio::task::JoinHandle;

use crate::house::*;

const NOBODY: Origin = Origin { client: None, request: None, operator: false };

/// The same accounts twice.
async fn two() -> (House, [Arc<Identity>; 2]) {
    let house = House::new().await;
    house.create("ann@example.com").await;
    let second = Arc::new(house.second().await);
    let first = Arc::clone(&house.identity);
    (house, [first, second])
}

fn login(identity: &Arc<Identity>, password: &str) -> JoinHandle<Result<Tokens, IdentityError>> {
    let identity = Arc::clone(identity);
    let credentials = Credentials {
        email: "ann@example.com".into(),
        password: secret(password),
        delivery: Delivery::Body,
        agent: None,
    };
    tokio::spawn(async move { identity.login(credentials, NOBODY).await })
}

fn refresh(identity: &Arc<Identity>, token: &Tokens) -> JoinHandle<Result<Tokens, IdentityError>> {
    let (identity, token) = (Arc::clone(identity), token.refresh.expose().clone());
    tokio::spawn(async move { identity.refresh(&token, NOBODY).await })
}

fn logout(identity: &Arc<Identity>, token: &Tokens) -> JoinHandle<Result<(), IdentityError>> {
    let (identity, token) = (Arc::clone(identity), token.refresh.expose().clone());
    tokio::spawn(async move { identity.logout(&token, NOBODY).await })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn t5_fifty_uses_of_one_token_at_two_instances_give_one_successor() {
    let (_house, identities) = two().await;
    for _ in 0..5 {
        let first = login(&identities[0], PASSWORD).await.unwrap().unwrap();
        let uses: Vec<_> = (0..50).map(|turn| refresh(&identities[turn % 2], &first)).collect();
        let mut successors = Vec::new();
        for used in uses {
            successors.push(used.await.unwrap().unwrap().refresh.expose().clone());
        }
        successors.dedup();
        assert_eq!(successors.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn t4_without_grace_one_of_fifty_uses_at_two_instances_wins_and_the_family_ends() {
    let house = House::with(|config| config.grace = Duration::ZERO).await;
    house.create("ann@example.com").await;
    let second = house.second_with(|config| config.grace = Duration::ZERO).await;
    let identities = [Arc::clone(&house.identity), Arc::new(second)];
    let first = login(&identities[0], PASSWORD).await.unwrap().unwrap();
    let uses: Vec<_> = (0..50).map(|turn| refresh(&identities[turn % 2], &first)).collect();
    let mut won = Vec::new();
    for used in uses {
        match used.await.unwrap() {
            Ok(tokens) => won.push(tokens),
            Err(IdentityError::InvalidRefresh) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(won.len(), 1);
    assert!(refresh(&identities[1], &won[0]).await.unwrap().is_err());
    assert_eq!(house.count("SELECT count(*) FROM refresh_token").await, 2, "one login, one successor");
}

/// An instance as it runs: it looks for other instances' writes four times a second.
fn polling(identity: &Arc<Identity>, stop: &Arc<AtomicBool>) -> JoinHandle<()> {
    let (identity, stop) = (Arc::clone(identity), Arc::clone(stop));
    tokio::spawn(async move {
        while !stop.load(Ordering::Relaxed) {
            identity.catch_up().await.unwrap();
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t7_a_revocation_takes_effect_at_the_other_instance_within_a_second() {
    let (house, identities) = two().await;
    let stop = Arc::new(AtomicBool::new(false));
    let poller = polling(&identities[1], &stop);
    let mut slowest = Duration::ZERO;
    for turn in 0..12 {
        let tokens = house.login("ann@example.com", PASSWORD).await.unwrap();
        let principal = house.principal(&tokens);
        match turn % 4 {
            0 => identities[0].logout(tokens.refresh.expose(), NOBODY).await.unwrap(),
            1 => identities[0].logout_all(principal.subject(), NOBODY).await.unwrap(),
            2 => identities[0].set_password("ann@example.com", &secret(PASSWORD), NOBODY).await.unwrap(),
            _ => {
                identities[0].set_disabled("ann@example.com", true, NOBODY).await.unwrap();
                identities[0].set_disabled("ann@example.com", false, NOBODY).await.unwrap();
            }
        }
        let decided = Instant::now();
        while identities[1].revocations().standing(&principal, house.clock.now()) != Standing::Revoked {
            assert!(decided.elapsed() < Duration::from_secs(1), "turn {turn}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        slowest = slowest.max(decided.elapsed());
    }
    println!("the slowest of 12 revocations took effect at the other instance after {slowest:?}");
    stop.store(true, Ordering::Relaxed);
    poller.await.unwrap();
}

/// Revocations are read by their numbers. Were a number drawn before another and committed after it, a reader in between
/// would never come back for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn t7_no_revocation_is_passed_over_by_an_instance_that_reads_while_others_write() {
    let (house, identities) = two().await;
    let reader = Arc::new(house.second().await);
    for _ in 0..4 {
        let mut sessions = Vec::new();
        for _ in 0..4 {
            // No more at once than may wait for their hash.
            for login in (0..8).map(|turn| login(&identities[turn % 2], PASSWORD)).collect::<Vec<_>>() {
                sessions.push(login.await.unwrap().unwrap());
            }
        }
        let stop = Arc::new(AtomicBool::new(false));
        let reading = tokio::spawn({
            let (reader, stop) = (Arc::clone(&reader), Arc::clone(&stop));
            async move {
                while !stop.load(Ordering::Relaxed) {
                    reader.catch_up().await.unwrap();
                }
            }
        });
        let logouts: Vec<_> =
            sessions.iter().enumerate().map(|(turn, tokens)| logout(&identities[turn % 2], tokens)).collect();
        for logout in logouts {
            logout.await.unwrap().unwrap();
        }
        stop.store(true, Ordering::Relaxed);
        reading.await.unwrap();
        reader.catch_up().await.unwrap();
        for tokens in &sessions {
            let standing = reader.revocations().standing(&house.principal(tokens), house.clock.now());
            assert_eq!(standing, Standing::Revoked);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a7_a_login_at_one_instance_and_a_new_password_at_the_other_leave_no_session_of_the_old_password() {
    let (house, identities) = two().await;
    let passwords = [PASSWORD, "Another-Horse-43"];
    for turn in 0..4 {
        let (old, new) = (passwords[turn % 2], passwords[(turn + 1) % 2]);
        let logins: Vec<_> = (0..8).map(|_| login(&identities[0], old)).collect();
        let changed = tokio::spawn({
            let identity = Arc::clone(&identities[1]);
            async move { identity.set_password("ann@example.com", &secret(new), NOBODY).await }
        });
        let mut let_in = Vec::new();
        for login in logins {
            match login.await.unwrap() {
                Ok(tokens) => let_in.push(tokens),
                Err(IdentityError::InvalidCredentials) => {}
                Err(other) => panic!("{other:?}"),
            }
        }
        changed.await.unwrap().unwrap();
        for tokens in &let_in {
            assert!(refresh(&identities[0], tokens).await.unwrap().is_err(), "a session of the old password lives");
        }
        assert_eq!(house.count("SELECT count(*) FROM session WHERE revoked_at IS NULL").await, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a8_one_logout_repeated_at_two_instances_at_once_is_written_once() {
    let (house, identities) = two().await;
    let tokens = house.login("ann@example.com", PASSWORD).await.unwrap();
    for logout in (0..20).map(|turn| logout(&identities[turn % 2], &tokens)).collect::<Vec<_>>() {
        logout.await.unwrap().unwrap();
    }
    assert_eq!(house.count("SELECT count(*) FROM revocation").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a4_registrations_of_one_address_at_two_instances_keep_three_pending_and_one_becomes_the_account() {
    let (house, identities) = two().await;
    let registrations: Vec<_> = (0..10)
        .map(|turn| {
            let identity = Arc::clone(&identities[turn % 2]);
            let registration = portcullis_identity::Registration {
                email: "bob@example.com".into(),
                password: secret(PASSWORD),
                name: None,
            };
            tokio::spawn(async move { identity.register(registration, NOBODY).await })
        })
        .collect();
    for registration in registrations {
        registration.await.unwrap().unwrap();
    }
    assert_eq!(house.count("SELECT count(*) FROM pending").await, 3);
    let links: Vec<String> =
        house.mails.mails().iter().map(|mail| mail.text.split_once("token=").unwrap().1[..64].to_owned()).collect();
    assert_eq!(links.len(), 10);
    let confirmed: Vec<_> = links
        .into_iter()
        .enumerate()
        .map(|(turn, link)| {
            let identity = Arc::clone(&identities[turn % 2]);
            tokio::spawn(async move { identity.verify(&link, NOBODY).await })
        })
        .collect();
    let mut made = 0;
    for verified in confirmed {
        match verified.await.unwrap() {
            Ok(()) => made += 1,
            Err(IdentityError::InvalidVerification) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(made, 1);
    assert_eq!(house.count("SELECT count(*) FROM account WHERE email = 'bob@example.com'").await, 1);
    assert_eq!(house.count("SELECT count(*) FROM pending").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn t3_keys_rotated_at_two_instances_at_once_leave_one_that_signs_and_tidying_stays_out_of_its_own_way() {
    let (house, identities) = two().await;
    let chores: Vec<_> = (0..8)
        .map(|turn| {
            let identity = Arc::clone(&identities[turn % 2]);
            tokio::spawn(async move {
                identity.rotate_keys(NOBODY).await.map(drop)?;
                identity.tidy().await
            })
        })
        .collect();
    for chore in chores {
        chore.await.unwrap().unwrap();
    }
    assert_eq!(house.count("SELECT count(*) FROM signing_key WHERE retired_at IS NULL").await, 1);
    for identity in &identities {
        identity.catch_up().await.unwrap();
    }
    let [one, two] = identities.map(|identity| identity.keys().load().1.public_jwks_json());
    assert_eq!(one, two);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn t3_a_key_that_is_due_at_every_instance_at_once_is_rotated_once() {
    let (house, identities) = two().await;
    house.clock.advance(identities[0].config().rotate_every);
    let chores: Vec<_> = (0..8)
        .map(|turn| {
            let identity = Arc::clone(&identities[turn % 2]);
            tokio::spawn(async move { identity.tidy().await })
        })
        .collect();
    for chore in chores {
        chore.await.unwrap().unwrap();
    }
    assert_eq!(house.count("SELECT count(*) FROM signing_key").await, 2, "the one that was there and one more");
    assert_eq!(house.count("SELECT count(*) FROM signing_key WHERE retired_at IS NULL").await, 1);
}
