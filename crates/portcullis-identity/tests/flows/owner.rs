//! What an owner does with their account (A7) and their sessions (A8).

use std::sync::Arc;
use std::time::Duration;

use portcullis_core::ports::Standing;
use portcullis_identity::{
    AccountName, Credentials, Delivery, IdentityError, LetterKind, NewApiKey, Origin, Renewed, SessionInfo, Tokens,
};

use crate::house::*;

const NOBODY: Origin = Origin { client: None, request: None, operator: false };
const ANN: &str = "ann@example.com";
const OTHER: &str = "Other-Horse-43";

async fn forgot(house: &House, email: &str) {
    house.identity.forgot_password(email, NOBODY).await.unwrap();
}

async fn reset(house: &House, token: &str, password: &str) -> Result<(), IdentityError> {
    house.identity.reset_password(token, &secret(password), None, NOBODY).await.map(drop)
}

/// The kinds of the letters to an address, the oldest first.
fn letters(house: &House, email: &str) -> Vec<LetterKind> {
    house.mails.mails().iter().filter(|mail| mail.to.as_str() == email).map(|mail| mail.kind).collect()
}

async fn change(house: &House, of: &Tokens, present: &str, new: &str) -> Result<Renewed, IdentityError> {
    let principal = house.principal(of);
    house.identity.change_password(&principal, &secret(present), &secret(new), None, None, NOBODY).await
}

async fn sessions(house: &House, of: &Tokens) -> Vec<SessionInfo> {
    house.identity.sessions(house.principal(of).subject()).await.unwrap()
}

#[tokio::test]
async fn a7_a_forgotten_password_is_reset_once_and_every_session_ends() {
    let house = House::new().await;
    house.create(ANN).await;
    let before = house.login(ANN, PASSWORD).await.unwrap();
    forgot(&house, "Ann@Example.com").await;
    let token = house.mailed(ANN);
    assert!(matches!(reset(&house, &token, "short").await, Err(IdentityError::Invalid(_))));
    reset(&house, &token, OTHER).await.unwrap();
    assert!(matches!(reset(&house, &token, "Third-Horse-44").await, Err(IdentityError::InvalidLink)), "used up");
    assert_eq!(house.standing(&before), Standing::Revoked);
    assert!(matches!(house.refresh(&before).await, Err(IdentityError::InvalidRefresh)));
    assert!(matches!(house.login(ANN, PASSWORD).await, Err(IdentityError::InvalidCredentials)));
    house.login(ANN, OTHER).await.unwrap();
    assert_eq!(letters(&house, ANN), [LetterKind::Reset, LetterKind::PasswordChanged]);
    assert!(house.audit().await.contains(&"password_reset".to_owned()));
    for bad in ["", "x", &"0".repeat(64), &"a".repeat(1_000_000)] {
        assert!(matches!(reset(&house, bad, OTHER).await, Err(IdentityError::InvalidLink)));
    }
}

