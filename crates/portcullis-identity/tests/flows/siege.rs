//! What strangers and thieves try against the links and the passwords of owners (A7), and what runs at the same moment.

use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_core::ports::Standing;
use portcullis_core::{EventKind, Principal, PrincipalParts, Scheme};
use portcullis_identity::{Delivery, Identity, IdentityError, LetterKind, NewApiKey, Origin, Renewed, Tokens};

use super::house::{House, PASSWORD, secret};

const ANN: &str = "ann@example.com";
const OTHER: &str = "Other-Horse-43";
const NOBODY: Origin = Origin { client: None, request: None, operator: false };

async fn forgot(house: &House, email: &str) {
    house.identity.forgot_password(email, NOBODY).await.unwrap();
}

async fn reset(identity: &Identity, token: &str, password: &str) -> Result<(), IdentityError> {
    identity.reset_password(token, &secret(password), None, NOBODY).await.map(drop)
}

/// The tokens in all letters of a kind to an address, the oldest first.
fn mailed(house: &House, email: &str, kind: LetterKind) -> Vec<String> {
    let mails = house.mails.mails();
    let to = mails.iter().filter(|mail| mail.to.as_str() == email && mail.kind == kind);
    to.map(|mail| mail.text.split_once("token=").unwrap().1[..64].to_owned()).collect()
}

fn subject(house: &House, tokens: &Tokens) -> String {
    house.principal(tokens).subject().to_owned()
}

#[tokio::test]
async fn a7_a_stranger_who_asks_for_links_again_and_again_takes_none_from_the_owner() {
    let house = House::new().await;
    house.create(ANN).await;
    forgot(&house, ANN).await;
    for _ in 0..20 {
        house.clock.advance(Duration::from_secs(60));
        forgot(&house, ANN).await;
    }
    let links = mailed(&house, ANN, LetterKind::Reset);
    assert_eq!(links.len(), 3, "no more letters than links that work");
    reset(&house.identity, &links[0], OTHER).await.unwrap();
    house.login(ANN, OTHER).await.unwrap();
    forgot(&house, ANN).await;
    assert_eq!(mailed(&house, ANN, LetterKind::Reset).len(), 4, "whoever has used one may ask again");
}

