//! Sessions, refresh tokens, keys and revocations (T3 to T8).

use std::sync::Arc;
use std::time::Duration;

use portcullis_core::ports::{Revocations as _, Standing};
use portcullis_core::{Clock as _, EventKind};
use portcullis_identity::{IdentityError, Origin};

use crate::house::*;

#[tokio::test]
async fn t4_a_refresh_token_rotates_at_every_use() {
    let house = House::new().await;
    house.create("ann@example.com").await;
    let first = house.login("ann@example.com", PASSWORD).await.unwrap();
    let second = house.refresh(&first).await.unwrap();
    assert!(first.refresh != second.refresh);
    let third = house.refresh(&second).await.unwrap();
    assert_eq!(house.principal(&first).parts().session, house.principal(&third).parts().session, "one family");
}

#[tokio::test]
async fn t4_reuse_of_a_spent_token_revokes_the_whole_family() {
    let house = House::new().await;
    house.create("ann@example.com").await;
    let stolen = house.login("ann@example.com", PASSWORD).await.unwrap();
    let other_device = house.login("ann@example.com", PASSWORD).await.unwrap();
    let next = house.refresh(&stolen).await.unwrap();
    house.clock.advance(Duration::from_secs(11));
    assert!(matches!(house.refresh(&stolen).await, Err(IdentityError::InvalidRefresh)));
    assert!(matches!(house.refresh(&next).await, Err(IdentityError::InvalidRefresh)), "the successor is void too");
    assert_eq!(house.standing(&next), Standing::Revoked, "and its access token");
    assert_eq!(house.standing(&other_device), Standing::Good);
    assert!(house.refresh(&other_device).await.is_ok(), "two devices are two families");
    assert!(house.records.0.lock().unwrap().contains(&EventKind::RefreshReuse));
}

#[tokio::test]
async fn t5_two_tabs_get_the_same_successor_within_the_grace_window() {
    let house = House::new().await;
    house.create("ann@example.com").await;
    let first = house.login("ann@example.com", PASSWORD).await.unwrap();
    let one = house.refresh(&first).await.unwrap();
    house.clock.advance(Duration::from_secs(10));
    let two = house.refresh(&first).await.unwrap();
    assert!(one.refresh == two.refresh);
    assert!(house.records.0.lock().unwrap().contains(&EventKind::RefreshGrace));
    // Once the successor was used, the predecessor's grace is over.
    house.refresh(&one).await.unwrap();
    assert!(matches!(house.refresh(&first).await, Err(IdentityError::InvalidRefresh)));
    assert_eq!(house.standing(&one), Standing::Revoked);
}

