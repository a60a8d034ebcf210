//! Hashes that other systems made: a login with one, and what becomes of it (A3).

use std::sync::Arc;

use portcullis_core::ports::Standing;
use portcullis_identity::{IdentityError, PasswordHash};

use crate::house::*;

/// bcrypt and PBKDF2 of `Correct-Horse-42`, made by Python.
const BCRYPT: &str = "UPDATE account SET password = '$2b$06$zwv334N2olNqydu/dWCyResrE3nSORz8fBm93KseksJyTXaLxsoky'";
const PBKDF2: &str =
    "UPDATE account SET password = 'pbkdf2_sha256$20000$djangosalt$79zpPN4hrL7nsZYi5S7zBeGYMxUVHOCyOz04NgRfDYc='";
/// bcrypt of `Zoë-42-Zoë` with the letters typed as e and a combining mark.
const AS_TYPED: &str = "UPDATE account SET password = '$2b$06$W5PVSv6Vebcsfrgj3H6HgOK9NP2pO916zKyeKBoT9YkMzprFDQoEi'";

impl House {
    async fn hash(&self) -> String {
        self.raw().await.texts("SELECT password FROM account").await.remove(0)
    }
}

#[tokio::test]
async fn a3_an_imported_hash_logs_in_once_and_is_made_again() {
    for (statement, own, made) in [
        (BCRYPT, PasswordHash::Argon2id, "$argon2id$v=19$m=19456,t=2,p=1$"),
        (PBKDF2, PasswordHash::Argon2id, "$argon2id$v=19$m=19456,t=2,p=1$"),
        (PBKDF2, PasswordHash::Bcrypt, "$2b$12$"),
    ] {
        let house = House::with(|config| config.password_hash = own).await;
        house.create("ann@example.com").await;
        let before = house.login("ann@example.com", PASSWORD).await.unwrap();
        house.execute(statement).await;
        let imported = house.hash().await;
        let wrong = house.login("ann@example.com", "Wrong-Horse-42").await;
        assert!(matches!(wrong, Err(IdentityError::InvalidCredentials)));
        assert_eq!(house.hash().await, imported, "a wrong password changes nothing");
        house.login("ann@example.com", PASSWORD).await.unwrap();
        let rehashed = house.hash().await;
        assert!(rehashed.starts_with(made), "{rehashed}");
        house.login("ann@example.com", PASSWORD).await.unwrap();
        assert_eq!(house.hash().await, rehashed, "once is enough");
        // It is the same password, so nobody is thrown out.
        assert_eq!(house.standing(&before), Standing::Good);
        house.refresh(&before).await.unwrap();
        let audit = house.audit().await;
        assert_eq!(audit.iter().filter(|action| *action == "password_rehashed").count(), 1);
    }
}

#[tokio::test]
async fn a3_another_configured_hash_takes_the_place_of_our_own_at_the_next_login() {
    let house = House::new().await;
    house.create("ann@example.com").await;
    assert!(house.hash().await.starts_with("$argon2id$"));
    house.identity.close().await;
    let house = house.reopened(|config| config.password_hash = PasswordHash::Bcrypt).await;
    house.login("ann@example.com", PASSWORD).await.unwrap();
    assert!(house.hash().await.starts_with("$2b$12$"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a3_logins_that_race_to_make_the_hash_again_all_succeed() {
    let house = Arc::new(House::new().await);
    house.create("ann@example.com").await;
    house.execute(PBKDF2).await;
    let logins: Vec<_> = (0..6)
        .map(|_| {
            let house = Arc::clone(&house);
            tokio::spawn(async move { house.login("ann@example.com", PASSWORD).await })
        })
        .collect();
    for login in logins {
        login.await.unwrap().unwrap();
    }
    assert!(house.hash().await.starts_with("$argon2id$"));
    assert_eq!(house.count("SELECT count(*) FROM session").await, 6);
    assert_eq!(house.count("SELECT count(*) FROM audit WHERE action = 'password_rehashed'").await, 1);
}

#[tokio::test]
async fn a2_a_password_typed_on_two_systems_is_one() {
    let house = House::new().await;
    house.register("ann@example.com", "Zoe\u{308}-42-Zoe\u{308}").await.unwrap();
    house.identity.verify(&house.mailed("ann@example.com"), portcullis_identity::Origin::default()).await.unwrap();
    for typed in ["Zo\u{eb}-42-Zo\u{eb}", "Zoe\u{308}-42-Zo\u{eb}"] {
        house.login("ann@example.com", typed).await.unwrap();
    }
    assert!(house.login("ann@example.com", "Zoe-42-Zoe").await.is_err());
}

#[tokio::test]
async fn a3_a_hash_of_the_password_as_it_was_typed_logs_in_and_is_made_again_in_one_spelling() {
    let house = House::new().await;
    house.create("ann@example.com").await;
    house.execute(AS_TYPED).await;
    // The other system knew one spelling only, and we cannot know which until it is typed.
    assert!(house.login("ann@example.com", "Zo\u{eb}-42-Zo\u{eb}").await.is_err());
    house.login("ann@example.com", "Zoe\u{308}-42-Zoe\u{308}").await.unwrap();
    house.login("ann@example.com", "Zo\u{eb}-42-Zo\u{eb}").await.unwrap();
}

/// bcrypt takes twice as long with each step of its cost, so a cost of 12 would stand out four times against 19 MiB of Argon2.
#[tokio::test]
async fn a6_an_address_without_an_account_takes_as_long_as_one_that_was_imported() {
    let house = House::new().await;
    house.create("ann@example.com").await;
    house.execute("UPDATE account SET password = '$2b$12$9MQDU5gA8vnKp1ab12TRoenMrr3aZe.T/xcnWgZ0r.tc/EQghN3qO'").await;
    house.identity.tidy().await.unwrap();
    let mut least = [std::time::Duration::MAX; 2];
    for _ in 0..5 {
        for (least, email) in least.iter_mut().zip(["ann@example.com", "nobody@example.com"]) {
            let begun = std::time::Instant::now();
            assert!(house.login(email, "Wrong-Horse-42").await.is_err());
            *least = begun.elapsed().min(*least);
        }
    }
    let [imported, nobody] = least;
    assert!(nobody < imported * 2 && imported < nobody * 2, "{imported:?} {nobody:?}");
}
