//! Wrong passwords, counted by account (L13).

use portcullis_identity::{AccountName, LetterKind, Lockout};

use super::*;

const ANN: &str = "ann@example.com";
const WRONG: &str = "Wrong-Horse-42";
const NOBODY: Origin = Origin { client: None, request: None, operator: false };
const LOCKOUT: Lockout = Lockout {
    attempts: 5,
    window: Duration::from_secs(900),
    per_day: 50,
    device_life: Duration::from_secs(90 * 86_400),
    notice: true,
};

async fn house() -> House {
    house_with(LOCKOUT).await
}

async fn house_with(lockout: Lockout) -> House {
    let house = House::with(|config| config.lockout = Some(lockout)).await;
    house.create(ANN).await;
    house
}

async fn login(house: &House, email: &str, password: &str, device: Option<&str>) -> Result<Tokens, IdentityError> {
    let (email, device) = (email.to_owned(), device.map(str::to_owned));
    let credentials = Credentials { email, password: secret(password), delivery: Delivery::Body, agent: None, device };
    house.identity.login(credentials, NOBODY).await
}

fn device(tokens: &Tokens) -> &str {
    tokens.device.as_ref().unwrap().expose()
}

async fn exhaust(house: &House, email: &str) {
    for _ in 0..house.identity.config().lockout.unwrap().attempts {
        let told = login(house, email, WRONG, None).await.unwrap_err();
        assert!(matches!(told, IdentityError::InvalidCredentials), "{told}");
    }
    is_refused(house, email, None).await;
}

/// With the right password too: nobody learns by the answer which it is.
async fn is_refused(house: &House, email: &str, device: Option<&str>) {
    for password in [WRONG, PASSWORD] {
        let told = login(house, email, password, device).await.unwrap_err();
        assert!(matches!(told, IdentityError::TooManyAttempts(_)), "{told}");
    }
}