#[tokio::test]
async fn a7_another_address_asked_for_takes_the_place_of_the_one_before() {
    let house = House::new().await;
    house.create(ANN).await;
    let id = subject(&house, &house.login(ANN, PASSWORD).await.unwrap());
    for address in ["typo@example.com", "right@example.com"] {
        house.identity.request_email_change(&id, &secret(PASSWORD), address, NOBODY).await.unwrap();
        house.clock.advance(Duration::from_secs(1));
    }
    let strangers = house.mailed("typo@example.com");
    let confirmed = house.identity.confirm_email_change(&strangers, NOBODY).await;
    assert!(matches!(confirmed, Err(IdentityError::InvalidLink)), "whoever has the mistaken mailbox gets no account");
    house.identity.confirm_email_change(&house.mailed("right@example.com"), NOBODY).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a7_of_fifty_who_confirm_one_address_one_does() {
    let house = House::new().await;
    house.create(ANN).await;
    let id = subject(&house, &house.login(ANN, PASSWORD).await.unwrap());
    house.identity.request_email_change(&id, &secret(PASSWORD), "new@example.com", NOBODY).await.unwrap();
    let token = house.mailed("new@example.com");
    let uses: Vec<_> = (0..50)
        .map(|_| {
            let (identity, token) = (Arc::clone(&house.identity), token.clone());
            tokio::spawn(async move { identity.confirm_email_change(&token, NOBODY).await })
        })
        .collect();
    let mut won = 0;
    for used in uses {
        match used.await.unwrap() {
            Ok(()) => won += 1,
            Err(IdentityError::InvalidLink) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(won, 1);
    assert_eq!(mailed_count(&house, ANN, LetterKind::EmailChanged), 1);
}

fn mailed_count(house: &House, email: &str, kind: LetterKind) -> usize {
    house.mails.mails().iter().filter(|mail| mail.to.as_str() == email && mail.kind == kind).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a7_two_accounts_that_want_one_address_do_not_both_get_it() {
    let house = House::new().await;
    let mut links = Vec::new();
    for owner in [ANN, "bob@example.com"] {
        house.create(owner).await;
        let id = subject(&house, &house.login(owner, PASSWORD).await.unwrap());
        house.identity.request_email_change(&id, &secret(PASSWORD), "prize@example.com", NOBODY).await.unwrap();
        links.push(house.mailed("prize@example.com"));
    }
    let confirm = |token: String| {
        let identity = Arc::clone(&house.identity);
        tokio::spawn(async move { identity.confirm_email_change(&token, NOBODY).await })
    };
    let [one, two] = [confirm(links[0].clone()), confirm(links[1].clone())];
    let ended = [one.await.unwrap(), two.await.unwrap()];
    assert_eq!(ended.iter().filter(|ended| ended.is_ok()).count(), 1, "{ended:?}");
    assert!(ended.iter().any(|ended| matches!(ended, Err(IdentityError::InvalidLink))), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a7_whoever_asks_for_links_while_they_are_used_waits_for_nobody_forever() {
    let house = House::new().await;
    house.create(ANN).await;
    let other = secret(OTHER);
    for round in 0..6 {
        forgot(&house, ANN).await;
        let token = house.mailed(ANN);
        let next = format!("Round-Horse-{round}");
        let asking: Vec<_> = (0..8)
            .map(|_| {
                let identity = Arc::clone(&house.identity);
                tokio::spawn(async move { identity.forgot_password(ANN, NOBODY).await })
            })
            .collect();
        let (resetting, changing, logging) = tokio::join!(
            reset(&house.identity, &token, &next),
            house.identity.set_password(ANN, &other, NOBODY),
            house.login(ANN, PASSWORD),
        );
        changing.unwrap();
        assert!(matches!(resetting, Ok(()) | Err(IdentityError::InvalidLink)), "{resetting:?}");
        assert!(matches!(logging, Ok(_) | Err(IdentityError::InvalidCredentials)), "{logging:?}");
        for asked in asking {
            asked.await.unwrap().unwrap();
        }
        house.identity.set_password(ANN, &secret(PASSWORD), NOBODY).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a7_an_account_is_deleted_while_its_tokens_are_refreshed() {
    let house = House::new().await;
    for round in 0..6 {
        let email = format!("gone{round}@example.com");
        house.create(&email).await;
        let mut held = Vec::new();
        for _ in 0..6 {
            held.push(house.login(&email, PASSWORD).await.unwrap());
        }
        let id = subject(&house, &held[0]);
        let refreshing: Vec<_> = held
            .into_iter()
            .map(|tokens| {
                let identity = Arc::clone(&house.identity);
                tokio::spawn(async move {
                    let mut present = tokens;
                    for _ in 0..200 {
                        match identity.refresh(present.refresh.expose(), NOBODY).await {
                            Ok(next) => present = next,
                            Err(ended) => return ended,
                        }
                    }
                    panic!("the account was deleted long ago")
                })
            })
            .collect();
        house.identity.delete_own(&id, &secret(PASSWORD), NOBODY).await.unwrap();
        for ended in refreshing {
            let ended = ended.await.unwrap();
            assert!(matches!(ended, IdentityError::InvalidRefresh), "{ended:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a7_a_change_of_address_that_was_under_way_does_not_outlive_the_password_that_asked_for_it() {
    let house = House::new().await;
    house.create(ANN).await;
    let id = subject(&house, &house.login(ANN, PASSWORD).await.unwrap());
    let other = secret(OTHER);
    for round in 0..8 {
        // The thief's question and the owner's rescue at the same moment, one earlier and then the other.
        let thief = async {
            tokio::time::sleep(Duration::from_millis(round * 5)).await;
            house.identity.request_email_change(&id, &secret(PASSWORD), "thief@example.com", NOBODY).await
        };
        let owner = house.identity.set_password(ANN, &other, NOBODY);
        let (asked, set) = tokio::join!(thief, owner);
        set.unwrap();
        assert!(matches!(asked, Ok(()) | Err(IdentityError::WrongPassword)), "{asked:?}");
        assert_eq!(house.count("SELECT count(*) FROM account_link").await, 0, "round {round}: {asked:?}");
        house.identity.set_password(ANN, &secret(PASSWORD), NOBODY).await.unwrap();
    }
}

#[tokio::test]
async fn a7_a_wrong_present_password_is_told_to_whoever_watches() {
    let house = House::new().await;
    house.create(ANN).await;
    let id = subject(&house, &house.login(ANN, PASSWORD).await.unwrap());
    house.records.0.lock().unwrap().clear();
    let wrong = house.identity.delete_own(&id, &secret("Wrong-Horse-42"), NOBODY).await;
    assert!(matches!(wrong, Err(IdentityError::WrongPassword)));
    assert_eq!(*house.records.0.lock().unwrap(), [EventKind::LoginFailed]);
}

#[tokio::test]
async fn a7_an_account_without_a_password_gets_one_by_its_mailbox_only() {
    let house = House::new().await;
    house.create(ANN).await;
    let tokens = house.login(ANN, PASSWORD).await.unwrap();
    house.execute("UPDATE account SET password = '!'").await;
    let id = subject(&house, &tokens);
    for guess in ["!", "", PASSWORD] {
        let deleted = house.identity.delete_own(&id, &secret(guess), NOBODY).await;
        assert!(matches!(deleted, Err(IdentityError::WrongPassword)), "{guess:?}");
    }
    forgot(&house, ANN).await;
    reset(&house.identity, &house.mailed(ANN), OTHER).await.unwrap();
    house.login(ANN, OTHER).await.unwrap();
}

#[tokio::test]
async fn a7_a_letter_to_an_address_that_only_looks_like_anothers_goes_nowhere() {
    let house = House::new().await;
    house.create("kim@example.com").await;
    // KELVIN SIGN, DOTLESS I, CYRILLIC A, FULLWIDTH, and what some would trim or cut.
    for twin in [
        "\u{212a}im@example.com",
        "k\u{131}m@example.com",
        "kim@ex\u{430}mple.com",
        "\u{ff4b}im@example.com",
        "kim@example.com\0",
        "kim@example\u{2028}.com",
        "kim@example.com\r\nBcc: evil@example.com",
        "kim@example.com,evil@example.com",
        "kim@example.com evil@example.com",
        "kim@example.com;evil@example.com",
        "<kim@example.com>",
        "kim@example.com.",
    ] {
        forgot(&house, twin).await;
    }
    assert!(house.mails.mails().is_empty(), "{:?}", house.mails.mails());
    forgot(&house, " KIM@Example.COM ").await;
    let mails = house.mails.mails();
    assert_eq!(mails.len(), 1);
    assert_eq!(mails[0].to.as_str(), "kim@example.com", "to the stored address, not to the typed one");
}

#[tokio::test]
async fn a7_whatever_cookies_hold_stays_in_cookies_when_a_password_changes() {
    let house = House::new().await;
    house.create(ANN).await;
    let tokens = house.login(ANN, PASSWORD).await.unwrap();
    let principal = house.principal(&tokens);
    // The session is forgotten already: what came by a cookie is known by how it came.
    house.execute("DELETE FROM session").await;
    let by_cookie = PrincipalParts { scheme: Scheme::Cookie, ..principal.parts().clone() };
    let by_cookie = Principal::new(by_cookie).unwrap();
    let renewed = house
        .identity
        .change_password(&by_cookie, &secret(PASSWORD), &secret(OTHER), None, None, NOBODY)
        .await
        .unwrap();
    let Renewed::Tokens(renewed) = renewed else { panic!() };
    assert_eq!(renewed.delivery, Delivery::Cookie);
}

#[tokio::test]
async fn a7_api_keys_go_on_after_a_reset_and_the_letter_says_so() {
    let house = House::new().await;
    house.create(ANN).await;
    let id = subject(&house, &house.login(ANN, PASSWORD).await.unwrap());
    let new = NewApiKey { name: "job".into(), ..NewApiKey::default() };
    house.identity.create_api_key(&id, new, NOBODY).await.unwrap();
    forgot(&house, ANN).await;
    reset(&house.identity, &house.mailed(ANN), OTHER).await.unwrap();
    assert_eq!(house.identity.api_keys(&id).await.unwrap().len(), 1);
    let told = house.mails.mails().iter().rev().find(|mail| mail.kind == LetterKind::PasswordChanged).cloned().unwrap();
    assert!(told.text.contains("API keys"), "{}", told.text);
}

#[tokio::test]
async fn a1_a_name_holds_nothing_that_ends_a_line_or_turns_a_reader_around() {
    let house = House::new().await;
    house.create(ANN).await;
    let id = subject(&house, &house.login(ANN, PASSWORD).await.unwrap());
    for bad in ["a\u{2028}b", "a\u{2029}b", "a\u{202e}b", "a\u{2066}b", "a\u{feff}b", "a\u{200b}b", "a\0b", "a\r\nb"] {
        let named = house.identity.rename(&id, Some(bad), NOBODY).await;
        assert!(matches!(named, Err(IdentityError::Invalid(_))), "{bad:?}");
    }
    for good in ["<b>Ann</b>", "O'Hara", "علی\u{200c}رضا", "क्\u{200d}ष"] {
        house.identity.rename(&id, Some(good), NOBODY).await.unwrap();
        assert_eq!(house.identity.account(&id).await.unwrap().name.as_deref(), Some(good));
    }
}

#[tokio::test]
async fn a8_the_id_of_a_session_may_be_any_text() {
    let house = House::new().await;
    house.create(ANN).await;
    let tokens = house.login(ANN, PASSWORD).await.unwrap();
    let id = subject(&house, &tokens);
    for bad in ["", "\0", "a\0b", "' OR 1=1 --", "%", "\u{2028}", &"x".repeat(100_000)] {
        let ended = house.identity.end_own_session(&id, bad, NOBODY).await;
        assert!(matches!(ended, Err(IdentityError::NoSession)), "{ended:?}");
    }
    assert_eq!(house.standing(&tokens), Standing::Good);
}

#[tokio::test]
async fn a7_a_link_to_another_address_is_good_for_a_day_and_dies_with_its_ground() {
    let house = House::new().await;
    house.create(ANN).await;
    let id = subject(&house, &house.login(ANN, PASSWORD).await.unwrap());
    let ask = async || {
        house.identity.request_email_change(&id, &secret(PASSWORD), "new@example.com", NOBODY).await.unwrap();
        house.mailed("new@example.com")
    };
    let is_dead = async |token: &str| {
        matches!(house.identity.confirm_email_change(token, NOBODY).await, Err(IdentityError::InvalidLink))
    };
    let old = ask().await;
    house.clock.advance(Duration::from_secs(86_400));
    assert!(is_dead(&old).await, "a day old");
    let asked_by_a_thief = ask().await;
    forgot(&house, ANN).await;
    reset(&house.identity, &house.mailed(ANN), PASSWORD).await.unwrap();
    assert!(is_dead(&asked_by_a_thief).await, "the owner has rescued the account");
    let before = ask().await;
    house.identity.set_disabled(ANN, true, NOBODY).await.unwrap();
    house.identity.set_disabled(ANN, false, NOBODY).await.unwrap();
    assert!(is_dead(&before).await, "what a disabled account asked for is not taken up again");
    let good = ask().await;
    house.clock.advance(Duration::from_secs(86_399));
    assert!(!is_dead(&good).await);
}

#[tokio::test]
async fn a7_what_an_owner_does_is_in_the_trail_and_no_secret_is() {
    let house = House::new().await;
    house.create(ANN).await;
    let tokens = house.login(ANN, PASSWORD).await.unwrap();
    let id = subject(&house, &tokens);
    house.identity.request_email_change(&id, &secret(PASSWORD), "new@example.com", NOBODY).await.unwrap();
    let confirm = house.mailed("new@example.com");
    house.identity.confirm_email_change(&confirm, NOBODY).await.unwrap();
    forgot(&house, "new@example.com").await;
    let link = house.mailed("new@example.com");
    reset(&house.identity, &link, OTHER).await.unwrap();
    house.identity.delete_own(&id, &secret(OTHER), NOBODY).await.unwrap();
    let trail = house.audit().await;
    for action in ["email_change_requested", "email_changed", "reset_requested", "password_reset", "account_deleted"] {
        assert!(trail.iter().any(|written| written == action), "{action} in {trail:?}");
    }
    let mut raw = house.raw().await;
    let details = raw.texts("SELECT coalesce(detail, '') || coalesce(account_id, '') FROM audit ORDER BY id").await;
    for secret in [PASSWORD, OTHER, &confirm, &link] {
        assert!(!details.iter().any(|written| written.contains(secret)));
    }
}

/// Not measured to the microsecond, but no hash, no second sync and no waiting for a mail may tell whom it knows.
#[tokio::test]
async fn a7_forgetting_takes_as_long_for_a_stranger_as_for_an_owner() {
    let house = House::new().await;
    let mut spent = [Duration::ZERO; 2];
    for turn in 0..60 {
        let known = format!("known{turn}@example.com");
        let unknown = format!("other{turn}@example.com");
        house.create(&known).await;
        for (whose, email) in [known, unknown].iter().enumerate() {
            let began = Instant::now();
            forgot(&house, email).await;
            spent[whose] += began.elapsed();
        }
    }
    let [known, unknown] = spent.map(|spent| spent.as_secs_f64());
    assert!((0.4..2.5).contains(&(known / unknown)), "{known} s for owners, {unknown} s for strangers");
}
