//! The end of everybody's sessions (T7).

use std::sync::Arc;

use portcullis_core::ports::Standing;
use portcullis_identity::Origin;

use crate::house::*;

#[tokio::test]
async fn t7_everybodys_tokens_end_and_only_those_of_the_moment() {
    let house = House::new().await;
    let other = house.second().await;
    for email in ["ann@example.com", "ben@example.com", "cid@example.com"] {
        house.create(email).await;
    }
    let held = [
        house.login("ann@example.com", PASSWORD).await.unwrap(),
        house.login("ann@example.com", PASSWORD).await.unwrap(),
        house.login("ben@example.com", PASSWORD).await.unwrap(),
    ];
    assert_eq!(house.identity.revoke_everybody(Origin::default()).await.unwrap(), 3);
    other.catch_up().await.unwrap();
    for tokens in &held {
        assert_eq!(house.standing(tokens), Standing::Revoked);
        let seen = portcullis_core::ports::Revocations::standing(
            &*other.revocations(),
            &house.principal(tokens),
            portcullis_core::Clock::now(&*house.clock),
        );
        assert_eq!(seen, Standing::Revoked, "at the other instance");
        assert!(house.refresh(tokens).await.is_err());
    }
    // As many are remembered as somebody was logged in to, and nobody is kept out.
    assert_eq!(house.count("SELECT count(*) FROM revocation").await, 2);
    for email in ["ann@example.com", "cid@example.com"] {
        let tokens = house.login(email, PASSWORD).await.unwrap();
        assert_eq!(house.standing(&tokens), Standing::Good, "{email}");
    }
    assert!(house.audit().await.contains(&"everybody_revoked".to_owned()));
}

/// Whoever logs in while everybody is put out is either out or in, and never half of each.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn t7_a_login_at_the_moment_of_the_end_is_wholly_in_or_wholly_out() {
    let house = Arc::new(House::new().await);
    for number in 0..4 {
        house.create(&format!("user{number}@example.com")).await;
    }
    let logins: Vec<_> = (0..24)
        .map(|turn| {
            let house = Arc::clone(&house);
            tokio::spawn(async move { house.login(&format!("user{}@example.com", turn % 4), PASSWORD).await })
        })
        .collect();
    for _ in 0..6 {
        house.identity.revoke_everybody(Origin::default()).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(40)).await;
    }
    let mut held = Vec::new();
    for login in logins {
        // Others wait for the few threads that hash, or are told to come again.
        held.extend(login.await.unwrap());
    }
    assert!(held.len() >= 4, "{}", held.len());
    for tokens in &held {
        let standing = house.standing(tokens);
        assert_eq!(house.refresh(tokens).await.is_ok(), standing == Standing::Good, "{standing:?}");
    }
}