fn notices(house: &House) -> usize {
    house.mails.mails().iter().filter(|mail| mail.kind == LetterKind::LoginsExhausted).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn l13_of_fifty_guesses_at_once_five_are_heard_and_the_right_one_among_the_rest_is_not() {
    let house = Arc::new(house().await);
    let guesses: Vec<_> = (0..50)
        .map(|turn| {
            let house = Arc::clone(&house);
            // Half of them in another spelling of the address.
            let email = if turn % 2 == 0 { ANN } else { "ANN@Example.com" };
            tokio::spawn(async move { login(&house, email, WRONG, None).await })
        })
        .collect();
    let mut heard = 0;
    for guess in guesses {
        match guess.await.unwrap().unwrap_err() {
            IdentityError::InvalidCredentials => heard += 1,
            IdentityError::TooManyAttempts(exhausted) => assert_eq!(exhausted.count, 5),
            other => panic!("{other}"),
        }
    }
    assert_eq!(heard, 5);
    is_refused(&house, ANN, None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn l13_thirty_who_log_in_at_once_with_the_right_password_all_get_in() {
    let house = Arc::new(house().await);
    let all: Vec<_> = (0..30)
        .map(|_| {
            let house = Arc::clone(&house);
            tokio::spawn(async move { login(&house, ANN, PASSWORD, None).await })
        })
        .collect();
    for one in all {
        one.await.unwrap().unwrap();
    }
    assert_eq!(house.ledger.taken('s'), 0);
}

#[tokio::test]
async fn l13_what_is_no_address_is_counted_and_breaks_nothing() {
    let house = house_with(Lockout { attempts: 2, ..LOCKOUT }).await;
    let known = device(&login(&house, ANN, PASSWORD, None).await.unwrap()).to_owned();
    let long = "a".repeat(100_000);
    for email in ["ann\0@example.com", "\0", "", &long, "' OR 1=1 --", "ann@example.com\u{200b}"] {
        for _ in 0..2 {
            let told = login(&house, email, WRONG, Some(&known)).await.unwrap_err();
            assert!(matches!(told, IdentityError::InvalidCredentials), "{told}");
        }
        is_refused(&house, email, Some(&known)).await;
    }
    login(&house, ANN, PASSWORD, Some(&known)).await.unwrap();
    assert_eq!(notices(&house), 0);
}

#[tokio::test]
async fn l13_successes_take_nothing_and_everything_that_is_told_as_a_failure_does() {
    let house = house().await;
    for _ in 0..8 {
        login(&house, ANN, PASSWORD, None).await.unwrap();
    }
    assert_eq!(house.ledger.taken('s'), 0);
    // Also the right password of an address that nobody confirmed, and of an account that is disabled (A6).
    house.register("new@example.com", PASSWORD).await.unwrap();
    house.create("off@example.com").await;
    house.execute("UPDATE account SET disabled_at = 1 WHERE email = 'off@example.com'").await;
    for email in ["new@example.com", "off@example.com"] {
        for _ in 0..5 {
            let told = login(&house, email, PASSWORD, None).await.unwrap_err();
            assert!(matches!(told, IdentityError::NotVerified | IdentityError::Disabled), "{told}");
        }
        is_refused(&house, email, None).await;
    }
    assert_eq!(notices(&house), 0, "nobody without an account of their own gets a letter");
}

#[tokio::test]
async fn l13_what_failed_here_was_nobodys_guess() {
    let house = house().await;
    for _ in 0..8 {
        // The write after the right password fails; the next one finds the table again.
        house.execute("ALTER TABLE session RENAME TO away").await;
        assert!(matches!(login(&house, ANN, PASSWORD, None).await, Err(IdentityError::Database(_))));
        house.execute("ALTER TABLE away RENAME TO session").await;
    }
    assert_eq!(house.ledger.taken('s'), 0);
    login(&house, ANN, PASSWORD, None).await.unwrap();
}

#[tokio::test]
async fn l13_a_hash_that_is_made_again_leaves_the_device_known() {
    let house = House::with(|config| config.lockout = Some(LOCKOUT)).await;
    house.create(ANN).await;
    let house = house
        .reopened(|config| {
            config.lockout = Some(LOCKOUT);
            config.password_hash = portcullis_identity::PasswordHash::Bcrypt;
        })
        .await;
    let tokens = login(&house, ANN, PASSWORD, None).await.unwrap();
    exhaust(&house, ANN).await;
    let again = login(&house, ANN, PASSWORD, Some(device(&tokens))).await.unwrap();
    assert_ne!(device(&tokens), device(&again));
}

#[tokio::test]
async fn l13_the_work_for_an_address_without_an_account_is_the_same() {
    let house = house().await;
    let mut rows = Vec::new();
    for email in [ANN, "nobody@example.com", "no address at all"] {
        exhaust(&house, email).await;
        let written = house.audit().await.iter().filter(|action| *action == "logins_exhausted").count();
        rows.push(written);
    }
    assert_eq!(rows, [1, 2, 3], "each is written once, known or not");
    assert_eq!(
        house.count("SELECT count(*) FROM audit WHERE action = 'logins_exhausted' AND account_id IS NULL").await,
        2
    );
    assert_eq!((notices(&house), house.mails.mails().len()), (1, 1));
}

#[tokio::test]
async fn l13_the_owner_gets_one_letter_in_a_window_and_three_in_a_day() {
    let house = house_with(Lockout { attempts: 2, ..LOCKOUT }).await;
    for window in 1..=6 {
        exhaust(&house, ANN).await;
        assert_eq!(notices(&house), window.min(3));
        house.clock.advance(LOCKOUT.window);
    }
    house.clock.advance(Duration::from_secs(86_400));
    exhaust(&house, ANN).await;
    assert_eq!(notices(&house), 4);
    // Under steady fire a pool is exhausted again with every attempt that comes back; that is no new letter.
    let steady = house_with(Lockout { attempts: 2, ..LOCKOUT }).await;
    for letters in [0, 1, 1, 2, 2] {
        let told = login(&steady, ANN, WRONG, None).await.unwrap_err();
        assert!(matches!(told, IdentityError::InvalidCredentials), "{told}");
        assert_eq!(notices(&steady), letters);
        steady.clock.advance(LOCKOUT.window / 2);
    }
    // The letter lets a device in that was never known, once, and asks for the password all the same.
    let link = house.mailed(ANN);
    let known = house.identity.confirm_device(&link, None, NOBODY).await.unwrap().unwrap();
    assert!(matches!(house.identity.confirm_device(&link, None, NOBODY).await, Err(IdentityError::InvalidLink)));
    assert!(matches!(login(&house, ANN, WRONG, Some(known.expose())).await, Err(IdentityError::InvalidCredentials)));
    login(&house, ANN, PASSWORD, Some(known.expose())).await.unwrap();
    is_refused(&house, ANN, None).await;
}

#[tokio::test]
async fn l13_whoever_goes_on_has_so_many_guesses_in_a_day_and_then_waits_for_the_next() {
    let house = house_with(Lockout { per_day: 15, ..LOCKOUT }).await;
    let known = login(&house, ANN, PASSWORD, None).await.unwrap();
    for _ in 0..3 {
        exhaust(&house, ANN).await;
        house.clock.advance(LOCKOUT.window);
    }
    is_refused(&house, ANN, None).await;
    house.clock.advance(LOCKOUT.window);
    let told = login(&house, ANN, WRONG, None).await.unwrap_err();
    let IdentityError::TooManyAttempts(exhausted) = told else { panic!("{told}") };
    // The first five were tried four windows ago, and come back a day after they were.
    let wait = Duration::from_secs(86_400) - 4 * LOCKOUT.window;
    assert_eq!((exhausted.count, exhausted.retry_after), (15, wait));
    login(&house, ANN, PASSWORD, Some(device(&known))).await.expect("the owner's device has its own day");
    house.clock.advance(wait);
    exhaust(&house, ANN).await;
}

#[tokio::test]
async fn l13_every_way_to_another_password_forgets_every_device() {
    const OTHER: &str = "Other-Horse-43";
    let house = house().await;
    let first = login(&house, ANN, PASSWORD, None).await.unwrap();
    let principal = house.principal(&first);
    let id = principal.subject().to_owned();

    let (present, new) = (secret(PASSWORD), secret(OTHER));
    let renewed = house.identity.change_password(&principal, &present, &new, None, None, NOBODY).await.unwrap();
    let portcullis_identity::Renewed::Tokens(second) = renewed else { panic!("tokens for tokens") };
    exhaust(&house, ANN).await;
    is_refused(&house, ANN, Some(device(&first))).await;
    login(&house, ANN, OTHER, Some(device(&second))).await.expect("who changed it is known");

    house.identity.set_password_of(&id, &secret(PASSWORD), NOBODY).await.unwrap();
    is_refused(&house, ANN, Some(device(&second))).await;
    house.identity.clear_attempts(AccountName::Id(&id)).await.unwrap();
    let third = login(&house, ANN, PASSWORD, None).await.expect("an operator opens it again");

    house.identity.forgot_password(ANN, NOBODY).await.unwrap();
    let link = house.mailed(ANN);
    exhaust(&house, ANN).await;
    let link = if house.mailed(ANN) == link { link } else { reset_link(&house) };
    let known = house.identity.reset_password(&link, &secret(OTHER), None, NOBODY).await.unwrap().unwrap();
    login(&house, ANN, OTHER, None).await.expect("what strangers tried before a reset is forgotten");
    exhaust(&house, ANN).await;
    is_refused(&house, ANN, Some(device(&third))).await;
    login(&house, ANN, OTHER, Some(known.expose())).await.expect("who has the mailbox is known");
}

/// The link of the newest letter to set another password.
fn reset_link(house: &House) -> String {
    let mails = house.mails.mails();
    let mail = mails.iter().rev().find(|mail| mail.kind == LetterKind::Reset).unwrap();
    mail.text.split_once("token=").unwrap().1[..64].to_owned()
}

#[tokio::test]
async fn l13_a_device_outlives_a_logout_everywhere_and_another_role() {
    let house = house().await;
    let tokens = login(&house, ANN, PASSWORD, None).await.unwrap();
    let id = house.principal(&tokens).subject().to_owned();
    house.identity.logout_all(&id, NOBODY).await.unwrap();
    let admin = portcullis_identity::AccountChange::Role("admin".into());
    house.identity.change_account(AccountName::Id(&id), admin, NOBODY).await.unwrap();
    exhaust(&house, ANN).await;
    // An owner who ends every session because somebody is at the door must still get in.
    login(&house, ANN, PASSWORD, Some(device(&tokens))).await.unwrap();
}

#[tokio::test]
async fn l13_without_a_lockout_there_are_no_devices() {
    let house = House::new().await;
    house.create(ANN).await;
    for _ in 0..8 {
        assert!(matches!(login(&house, ANN, WRONG, None).await, Err(IdentityError::InvalidCredentials)));
    }
    assert!(login(&house, ANN, PASSWORD, Some("x")).await.unwrap().device.is_none());
    assert_eq!(house.ledger.taken('s'), 0);
}
