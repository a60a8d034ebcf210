//! What a stranger can learn or plant with an address that is not theirs.

use super::*;

const MALLORYS: &str = "Mallory-Was-Here-1";

#[tokio::test]
async fn a4_a6_who_registers_an_address_and_logs_in_with_that_password_learns_nothing_of_its_owner() {
    let house = House::new().await;
    house.create("known@example.com").await;
    for email in ["known@example.com", "unknown@example.com"] {
        house.register(email, MALLORYS).await.unwrap();
        let told = house.login(email, MALLORYS).await.unwrap_err();
        assert!(matches!(told, IdentityError::NotVerified), "{email}: {told:?}");
    }
}

#[tokio::test]
async fn a4_what_a_stranger_registers_beside_an_account_can_never_become_one() {
    let house = House::new().await;
    house.create("known@example.com").await;
    house.register("known@example.com", MALLORYS).await.unwrap();
    house.identity.resend_verification("known@example.com", Origin::default()).await.unwrap();
    let mails = house.mails.mails();
    assert_eq!(mails.len(), 2, "the owner is told each time");
    assert!(mails.iter().all(|mail| &*mail.subject == "You already have an account" && !mail.text.contains("token=")));
    assert!(house.login("known@example.com", PASSWORD).await.is_ok(), "the owner's password goes on");
    assert_eq!(accounts(&house.identity).await.len(), 1);
}

#[tokio::test]
async fn a4_what_is_pending_beside_an_account_is_bounded_and_forgotten_like_any_other() {
    let house = House::new().await;
    house.create("known@example.com").await;
    for _ in 0..5 {
        house.register("known@example.com", MALLORYS).await.unwrap();
    }
    assert_eq!(house.count("SELECT count(*) FROM pending").await, 3);
    house.clock.advance(Duration::from_secs(24 * 3600));
    house.identity.tidy().await.unwrap();
    assert_eq!(house.count("SELECT count(*) FROM pending").await, 0);
    assert!(matches!(house.login("known@example.com", MALLORYS).await, Err(IdentityError::InvalidCredentials)));
}