#[tokio::test]
async fn t5_no_grace_where_it_is_turned_off() {
    let house = House::with(|config| config.grace = Duration::ZERO).await;
    house.create("ann@example.com").await;
    let first = house.login("ann@example.com", PASSWORD).await.unwrap();
    house.refresh(&first).await.unwrap();
    assert!(matches!(house.refresh(&first).await, Err(IdentityError::InvalidRefresh)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn t5_fifty_parallel_uses_of_one_token_give_one_successor() {
    let house = House::new().await;
    house.create("ann@example.com").await;
    let first = Arc::new(house.login("ann@example.com", PASSWORD).await.unwrap());
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let (identity, first) = (Arc::clone(&house.identity), Arc::clone(&first));
            tokio::spawn(async move { identity.refresh(first.refresh.expose(), Origin::default()).await })
        })
        .collect();
    let mut successors = Vec::new();
    for task in tasks {
        successors.push(task.await.unwrap().unwrap().refresh.expose().clone());
    }
    successors.dedup();
    assert_eq!(successors.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn t4_without_grace_fifty_parallel_uses_end_the_family() {
    let house = House::with(|config| config.grace = Duration::ZERO).await;
    house.create("ann@example.com").await;
    let first = Arc::new(house.login("ann@example.com", PASSWORD).await.unwrap());
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let (identity, first) = (Arc::clone(&house.identity), Arc::clone(&first));
            tokio::spawn(async move { identity.refresh(first.refresh.expose(), Origin::default()).await })
        })
        .collect();
    let mut won = Vec::new();
    for task in tasks {
        won.extend(task.await.unwrap().ok());
    }
    assert_eq!(won.len(), 1);
    assert!(house.refresh(&won[0]).await.is_err(), "and the one that won is void as well");
}

#[tokio::test]
async fn t4_refresh_tokens_live_seven_days() {
    let house = House::new().await;
    house.create("ann@example.com").await;
    let tokens = house.login("ann@example.com", PASSWORD).await.unwrap();
    house.clock.advance(Duration::from_secs(7 * 86_400));
    assert!(matches!(house.refresh(&tokens).await, Err(IdentityError::InvalidRefresh)));
}

#[tokio::test]
async fn a8_t8_logout_works_by_the_refresh_token_alone_and_grace_never_revives_it() {
    let house = House::new().await;
    house.create("ann@example.com").await;
    let first = house.login("ann@example.com", PASSWORD).await.unwrap();
    let second = house.refresh(&first).await.unwrap();
    house.identity.logout(second.refresh.expose(), Origin::default()).await.unwrap();
    assert_eq!(house.standing(&second), Standing::Revoked);
    assert!(matches!(house.refresh(&first).await, Err(IdentityError::InvalidRefresh)), "still inside the window");
    assert!(matches!(house.refresh(&second).await, Err(IdentityError::InvalidRefresh)));
    house.identity.logout("nonsense", Origin::default()).await.unwrap();
}

#[tokio::test]
async fn t7_revocations_of_another_process_are_seen_and_a_stale_record_says_unknown() {
    let house = House::new().await;
    house.create("ann@example.com").await;
    let tokens = house.login("ann@example.com", PASSWORD).await.unwrap();
    let other = house.second().await;
    other.set_disabled("ann@example.com", true, Origin::default()).await.unwrap();
    assert_eq!(house.standing(&tokens), Standing::Good, "not polled yet");
    house.identity.catch_up().await.unwrap();
    assert_eq!(house.standing(&tokens), Standing::Revoked);
    assert!(matches!(house.login("ann@example.com", PASSWORD).await, Err(IdentityError::Disabled)));
    assert!(matches!(house.login("ann@example.com", "Wrong-Horse-42").await, Err(IdentityError::InvalidCredentials)));
    assert!(matches!(house.refresh(&tokens).await, Err(IdentityError::InvalidRefresh)));
    other.set_disabled("ann@example.com", false, Origin::default()).await.unwrap();
    house.identity.catch_up().await.unwrap();
    let again = house.login("ann@example.com", PASSWORD).await.unwrap();
    assert_eq!(house.standing(&again), Standing::Good);
    house.clock.advance(Duration::from_secs(61));
    assert_eq!(house.standing(&again), Standing::Unknown);
}

#[tokio::test]
async fn t7_a_new_password_and_logout_everywhere_end_every_session() {
    let house = House::new().await;
    house.create("ann@example.com").await;
    let tokens = house.login("ann@example.com", PASSWORD).await.unwrap();
    house.identity.set_password("ann@example.com", &secret("Another-Horse-43"), Origin::default()).await.unwrap();
    assert_eq!(house.standing(&tokens), Standing::Revoked);
    assert!(house.refresh(&tokens).await.is_err());
    let tokens = house.login("ann@example.com", "Another-Horse-43").await.unwrap();
    let id = house.principal(&tokens).subject().to_owned();
    house.identity.logout_all(&id, Origin::default()).await.unwrap();
    assert_eq!(house.standing(&tokens), Standing::Revoked);
}

/// Whether an access token names this key.
fn signed_by(tokens: &portcullis_identity::Tokens, kid: &str) -> bool {
    use base64::Engine as _;
    let header = tokens.access.expose().split('.').next().unwrap();
    let header = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(header).unwrap();
    String::from_utf8(header).unwrap().contains(kid)
}

#[tokio::test]
async fn t3_a_rotated_key_signs_and_the_retired_one_verifies_until_its_last_token_expired() {
    let house = House::new().await;
    house.create("ann@example.com").await;
    let old = house.login("ann@example.com", PASSWORD).await.unwrap();
    let other = house.second().await;
    let kid = other.rotate_keys(Origin::default()).await.unwrap();
    // Whoever has not heard of the new key yet must not be shown what it signed.
    for identity in [&other, &*house.identity] {
        identity.catch_up().await.unwrap();
        let next = identity.refresh(old.refresh.expose(), Origin::default()).await.unwrap();
        assert!(!signed_by(&next, &kid), "it signs at once");
    }
    house.clock.advance(Duration::from_secs(2));
    house.identity.catch_up().await.unwrap();
    let new = house.login("ann@example.com", PASSWORD).await.unwrap();
    assert!(signed_by(&new, &kid));
    house.principal(&old);
    house.principal(&new);
    let jwks = || house.identity.keys().load().1.public_jwks_json();
    assert!(jwks().contains(&kid));
    assert_eq!(house.identity.keys().load().1.keys().len(), 2);
    house.clock.advance(Duration::from_secs(933));
    house.identity.catch_up().await.unwrap();
    assert_eq!(house.identity.keys().load().1.keys().len(), 1);
    assert!(!jwks().contains("\"d\""), "never a private part");
}

#[tokio::test]
async fn t3_the_key_is_rotated_when_it_is_due_and_only_then() {
    let house = House::new().await;
    house.identity.tidy().await.unwrap();
    assert_eq!(house.identity.list_keys().await.unwrap().len(), 1);
    house.clock.advance(Duration::from_secs(90 * 86_400));
    house.identity.tidy().await.unwrap();
    let keys = house.identity.list_keys().await.unwrap();
    assert_eq!(keys.len(), 2);
    assert!(keys[0].retired_at.is_none() && keys[1].retired_at.is_some());
}

#[tokio::test]
async fn a8_a_second_logout_writes_nothing() {
    let house = House::new().await;
    house.create("ann@example.com").await;
    let tokens = house.login("ann@example.com", PASSWORD).await.unwrap();
    for _ in 0..5 {
        house.identity.logout(tokens.refresh.expose(), Origin::default()).await.unwrap();
    }
    assert_eq!(house.count("SELECT count(*) FROM revocation").await, 1);
    assert_eq!(house.audit().await.iter().filter(|action| *action == "logged_out").count(), 1);
}

#[tokio::test]
async fn t7_a_shorter_life_of_new_tokens_forgets_no_revocation_of_an_older_one() {
    let house = House::with(|config| config.access_ttl = Duration::from_secs(86_400)).await;
    house.create("ann@example.com").await;
    let tokens = house.login("ann@example.com", PASSWORD).await.unwrap();
    // The operator shortens the life of access tokens to 15 minutes and restarts; then the user logs out.
    let restarted = house.second().await;
    restarted.logout(tokens.refresh.expose(), Origin::default()).await.unwrap();
    restarted.rotate_keys(Origin::default()).await.unwrap();
    house.clock.advance(Duration::from_secs(3_600));
    restarted.tidy().await.unwrap();
    restarted.catch_up().await.unwrap();
    let principal = house.principal(&tokens);
    assert_eq!(restarted.revocations().standing(&principal, house.clock.now()), Standing::Revoked);
    assert_eq!(restarted.keys().load().1.keys().len(), 2, "T3: the older token's key still verifies");
    house.clock.advance(Duration::from_secs(86_400));
    restarted.catch_up().await.unwrap();
    assert_eq!(restarted.keys().load().1.keys().len(), 1);
}

#[tokio::test]
async fn t3_a_retired_private_key_is_destroyed_when_its_last_token_has_expired() {
    let house = House::new().await;
    house.identity.rotate_keys(Origin::default()).await.unwrap();
    house.identity.tidy().await.unwrap();
    assert_eq!(house.identity.list_keys().await.unwrap().len(), 2, "its tokens live");
    house.clock.advance(Duration::from_secs(933));
    house.identity.tidy().await.unwrap();
    assert_eq!(house.identity.list_keys().await.unwrap().len(), 1);
}

#[tokio::test]
async fn t7_a_restored_database_that_numbers_revocations_anew_is_read_anew() {
    let house = House::new().await;
    house.create("ann@example.com").await;
    let mut sessions = Vec::new();
    for _ in 0..5 {
        sessions.push(house.login("ann@example.com", PASSWORD).await.unwrap());
    }
    for tokens in &sessions[..3] {
        house.identity.logout(tokens.refresh.expose(), Origin::default()).await.unwrap();
    }
    house.raw().await.forget_every_revocation().await;
    let other = house.second().await;
    for tokens in &sessions[3..] {
        other.logout(tokens.refresh.expose(), Origin::default()).await.unwrap();
        house.identity.catch_up().await.unwrap();
    }
    for tokens in &sessions {
        assert_eq!(house.standing(tokens), Standing::Revoked, "what was seen before is not forgotten either");
    }
}