#[tokio::test]
async fn a7_a_reset_link_is_good_for_an_hour_and_three_are_kept() {
    let house = House::new().await;
    house.create(ANN).await;
    let mut tokens = Vec::new();
    for _ in 0..4 {
        forgot(&house, ANN).await;
        tokens.push(house.mailed(ANN));
        house.clock.advance(Duration::from_secs(60));
    }
    assert_eq!(house.count("SELECT count(*) FROM account_link").await, 3);
    assert_eq!(tokens[2], tokens[3], "for the fourth there is no letter");
    house.clock.advance(Duration::from_secs(3_600 - 240));
    assert!(matches!(reset(&house, &tokens[0], OTHER).await, Err(IdentityError::InvalidLink)), "an hour old");
    reset(&house, &tokens[1], OTHER).await.unwrap();
    assert!(matches!(reset(&house, &tokens[2], OTHER).await, Err(IdentityError::InvalidLink)), "one is enough");
    forgot(&house, ANN).await;
    house.clock.advance(Duration::from_secs(3_601));
    house.identity.tidy().await.unwrap();
    assert_eq!(house.count("SELECT count(*) FROM account_link").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a7_of_fifty_who_use_one_link_one_sets_the_password() {
    let house = House::new().await;
    house.create(ANN).await;
    forgot(&house, ANN).await;
    let token = house.mailed(ANN);
    let uses: Vec<_> = (0..50)
        .map(|turn| {
            let (identity, token) = (Arc::clone(&house.identity), token.clone());
            let password = secret(&format!("Fresh-Horse-{turn:02}"));
            tokio::spawn(async move { identity.reset_password(&token, &password, None, NOBODY).await })
        })
        .collect();
    let mut won = Vec::new();
    for (turn, used) in uses.into_iter().enumerate() {
        match used.await.unwrap() {
            Ok(_) => won.push(turn),
            Err(IdentityError::InvalidLink | IdentityError::Overloaded) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(won.len(), 1, "{won:?}");
    house.login(ANN, &format!("Fresh-Horse-{:02}", won[0])).await.unwrap();
}

#[tokio::test]
async fn a7_forgot_tells_nobody_who_has_an_account() {
    let house = House::new().await;
    for email in [ANN, "off@example.com"] {
        house.create(email).await;
    }
    house.identity.set_disabled("off@example.com", true, NOBODY).await.unwrap();
    house.register("new@example.com", PASSWORD).await.unwrap();
    let writes = "SELECT count(*) FROM audit";
    for email in
        [ANN, "off@example.com", "new@example.com", "nobody@example.com", "", "no address", "a@b.c, ann@example.com"]
    {
        let before = house.count(writes).await;
        forgot(&house, email).await;
        assert_eq!(house.count(writes).await, before + 1, "one synced write for {email}");
    }
    assert_eq!(letters(&house, ANN), [LetterKind::Reset]);
    assert_eq!(letters(&house, "off@example.com"), []);
    assert_eq!(letters(&house, "new@example.com"), [LetterKind::Verify]);
    let silent = House::with(|config| config.mail = false).await;
    assert!(matches!(silent.identity.forgot_password(ANN, NOBODY).await, Err(IdentityError::NoMail)));
}

#[tokio::test]
async fn a7_a_reset_link_dies_with_what_it_was_asked_for() {
    let house = House::new().await;
    house.create(ANN).await;
    forgot(&house, ANN).await;
    let token = house.mailed(ANN);
    house.identity.set_disabled(ANN, true, NOBODY).await.unwrap();
    assert!(matches!(reset(&house, &token, OTHER).await, Err(IdentityError::InvalidLink)));
    house.identity.set_disabled(ANN, false, NOBODY).await.unwrap();
    assert!(matches!(reset(&house, &token, OTHER).await, Err(IdentityError::InvalidLink)), "it stays dead");
    forgot(&house, ANN).await;
    let token = house.mailed(ANN);
    let tokens = house.login(ANN, PASSWORD).await.unwrap();
    change(&house, &tokens, PASSWORD, OTHER).await.unwrap();
    assert!(matches!(reset(&house, &token, PASSWORD).await, Err(IdentityError::InvalidLink)), "the password is new");
}

#[tokio::test]
async fn a7_a_changed_password_ends_all_sessions_but_its_own_gets_a_successor() {
    let house = House::new().await;
    house.create(ANN).await;
    let (mine, thief) = (house.login(ANN, PASSWORD).await.unwrap(), house.login(ANN, PASSWORD).await.unwrap());
    assert!(matches!(change(&house, &mine, "Wrong-Horse-42", OTHER).await, Err(IdentityError::WrongPassword)));
    assert!(matches!(change(&house, &mine, PASSWORD, "short").await, Err(IdentityError::Invalid(_))));
    assert!(matches!(change(&house, &mine, PASSWORD, PASSWORD).await, Err(IdentityError::Invalid(_))));
    assert_eq!(house.standing(&thief), Standing::Good, "what fails changes nothing");
    let Renewed::Tokens(renewed) = change(&house, &mine, PASSWORD, OTHER).await.unwrap() else { panic!() };
    assert_eq!(renewed.delivery, Delivery::Body);
    for ended in [&mine, &thief] {
        assert_eq!(house.standing(ended), Standing::Revoked);
        assert!(matches!(house.refresh(ended).await, Err(IdentityError::InvalidRefresh)));
    }
    assert_eq!(house.standing(&renewed), Standing::Good);
    house.refresh(&renewed).await.unwrap();
    assert_eq!(letters(&house, ANN), [LetterKind::PasswordChanged]);
    house.login(ANN, OTHER).await.unwrap();
}

#[tokio::test]
async fn a7_a_session_by_cookie_stays_one() {
    let house = House::new().await;
    house.create(ANN).await;
    let credentials = Credentials {
        email: ANN.into(),
        password: secret(PASSWORD),
        delivery: Delivery::Cookie,
        agent: None,
        device: None,
    };
    let tokens = house.identity.login(credentials, NOBODY).await.unwrap();
    let Renewed::Tokens(renewed) = change(&house, &tokens, PASSWORD, OTHER).await.unwrap() else { panic!() };
    assert_eq!(renewed.delivery, Delivery::Cookie, "a token of a cookie is never in a body");
    assert_eq!(house.refresh(&renewed).await.unwrap().delivery, Delivery::Cookie);
}

#[tokio::test]
async fn a7_an_owner_deletes_the_account_by_its_password() {
    let house = House::new().await;
    house.create(ANN).await;
    let tokens = house.login(ANN, PASSWORD).await.unwrap();
    let id = house.principal(&tokens).subject().to_owned();
    house.identity.create_api_key(&id, NewApiKey { name: "job".into(), ..NewApiKey::default() }, NOBODY).await.unwrap();
    forgot(&house, ANN).await;
    let delete = async |password: &str| house.identity.delete_own(&id, &secret(password), NOBODY).await;
    assert!(matches!(delete("Wrong-Horse-42").await, Err(IdentityError::WrongPassword)));
    delete(PASSWORD).await.unwrap();
    assert_eq!(house.standing(&tokens), Standing::Revoked, "the revocation outlives the account");
    assert!(matches!(house.refresh(&tokens).await, Err(IdentityError::InvalidRefresh)));
    assert!(matches!(house.login(ANN, PASSWORD).await, Err(IdentityError::InvalidCredentials)));
    assert!(matches!(delete(PASSWORD).await, Err(IdentityError::NoAccount)));
    for table in ["session", "refresh_token", "account_link", "api_key", "account"] {
        let statement = format!("SELECT count(*) FROM {table}");
        assert_eq!(house.count(Box::leak(statement.into_boxed_str())).await, 0, "{table}");
    }
    assert_eq!(letters(&house, ANN), [LetterKind::Reset, LetterKind::AccountDeleted]);
    house.create(ANN).await;
    assert_ne!(
        house.identity.account_details(AccountName::Email(ANN)).await.unwrap().account.id,
        id,
        "another account has another id"
    );
}

#[tokio::test]
async fn a7_another_address_is_confirmed_there_and_told_here() {
    let house = House::new().await;
    house.create(ANN).await;
    let tokens = house.login(ANN, PASSWORD).await.unwrap();
    let id = house.principal(&tokens).subject().to_owned();
    let ask = async |password: &str, address: &str| {
        house.identity.request_email_change(&id, &secret(password), address, NOBODY).await
    };
    assert!(matches!(ask("Wrong-Horse-42", "new@example.com").await, Err(IdentityError::WrongPassword)));
    for bad in ["", "new", "new@example.com, x@example.com", "new@example.com\r\nBcc: x@example.com", "ANN@example.com"]
    {
        assert!(matches!(ask(PASSWORD, bad).await, Err(IdentityError::Invalid(_))), "{bad}");
    }
    forgot(&house, ANN).await;
    let reset_link = house.mailed(ANN);
    ask(PASSWORD, "New@Example.com").await.unwrap();
    let token = house.mailed("new@example.com");
    assert_eq!(house.identity.account(&id).await.unwrap().email, ANN, "nothing changes before it is confirmed");
    assert!(matches!(reset(&house, &token, OTHER).await, Err(IdentityError::InvalidLink)), "one purpose");
    let confirm = async |token: &str| house.identity.confirm_email_change(token, NOBODY).await;
    assert!(matches!(confirm(&reset_link).await, Err(IdentityError::InvalidLink)), "one purpose");
    confirm(&token).await.unwrap();
    assert!(matches!(confirm(&token).await, Err(IdentityError::InvalidLink)), "used up");
    assert_eq!(house.identity.account(&id).await.unwrap().email, "new@example.com");
    assert!(
        matches!(reset(&house, &reset_link, OTHER).await, Err(IdentityError::InvalidLink)),
        "it went to the former"
    );
    assert!(matches!(house.login(ANN, PASSWORD).await, Err(IdentityError::InvalidCredentials)));
    house.login("new@example.com", PASSWORD).await.unwrap();
    assert_eq!(letters(&house, ANN), [LetterKind::Reset, LetterKind::EmailChanging, LetterKind::EmailChanged]);
    assert_eq!(letters(&house, "new@example.com"), [LetterKind::ConfirmEmail]);
}

#[tokio::test]
async fn a7_a_taken_address_is_told_to_its_owner_only() {
    let house = House::new().await;
    house.create(ANN).await;
    house.create("bob@example.com").await;
    let tokens = house.login(ANN, PASSWORD).await.unwrap();
    let id = house.principal(&tokens).subject().to_owned();
    for address in ["bob@example.com", "new@example.com"] {
        house.identity.request_email_change(&id, &secret(PASSWORD), address, NOBODY).await.unwrap();
    }
    assert_eq!(letters(&house, "bob@example.com"), [LetterKind::AlreadyRegistered]);
    let token = house.mailed("new@example.com");
    // Somebody takes it between the letter and the click.
    house.create("new@example.com").await;
    let confirmed = house.identity.confirm_email_change(&token, NOBODY).await;
    assert!(matches!(confirmed, Err(IdentityError::InvalidLink)));
    assert_eq!(house.identity.account(&id).await.unwrap().email, ANN);
}

#[tokio::test]
async fn a8_sessions_are_listed_and_ended_one_by_one() {
    let house = House::new().await;
    house.create(ANN).await;
    house.create("bob@example.com").await;
    let agent = "Mozilla/5.0\r\n\u{1b}[31m\u{2028}\u{202e}evil".to_owned() + &"x".repeat(500);
    let credentials = Credentials {
        email: ANN.into(),
        password: secret(PASSWORD),
        delivery: Delivery::Body,
        agent: Some(agent),
        device: None,
    };
    let one = house.identity.login(credentials, NOBODY).await.unwrap();
    house.clock.advance(Duration::from_secs(60));
    let two = house.login(ANN, PASSWORD).await.unwrap();
    let bob = house.login("bob@example.com", PASSWORD).await.unwrap();
    let listed = sessions(&house, &two).await;
    assert_eq!(listed.len(), 2);
    let told = listed[1].agent.as_deref().unwrap();
    assert!(told.starts_with("Mozilla/5.0") && told.chars().count() == 200, "{told}");
    assert!(!told.chars().any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{202e}')), "{told:?}");
    house.clock.advance(Duration::from_secs(60));
    house.refresh(&one).await.unwrap();
    let refreshed = sessions(&house, &two).await;
    assert!(refreshed[1].last_used_at > refreshed[0].last_used_at);
    let id = house.principal(&one).parts().session.clone().unwrap();
    let theirs = house.principal(&bob).subject().to_owned();
    let mine = house.principal(&two).subject().to_owned();
    let end = async |account: &str, id: &str| house.identity.end_own_session(account, id, NOBODY).await;
    assert!(matches!(end(&theirs, &id).await, Err(IdentityError::NoSession)), "another's is told like none");
    end(&mine, &id).await.unwrap();
    assert!(matches!(end(&mine, &id).await, Err(IdentityError::NoSession)));
    assert_eq!(house.standing(&one), Standing::Revoked);
    assert_eq!(house.standing(&two), Standing::Good);
    assert_eq!(sessions(&house, &two).await.len(), 1);
    house.clock.advance(Duration::from_secs(8 * 86_400));
    assert!(house.identity.sessions(&mine).await.unwrap().is_empty(), "what has expired is no session");
}
