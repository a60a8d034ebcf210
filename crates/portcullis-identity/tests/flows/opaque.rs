//! API keys (T9), server sessions (T10), and single tokens that are revoked (T7).

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use portcullis_core::ports::{Found, Revocations as _, Standing};
use portcullis_core::{Clock as _, Principal, Timestamp};
use portcullis_identity::{
    AccountChange, AccountName, Credentials, Delivery, Identity, IdentityConfig, IdentityError, MadeApiKey, NewApiKey,
    Origin, ServerSession,
};

use crate::house::*;

const NOBODY: Origin = Origin { client: None, request: None, operator: false };

fn hash(text: &str) -> [u8; 32] {
    digest(&SHA256, text.as_bytes()).as_ref().try_into().unwrap()
}

async fn ann(house: &House) -> String {
    house.create("ann@example.com").await;
    house.identity.account_details(AccountName::Email("ann@example.com")).await.unwrap().account.id
}

fn named(name: &str) -> NewApiKey {
    NewApiKey { name: name.into(), ..NewApiKey::default() }
}

async fn key_of(identity: &Identity, made: &MadeApiKey) -> Result<Principal, &'static str> {
    holder(identity.find_api_key(&hash(made.key.expose())).await.unwrap())
}

async fn session_of(identity: &Identity, session: &ServerSession) -> Result<Principal, &'static str> {
    holder(identity.find_session(&hash(session.secret.expose())).await.unwrap())
}

fn holder(found: Found) -> Result<Principal, &'static str> {
    match found {
        Found::Holder(principal) => Ok(*principal),
        Found::Revoked => Err("revoked"),
        Found::Nobody => Err("nobody"),
    }
}

async fn open(house: &House) -> ServerSession {
    let credentials = Credentials {
        email: "ann@example.com".into(),
        password: secret(PASSWORD),
        delivery: Delivery::Body,
        agent: None,
    };
    house.identity.open_session(&credentials, NOBODY).await.unwrap()
}

#[tokio::test]
async fn t9_a_key_acts_for_its_owner_and_only_its_hash_is_kept() {
    let house = House::new().await;
    let ann = ann(&house).await;
    let made = house.identity.create_api_key(&ann, named("build server"), NOBODY).await.unwrap();
    let principal = key_of(&house.identity, &made).await.unwrap();
    assert_eq!(principal.subject(), ann);
    assert!(principal.has_role("editor") && principal.is_local());
    assert_eq!(principal.parts().plan.as_deref(), Some("free"));
    assert_eq!(principal.parts().expires, Timestamp::MAX);
    assert_eq!(principal.parts().token_id.as_deref(), Some(made.info.id.as_str()));
    assert_eq!(holder(house.identity.find_api_key(&hash("ptc_other")).await.unwrap()).unwrap_err(), "nobody");
    let mut raw = house.raw().await;
    for column in ["SELECT start FROM api_key", "SELECT name FROM api_key", "SELECT id FROM api_key"] {
        assert!(raw.texts(column).await.iter().all(|text| text.len() < 40 && !made.key.expose()[8..].contains(text)));
    }
    let listed = house.identity.api_keys(&ann).await.unwrap();
    assert_eq!((listed.len(), listed[0].start.as_str()), (1, &made.key.expose()[..8]));
    assert!(house.audit().await.contains(&"api_key_created".to_owned()));
}

