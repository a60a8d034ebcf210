//! What access tokens say where the configuration adds claims (T1).

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_auth::access::{RoleRule, Roles};
use portcullis_core::ports::Standing;
use portcullis_identity::{AccountName, ExtraClaim, IdentityError, Origin, Tokens};
use serde_json::{Value, json};

use crate::house::*;

const ANN: &str = "ann@example.com";

fn said(tokens: &Tokens) -> Value {
    let payload = tokens.access.expose().split('.').nth(1).unwrap().to_owned();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

fn roles(permissions: &[&str]) -> Roles {
    let permissions = permissions.iter().map(|text| (*text).into()).collect();
    Roles::new(&BTreeMap::from([("editor".into(), RoleRule { inherits: Vec::new(), permissions })])).unwrap()
}

#[tokio::test]
async fn t1_a_token_says_what_is_configured_and_nothing_else() {
    let house = House::new().await;
    house.create(ANN).await;
    house.identity.use_roles(roles(&["posts:read"]));
    let bare = said(&house.login(ANN, PASSWORD).await.unwrap());
    let names: Vec<&String> = bare.as_object().unwrap().keys().collect();
    let promised = ["aud", "client_id", "exp", "iat", "iss", "jti", "plan", "role", "sid", "sub", "ver"];
    assert_eq!(names, promised, "neither a name nor an address is told unasked");

    let house = house.reopened(|config| config.claims = ExtraClaim::ALL.to_vec()).await;
    house.identity.use_roles(roles(&["posts:*", "users:read"]));
    let first = house.login(ANN, PASSWORD).await.unwrap();
    let one = said(&first);
    assert_eq!(one["email"], ANN);
    assert_eq!(one["email_verified"], true);
    assert_eq!(one["roles"], json!(["editor"]));
    assert_eq!(one["tier"], one["plan"]);
    assert_eq!(one["permissions"], json!(["posts:*", "users:read"]));
    assert!(one.get("name").is_none(), "the account has none: {one}");
    // A role that stands for something else, and a name, are in the next token.
    house.identity.use_roles(roles(&[]));
    house.identity.rename(one["sub"].as_str().unwrap(), Some("Ann \"O\" \u{1f980}"), Origin::default()).await.unwrap();
    let two = said(&house.refresh(&first).await.unwrap());
    assert_eq!(two["name"], "Ann \"O\" \u{1f980}");
    assert_eq!(two["permissions"], json!([]));
}

#[tokio::test]
async fn t1_a_token_that_names_an_address_does_not_outlive_it() {
    for named in [true, false] {
        let claims = if named { vec![ExtraClaim::Email] } else { vec![ExtraClaim::Name] };
        let house = House::with(|config| config.claims = claims).await;
        house.create(ANN).await;
        let tokens = house.login(ANN, PASSWORD).await.unwrap();
        let id = house.principal(&tokens).subject().to_owned();
        let origin = Origin::default();
        house.identity.request_email_change(&id, &secret(PASSWORD), "new@example.com", origin).await.unwrap();
        assert_eq!(house.standing(&tokens), Standing::Good, "asking changes nothing");
        house.identity.confirm_email_change(&house.mailed("new@example.com"), origin).await.unwrap();
        let expected = if named { Standing::Revoked } else { Standing::Good };
        assert_eq!(house.standing(&tokens), expected, "named: {named}");
        let next = house.refresh(&tokens).await.unwrap();
        assert_eq!(house.standing(&next), Standing::Good, "the session goes on");
        assert_eq!(said(&next).get("email"), named.then(|| json!("new@example.com")).as_ref());
        let details = house.identity.account_details(AccountName::Id(&id)).await.unwrap();
        assert_eq!(details.sessions, 1, "and no other began");
    }
}

#[tokio::test]
async fn t1_a_token_that_nobody_would_accept_is_not_handed_out() {
    let house = House::with(|config| config.claims = vec![ExtraClaim::Permissions]).await;
    house.create(ANN).await;
    let many: Vec<String> = (0..600).map(|number| format!("things:verb-{number}")).collect();
    house.identity.use_roles(roles(&many.iter().map(String::as_str).collect::<Vec<_>>()));
    assert!(matches!(house.login(ANN, PASSWORD).await, Err(IdentityError::Crypto)));
    house.identity.use_roles(roles(&["things:*"]));
    house.login(ANN, PASSWORD).await.unwrap();
}
