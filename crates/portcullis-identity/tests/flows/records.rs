//! The audit trail (W1) stands in the transaction of what it records: neither is there without the other.

use super::*;

/// Everything that an act could have changed.
const STATE: &str = "SELECT (SELECT count(*) FROM account) + 10 * (SELECT count(*) FROM pending) \
                     + 100 * (SELECT count(*) FROM session) + 1000 * (SELECT count(*) FROM refresh_token) \
                     + 10000 * (SELECT count(*) FROM revocation) + 100000 * (SELECT count(*) FROM signing_key) \
                     + 1000000 * (SELECT count(*) FROM session WHERE revoked_at IS NOT NULL) \
                     + 10000000 * (SELECT count(*) FROM refresh_token WHERE spent_at IS NOT NULL) \
                     + 100000000 * (SELECT sum(version) FROM account) \
                     + 1000000000 * (SELECT count(*) FROM account WHERE disabled_at IS NOT NULL)";

#[tokio::test]
async fn w1_an_act_whose_audit_row_cannot_be_written_leaves_nothing_behind() {
    let house = House::new().await;
    house.create("ann@example.com").await;
    house.register("new@example.com", PASSWORD).await.unwrap();
    let link = house.mailed("new@example.com");
    let spent = house.login("ann@example.com", PASSWORD).await.unwrap();
    let tokens = house.refresh(&spent).await.unwrap();
    let ann = house.principal(&tokens).subject().to_owned();
    house.clock.advance(Duration::from_secs(11));
    let (before, mails) = (house.count(STATE).await, house.mails.mails().len());
    house.raw().await.break_the_audit_trail().await;

    let (identity, nobody) = (&house.identity, Origin::default());
    let failed = [
        ("register", house.register("other@example.com", PASSWORD).await),
        ("register known", house.register("ann@example.com", PASSWORD).await),
        ("resend", identity.resend_verification("new@example.com", nobody).await),
        ("verify", identity.verify(&link, nobody).await),
        ("login", house.login("ann@example.com", PASSWORD).await.map(drop)),
        ("refresh", house.refresh(&tokens).await.map(drop)),
        ("reuse", house.refresh(&spent).await.map(drop)),
        ("logout", identity.logout(tokens.refresh.expose(), nobody).await),
        ("logout everywhere", identity.logout_all(&ann, nobody).await),
        ("disable", identity.set_disabled("ann@example.com", true, nobody).await),
        ("password", identity.set_password("ann@example.com", &secret("Another-Horse-43"), nobody).await),
    ];
    for (act, told) in failed {
        assert!(matches!(told, Err(IdentityError::Database(_))), "{act}: {told:?}");
    }
    assert!(matches!(identity.rotate_keys(nobody).await, Err(OpenError::Database(_))));
    assert_eq!(house.count(STATE).await, before);
    assert_eq!(house.mails.mails().len(), mails, "and nobody was mailed what is not so");

    // With the trail back, everything stands where it stood.
    house.raw().await.mend_the_audit_trail().await;
    house.identity.verify(&link, nobody).await.unwrap();
    assert!(house.refresh(&tokens).await.is_ok());
}

#[tokio::test]
async fn what_has_expired_is_forgotten_however_much_it_is_and_nothing_else() {
    let house = House::new().await;
    house.create("ann@example.com").await;
    let old = house.login("ann@example.com", PASSWORD).await.unwrap();
    house.login("ann@example.com", PASSWORD).await.unwrap();
    // One session that was refreshed on and on, and many audit rows: more than go in one write.
    let mut token = old;
    for _ in 0..20 {
        token = house.refresh(&token).await.unwrap();
    }
    let mut raw = house.raw().await;
    raw.fill_up(1_234).await;
    let (tokens, audit) = (raw.count("SELECT count(*) FROM refresh_token").await, raw.count(AUDIT).await);
    assert!(tokens > 1_234 && audit > 1_234);
    house.clock.advance(Duration::from_secs(6 * 86_400));
    let newest = house.refresh(&token).await.unwrap();
    house.identity.tidy().await.unwrap();
    assert_eq!(raw.count("SELECT count(*) FROM refresh_token").await, tokens + 1, "nothing has expired");

    house.clock.advance(Duration::from_secs(86_400));
    house.identity.tidy().await.unwrap();
    assert_eq!(raw.count("SELECT count(*) FROM refresh_token").await, 1);
    assert_eq!(raw.count("SELECT count(*) FROM session").await, 1, "the one that was never refreshed has ended");
    house.refresh(&newest).await.unwrap();

    assert!(raw.count(AUDIT).await > 1_234);
    house.clock.advance(Duration::from_secs(90 * 86_400));
    house.identity.tidy().await.unwrap();
    assert_eq!(house.audit().await, ["key_rotated"], "only what tidying did itself is younger");
    assert_eq!(raw.count("SELECT count(*) FROM session").await, 0);
}

const AUDIT: &str = "SELECT count(*) FROM audit";