#[tokio::test]
async fn t9_scopes_plan_and_expiry_restrict_a_key() {
    let house = House::new().await;
    let ann = ann(&house).await;
    let new = NewApiKey {
        name: "reports".into(),
        scopes: Some(vec!["reports:read".into(), "posts:*".into()]),
        plan: Some("gold".into()),
        expires_in: Some(Duration::from_secs(3_600)),
    };
    let made = house.identity.create_api_key(&ann, new, NOBODY).await.unwrap();
    let principal = key_of(&house.identity, &made).await.unwrap();
    let scopes: Vec<&str> = principal.parts().scopes.iter().flatten().map(AsRef::as_ref).collect();
    assert_eq!(scopes, ["reports:read", "posts:*"]);
    assert!(!principal.has_role("editor") && principal.roles_header().is_empty(), "a role is more than a scope");
    assert_eq!(principal.parts().plan.as_deref(), Some("gold"));
    assert_eq!(principal.parts().expires, house.clock.now().after(Duration::from_secs(3_600)));
    house.clock.advance(Duration::from_secs(3_601));
    assert!(house.identity.api_keys(&ann).await.unwrap().is_empty());
    for (new, field) in [
        (named("x"), "name"),
        (named("a\nb"), "name"),
        (NewApiKey { scopes: Some(Vec::new()), ..named("none") }, "scopes"),
        (NewApiKey { scopes: Some(vec!["posts read".into()]), ..named("space") }, "scopes"),
        (NewApiKey { scopes: Some(vec!["po*sts".into()]), ..named("star") }, "scopes"),
        (NewApiKey { scopes: Some(vec![String::new()]), ..named("empty") }, "scopes"),
        (NewApiKey { scopes: Some(vec!["a:b".into(); 51]), ..named("many") }, "scopes"),
        (NewApiKey { expires_in: Some(Duration::ZERO), ..named("zero") }, "expiresIn"),
        (NewApiKey { expires_in: Some(Duration::MAX), ..named("ever") }, "expiresIn"),
        (NewApiKey { plan: Some("go ld".into()), ..named("plan") }, "plan"),
    ] {
        match house.identity.create_api_key(&ann, new, NOBODY).await {
            Err(IdentityError::Invalid(broken)) => assert_eq!(broken[0].field, field),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn t9_an_account_has_a_bounded_number_of_keys_and_nobody_elses() {
    let house = House::new().await;
    let ann = ann(&house).await;
    house.create("bob@example.com").await;
    let bob = house.identity.account_details(AccountName::Email("bob@example.com")).await.unwrap().account.id;
    let first = house.identity.create_api_key(&ann, named("first"), NOBODY).await.unwrap();
    // Many at once must not pass the bound together.
    let asked: Vec<_> = (0..12)
        .map(|turn| {
            let (identity, ann) = (Arc::clone(&house.identity), ann.clone());
            tokio::spawn(async move { identity.create_api_key(&ann, named(&format!("key {turn}")), NOBODY).await })
        })
        .collect();
    let mut refused = 0;
    for asked in asked {
        refused += u32::from(matches!(asked.await.unwrap(), Err(IdentityError::TooManyApiKeys(5))));
    }
    assert_eq!(refused, 8);
    assert_eq!(house.identity.api_keys(&ann).await.unwrap().len(), 5);
    let id = &first.info.id;
    assert!(matches!(house.identity.revoke_api_key(&bob, id, NOBODY).await, Err(IdentityError::NoApiKey)));
    let rotated = house.identity.rotate_api_key(&bob, id, Duration::ZERO, NOBODY).await;
    assert!(matches!(rotated, Err(IdentityError::NoApiKey)));
    house.identity.revoke_api_key(&ann, id, NOBODY).await.unwrap();
    assert!(matches!(house.identity.revoke_api_key(&ann, id, NOBODY).await, Err(IdentityError::NoApiKey)));
    house.identity.create_api_key(&ann, named("another"), NOBODY).await.unwrap();
    let nobody = house.identity.create_api_key("nobody", named("ghost"), NOBODY).await;
    assert!(matches!(nobody, Err(IdentityError::NoAccount)));
}

#[tokio::test]
async fn t9_a_revoked_key_is_void_at_every_instance() {
    let house = House::new().await;
    let ann = ann(&house).await;
    let second = house.second().await;
    let made = house.identity.create_api_key(&ann, named("build server"), NOBODY).await.unwrap();
    let believed = key_of(&second, &made).await.unwrap();
    house.identity.revoke_api_key(&ann, &made.info.id, NOBODY).await.unwrap();
    let now = house.clock.now();
    assert_eq!(house.identity.revocations().standing(&believed, now), Standing::Revoked);
    second.catch_up().await.unwrap();
    assert_eq!(second.revocations().standing(&believed, now), Standing::Revoked);
    assert_eq!(key_of(&second, &made).await.unwrap_err(), "revoked");
    // What somebody still believes of it is forgotten before the revocation is.
    house.clock.advance(portcullis_auth::BELIEVED);
    house.identity.tidy().await.unwrap();
    second.catch_up().await.unwrap();
    assert_eq!(second.revocations().standing(&believed, house.clock.now()), Standing::Revoked);
}

#[tokio::test]
async fn t7_t13_an_instance_that_was_cut_off_for_as_long_as_it_may_be_still_finds_every_revocation() {
    // Longer than any token lives, so that nothing but what is still open could be concerned: a tunnel of a key without end.
    let lives = |config: &mut IdentityConfig| {
        (config.access_ttl, config.max_staleness) = (Duration::from_secs(60), Duration::from_secs(900));
    };
    let house = House::with(lives).await;
    let ann = ann(&house).await;
    let second = house.second_with(lives).await;
    let made = house.identity.create_api_key(&ann, named("build server"), NOBODY).await.unwrap();
    let opened = key_of(&second, &made).await.unwrap();
    second.catch_up().await.unwrap();
    house.identity.revoke_api_key(&ann, &made.info.id, NOBODY).await.unwrap();
    house.clock.advance(Duration::from_secs(899));
    house.identity.tidy().await.unwrap();
    assert_eq!(second.revocations().standing(&opened, house.clock.now()), Standing::Good, "it has not heard yet");
    second.catch_up().await.unwrap();
    assert_eq!(second.revocations().standing(&opened, house.clock.now()), Standing::Revoked);
}

#[tokio::test]
async fn t9_a_rotated_key_goes_on_for_its_overlap() {
    let house = House::new().await;
    let ann = ann(&house).await;
    let new = NewApiKey {
        scopes: Some(vec!["posts:read".into()]),
        expires_in: Some(Duration::from_secs(86_400)),
        ..named("build server")
    };
    let old = house.identity.create_api_key(&ann, new, NOBODY).await.unwrap();
    house.clock.advance(Duration::from_secs(3_600));
    for overlap in [1, 59, 30 * 86_400 + 1] {
        let refused = house.identity.rotate_api_key(&ann, &old.info.id, Duration::from_secs(overlap), NOBODY).await;
        assert!(matches!(refused, Err(IdentityError::Invalid(_))), "{overlap}");
    }
    let overlap = Duration::from_secs(600);
    let new = house.identity.rotate_api_key(&ann, &old.info.id, overlap, NOBODY).await.unwrap();
    assert!(new.key != old.key);
    assert_eq!((new.info.name.as_str(), new.info.scopes.clone()), ("build server", old.info.scopes.clone()));
    let now = house.clock.now();
    assert_eq!(new.info.expires_at, Some(now.after(Duration::from_secs(86_400))), "as long a life as before");
    assert_eq!(key_of(&house.identity, &old).await.unwrap().parts().expires, now.after(overlap));
    // A second rotation must not make the first key live longer.
    house.identity.rotate_api_key(&ann, &old.info.id, Duration::from_secs(86_000), NOBODY).await.unwrap();
    assert_eq!(key_of(&house.identity, &old).await.unwrap().parts().expires, now.after(overlap));
    let last = house.identity.rotate_api_key(&ann, &new.info.id, Duration::ZERO, NOBODY).await.unwrap();
    assert_eq!(key_of(&house.identity, &new).await.unwrap_err(), "revoked");
    assert!(key_of(&house.identity, &last).await.is_ok());
    house.clock.advance(Duration::from_secs(601));
    let rotated = house.identity.rotate_api_key(&ann, &old.info.id, overlap, NOBODY).await;
    assert!(matches!(rotated, Err(IdentityError::NoApiKey)), "what has expired is not renewed");
}

#[tokio::test]
async fn t9_a_key_follows_its_owners_role_and_ends_with_the_account() {
    let house = House::new().await;
    let ann = ann(&house).await;
    let made = house.identity.create_api_key(&ann, named("build server"), NOBODY).await.unwrap();
    let before = key_of(&house.identity, &made).await.unwrap();
    let change = AccountChange::Role("viewer".into());
    house.identity.change_account(AccountName::Email("ann@example.com"), change, NOBODY).await.unwrap();
    // What was believed is void at once; what is asked anew holds, with the new role.
    assert_eq!(house.identity.revocations().standing(&before, house.clock.now()), Standing::Revoked);
    let after = key_of(&house.identity, &made).await.unwrap();
    assert!(after.has_role("viewer") && !after.has_role("editor"));
    assert_eq!(house.identity.revocations().standing(&after, house.clock.now()), Standing::Good);
    house.identity.set_disabled("ann@example.com", true, NOBODY).await.unwrap();
    assert_eq!(key_of(&house.identity, &made).await.unwrap_err(), "revoked");
    let refused = house.identity.create_api_key(&ann, named("another"), NOBODY).await;
    assert!(matches!(refused, Err(IdentityError::Disabled)));
    house.identity.set_disabled("ann@example.com", false, NOBODY).await.unwrap();
    assert!(key_of(&house.identity, &made).await.is_ok());
    house.identity.change_account(AccountName::Email("ann@example.com"), AccountChange::Delete, NOBODY).await.unwrap();
    assert_eq!(key_of(&house.identity, &made).await.unwrap_err(), "nobody");
}

#[tokio::test]
async fn t9_last_use_is_written_later_and_together() {
    let house = House::new().await;
    let ann = ann(&house).await;
    let made = house.identity.create_api_key(&ann, named("build server"), NOBODY).await.unwrap();
    assert_eq!(house.identity.api_keys(&ann).await.unwrap()[0].last_used_at, None);
    let used = house.clock.now();
    for _ in 0..100 {
        key_of(&house.identity, &made).await.unwrap();
    }
    let unwritten = "SELECT count(*) FROM api_key WHERE last_used_at IS NULL";
    assert_eq!(house.count(unwritten).await, 1, "no request writes");
    assert_eq!(house.identity.api_keys(&ann).await.unwrap()[0].last_used_at, Some(used), "and still it is known");
    house.clock.advance(Duration::from_secs(60));
    house.identity.tidy().await.unwrap();
    assert_eq!(house.count(unwritten).await, 0);
    // One that had heard of an earlier use must not write it over a later one.
    let second = house.second().await;
    house.clock.advance(Duration::from_secs(60));
    key_of(&house.identity, &made).await.unwrap();
    house.identity.tidy().await.unwrap();
    let last = house.clock.now();
    assert_eq!(second.api_keys(&ann).await.unwrap()[0].last_used_at, Some(last));
}

#[tokio::test]
async fn t10_a_server_session_is_one_cookie_with_instant_revocation() {
    let house = House::new().await;
    let ann = ann(&house).await;
    let second = house.second().await;
    let (one, other) = (open(&house).await, open(&house).await);
    let principal = session_of(&second, &one).await.unwrap();
    assert_eq!(principal.subject(), ann);
    assert!(principal.has_role("editor") && principal.parts().session.is_some());
    assert_eq!(house.count("SELECT count(*) FROM refresh_token").await, 0, "there is nothing to refresh");
    house.identity.close_session(one.secret.expose(), NOBODY).await.unwrap();
    let now = house.clock.now();
    assert_eq!(house.identity.revocations().standing(&principal, now), Standing::Revoked);
    second.catch_up().await.unwrap();
    assert_eq!(second.revocations().standing(&principal, now), Standing::Revoked);
    assert_eq!(session_of(&second, &one).await.unwrap_err(), "revoked");
    assert!(session_of(&second, &other).await.is_ok());
    house.identity.logout_all(&ann, NOBODY).await.unwrap();
    assert_eq!(session_of(&house.identity, &other).await.unwrap_err(), "revoked");
    for unknown in ["", "x", &"a".repeat(64), &"a".repeat(1_000_000)] {
        house.identity.close_session(unknown, NOBODY).await.unwrap();
    }
}

#[tokio::test]
async fn t10_a_session_ends_when_nobody_uses_it_and_at_the_end_of_its_life() {
    let house = House::with(|config| config.session_ttl = Duration::from_secs(3 * 3_600)).await;
    ann(&house).await;
    let (used, idle) = (open(&house).await, open(&house).await);
    let began = house.clock.now();
    for _ in 0..3 {
        house.clock.advance(Duration::from_secs(50 * 60));
        let principal = session_of(&house.identity, &used).await.unwrap();
        assert!(principal.parts().expires > house.clock.now());
        house.identity.tidy().await.unwrap();
    }
    let rested = session_of(&house.identity, &idle).await.unwrap();
    assert!(rested.parts().expires <= house.clock.now(), "two and a half hours without a request");
    assert!(
        session_of(&house.identity, &used).await.unwrap().parts().expires <= began.after(Duration::from_secs(10_800))
    );
    // To have asked about it is not to have used it.
    let again = session_of(&house.identity, &idle).await.unwrap();
    assert!(again.parts().expires <= house.clock.now());
    house.clock.advance(Duration::from_secs(31 * 60));
    house.identity.tidy().await.unwrap();
    assert_eq!(session_of(&house.identity, &used).await.unwrap_err(), "nobody", "its life is over and its row gone");
    assert_eq!(house.count("SELECT count(*) FROM session").await, 0);
}

#[tokio::test]
async fn t7_one_token_is_revoked_by_its_jti_and_its_session_lives_on() {
    let house = House::new().await;
    ann(&house).await;
    let second = house.second().await;
    let first = house.login("ann@example.com", PASSWORD).await.unwrap();
    let next = house.refresh(&first).await.unwrap();
    let jti = house.principal(&first).parts().token_id.clone().unwrap();
    house.identity.revoke_token(&jti, NOBODY).await.unwrap();
    assert_eq!(house.standing(&first), Standing::Revoked);
    assert_eq!(house.standing(&next), Standing::Good);
    assert!(house.refresh(&next).await.is_ok());
    second.catch_up().await.unwrap();
    assert_eq!(second.revocations().standing(&house.principal(&first), house.clock.now()), Standing::Revoked);
    // After its end it cannot be presented any more, and nothing has to be remembered of it.
    house.clock.advance(Duration::from_secs(931));
    house.identity.tidy().await.unwrap();
    assert_eq!(house.count("SELECT count(*) FROM revocation").await, 0);
    for bad in ["", "x y", "'; DROP TABLE account; --", &"a".repeat(65)] {
        assert!(matches!(house.identity.revoke_token(bad, NOBODY).await, Err(IdentityError::Invalid(_))), "{bad}");
    }
}

#[tokio::test]
async fn t9_what_a_rotated_key_opened_ends_with_its_overlap() {
    let house = House::new().await;
    let ann = ann(&house).await;
    let second = house.second().await;
    let made = house.identity.create_api_key(&ann, named("build server"), NOBODY).await.unwrap();
    let opened = key_of(&second, &made).await.unwrap();
    house.identity.rotate_api_key(&ann, &made.info.id, Duration::from_secs(600), NOBODY).await.unwrap();
    second.catch_up().await.unwrap();
    let standing = |identity: &Identity| identity.revocations().standing(&opened, house.clock.now());
    assert_eq!((standing(&house.identity), standing(&second)), (Standing::Good, Standing::Good), "it overlaps");
    house.clock.advance(Duration::from_secs(601));
    for instance in [&*house.identity, &second] {
        instance.catch_up().await.unwrap();
        assert_eq!(standing(instance), Standing::Revoked);
    }
}

#[tokio::test]
async fn t9_a_rotation_gives_the_life_that_was_given_and_no_operators_plan_for_longer() {
    let house = House::new().await;
    let ann = ann(&house).await;
    let owner =
        Origin { client: Some(portcullis_core::ClientAddress::new([127, 0, 0, 1].into())), ..Origin::default() };
    // Whose first answer was lost rotates once more: the successor lives as long as the key was to.
    let ever = house.identity.create_api_key(&ann, named("for ever"), owner).await.unwrap();
    for _ in 0..2 {
        let next = house.identity.rotate_api_key(&ann, &ever.info.id, Duration::from_secs(60), owner).await.unwrap();
        assert_eq!(next.info.expires_at, None);
    }
    let gold = NewApiKey {
        plan: Some("gold".into()),
        expires_in: Some(Duration::from_secs(86_400)),
        ..named("thirty days of gold")
    };
    let gold = house.identity.create_api_key(&ann, gold, NOBODY).await.unwrap();
    house.clock.advance(Duration::from_secs(80_000));
    let next = house.identity.rotate_api_key(&ann, &gold.info.id, Duration::ZERO, owner).await.unwrap();
    assert_eq!(next.info.expires_at, gold.info.expires_at, "an owner does not renew what an operator gave");
    let next = house.identity.rotate_api_key(&ann, &next.info.id, Duration::ZERO, owner).await.unwrap();
    assert_eq!(next.info.expires_at, gold.info.expires_at);
    let renewed = house.identity.rotate_api_key(&ann, &next.info.id, Duration::ZERO, NOBODY).await.unwrap();
    assert!(renewed.info.expires_at > Some(house.clock.now()));
}
