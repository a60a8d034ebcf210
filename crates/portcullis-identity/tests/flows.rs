//! The flows over a real SQLite file and a clock that stands still.

#![expect(clippy::unwrap_used, reason = "in a test a surprise is a failure")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use portcullis_auth::{Algorithm, ClaimNames, Issuer, Lookup, TokenVerifier};
use portcullis_core::ports::{Revocations as _, Standing};
use portcullis_core::{Clock as _, Event, EventKind, EventSink, ManualClock, Principal, Scheme, Secret, Timestamp};
use portcullis_identity::{
    Credentials, Delivery, Identity, IdentityConfig, IdentityError, MailCatcher, NewAccount, OpenError, Origin,
    PasswordPolicy, Ports, Registration, Tokens,
};
use tempfile::TempDir;

const PASSWORD: &str = "Correct-Horse-42";

#[derive(Default)]
struct Records(Mutex<Vec<EventKind>>);

impl EventSink for Records {
    fn record(&self, event: Event) {
        self.0.lock().unwrap().push(event.kind);
    }
}

struct House {
    identity: Arc<Identity>,
    clock: Arc<ManualClock>,
    mails: Arc<MailCatcher>,
    records: Arc<Records>,
    folder: TempDir,
}

fn config(folder: &TempDir) -> IdentityConfig {
    IdentityConfig {
        database: folder.path().join("portcullis.db"),
        master_key: None,
        public_url: "https://api.example.com".into(),
        registration: true,
        default_role: "viewer".into(),
        default_plan: "free".into(),
        password_policy: PasswordPolicy::Standard,
        audience: "https://api.example.com".into(),
        algorithm: Algorithm::Es256,
        access_ttl: Duration::from_secs(900),
        refresh_ttl: Duration::from_secs(7 * 86_400),
        grace: Duration::from_secs(10),
        leeway: Duration::from_secs(30),
        max_staleness: Duration::from_secs(60),
        rotate_every: Duration::from_secs(90 * 86_400),
        hash_threads: 2,
    }
}

impl House {
    async fn new() -> Self {
        Self::with(|_| ()).await
    }

    async fn with(change: impl FnOnce(&mut IdentityConfig)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(&folder);
        change(&mut config);
        let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1_800_000_000)));
        let (mails, records) = (Arc::new(MailCatcher::default()), Arc::new(Records::default()));
        let ports = Ports {
            clock: Arc::clone(&clock) as _,
            mailer: Arc::clone(&mails) as _,
            events: Arc::clone(&records) as _,
        };
        let identity = Arc::new(Identity::open(config, ports).await.unwrap());
        Self { identity, clock, mails, records, folder }
    }

    /// The same database in a second process, as it were.
    async fn second(&self) -> Identity {
        let ports = Ports {
            clock: Arc::clone(&self.clock) as _,
            mailer: Arc::clone(&self.mails) as _,
            events: Arc::clone(&self.records) as _,
        };
        Identity::open(config(&self.folder), ports).await.unwrap()
    }

    async fn register(&self, email: &str, password: &str) -> Result<(), IdentityError> {
        let registration = Registration { email: email.into(), password: secret(password), name: None };
        self.identity.register(registration, Origin::default()).await
    }

    async fn login(&self, email: &str, password: &str) -> Result<Tokens, IdentityError> {
        let credentials = Credentials { email: email.into(), password: secret(password), delivery: Delivery::Body };
        self.identity.login(credentials, Origin::default()).await
    }

    async fn create(&self, email: &str) {
        let new = NewAccount {
            email: email.into(),
            password: secret(PASSWORD),
            name: None,
            role: "editor".into(),
            plan: None,
        };
        self.identity.create_account(new, Origin::default()).await.unwrap();
    }

    async fn refresh(&self, tokens: &Tokens) -> Result<Tokens, IdentityError> {
        self.identity.refresh(tokens.refresh.expose(), Origin::default()).await
    }

    /// The token in the newest mail to an address.
    fn mailed(&self, email: &str) -> String {
        let mails = self.mails.mails();
        let mail = mails.iter().rev().find(|mail| mail.to.as_str() == email).unwrap();
        mail.text.split_once("token=").unwrap().1[..64].to_owned()
    }

    fn principal(&self, tokens: &Tokens) -> Arc<Principal> {
        let verifier = TokenVerifier::new(
            vec![Issuer {
                name: None,
                iss: "https://api.example.com".into(),
                audiences: vec!["https://api.example.com".into()],
                algorithms: vec![Algorithm::Es256],
                leeway: Duration::from_secs(30),
                typ: Some("at+jwt".into()),
                keys: self.identity.keys(),
                claims: ClaimNames::default(),
            }],
            10,
        );
        let now = self.clock.now();
        match verifier.lookup(tokens.access.expose(), Scheme::Bearer, now) {
            Lookup::Unknown(name) => verifier.verify(tokens.access.expose(), name, Scheme::Bearer, now).unwrap(),
            Lookup::Known(judged) => judged.unwrap(),
        }
    }

    fn standing(&self, tokens: &Tokens) -> Standing {
        self.identity.revocations().standing(&self.principal(tokens), self.clock.now())
    }

    /// The database behind the house's back.
    async fn database(&self) -> sqlx::SqlitePool {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(self.folder.path().join("portcullis.db"));
        sqlx::SqlitePool::connect_with(options).await.unwrap()
    }

    async fn audit(&self) -> Vec<String> {
        let rows: Vec<(String,)> =
            sqlx::query_as("SELECT action FROM audit ORDER BY id").fetch_all(&self.database().await).await.unwrap();
        rows.into_iter().map(|(action,)| action).collect()
    }

    async fn count(&self, statement: &'static str) -> i64 {
        let (count,): (i64,) = sqlx::query_as(statement).fetch_one(&self.database().await).await.unwrap();
        count
    }

    async fn execute(&self, statement: &'static str) {
        sqlx::query(statement).execute(&self.database().await).await.unwrap();
    }
}

fn secret(text: &str) -> Secret<String> {
    Secret::new(text.to_owned())
}

#[tokio::test]
async fn a4_a5_a6_register_verify_login() {
    let house = House::new().await;
    house.register("Ann@Example.com", PASSWORD).await.unwrap();
    assert!(matches!(house.login("ann@example.com", PASSWORD).await, Err(IdentityError::NotVerified)));
    assert!(matches!(house.login("ann@example.com", "Wrong-Horse-42").await, Err(IdentityError::InvalidCredentials)));
    let token = house.mailed("ann@example.com");
    assert!(matches!(
        house.identity.verify(&"0".repeat(64), Origin::default()).await,
        Err(IdentityError::InvalidVerification)
    ));
    house.identity.verify(&token, Origin::default()).await.unwrap();
    assert!(matches!(house.identity.verify(&token, Origin::default()).await, Err(IdentityError::InvalidVerification)));
    let tokens = house.login("ANN@example.com", PASSWORD).await.unwrap();
    let principal = house.principal(&tokens);
    assert!(principal.has_role("viewer"));
    assert_eq!(principal.parts().plan.as_deref(), Some("free"));
    assert_eq!(tokens.refresh.expose().len(), 64);
}

#[tokio::test]
async fn a5_a_verification_token_lives_24_hours() {
    let house = House::new().await;
    house.register("ann@example.com", PASSWORD).await.unwrap();
    let token = house.mailed("ann@example.com");
    house.clock.advance(Duration::from_secs(24 * 3600));
    assert!(matches!(house.identity.verify(&token, Origin::default()).await, Err(IdentityError::InvalidVerification)));
    assert!(matches!(house.login("ann@example.com", PASSWORD).await, Err(IdentityError::InvalidCredentials)));
}

#[tokio::test]
async fn a4_nobody_can_plant_a_password_on_an_address_they_do_not_own() {
    let house = House::new().await;
    house.register("ann@example.com", PASSWORD).await.unwrap();
    let anns = house.mailed("ann@example.com");
    house.clock.advance(Duration::from_secs(1));
    house.register("ann@example.com", "Mallory-Was-Here-1").await.unwrap();
    house.identity.verify(&anns, Origin::default()).await.unwrap();
    assert!(house.login("ann@example.com", PASSWORD).await.is_ok());
    assert!(house.login("ann@example.com", "Mallory-Was-Here-1").await.is_err());
    // Verifying one deleted the others.
    let mallorys = house.mailed("ann@example.com");
    assert!(house.identity.verify(&mallorys, Origin::default()).await.is_err());
}

#[tokio::test]
async fn a4_at_most_three_registrations_of_an_address_are_pending() {
    let house = House::new().await;
    let mut tokens = Vec::new();
    for _ in 0..5 {
        house.clock.advance(Duration::from_secs(1));
        house.register("ann@example.com", PASSWORD).await.unwrap();
        tokens.push(house.mailed("ann@example.com"));
    }
    assert!(house.identity.verify(&tokens[1], Origin::default()).await.is_err(), "the oldest went first");
    house.identity.verify(&tokens[2], Origin::default()).await.unwrap();
}

#[tokio::test]
async fn a4_a_known_owner_is_told_by_mail_and_nobody_else_is() {
    let house = House::new().await;
    house.create("ann@example.com").await;
    house.register("ann@example.com", "Mallory-Was-Here-1").await.unwrap();
    let mails = house.mails.mails();
    assert_eq!(mails.len(), 1);
    assert_eq!(mails[0].subject, "You already have an account");
    assert!(!mails[0].text.contains("token="));
    assert!(house.login("ann@example.com", "Mallory-Was-Here-1").await.is_err());
}

#[tokio::test]
async fn a2_a_weak_password_is_told_rule_by_rule_and_stores_nothing() {
    let house = House::new().await;
    let Err(IdentityError::Invalid(broken)) = house.register("not an address", "short").await else { panic!() };
    let fields: Vec<_> = broken.iter().map(|violation| violation.field).collect();
    assert_eq!(fields, ["email", "password", "password", "password"]);
    assert!(house.mails.mails().is_empty());
}

#[tokio::test]
async fn a5_a_resend_mails_new_links_for_what_is_pending_and_nothing_else() {
    let house = House::new().await;
    house.register("ann@example.com", PASSWORD).await.unwrap();
    let first = house.mailed("ann@example.com");
    for email in ["ann@example.com", "nobody@example.com", "nonsense"] {
        house.identity.resend_verification(email, Origin::default()).await.unwrap();
    }
    assert_eq!(house.mails.mails().len(), 2);
    assert!(house.identity.verify(&first, Origin::default()).await.is_err(), "the old link is void");
    house.identity.verify(&house.mailed("ann@example.com"), Origin::default()).await.unwrap();
}

#[tokio::test]
async fn a10_registration_can_be_closed() {
    let house = House::with(|config| config.registration = false).await;
    assert!(matches!(house.register("a@example.com", PASSWORD).await, Err(IdentityError::RegistrationClosed)));
}

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

#[tokio::test]
async fn t3_a_rotated_key_signs_and_the_retired_one_verifies_until_its_last_token_expired() {
    let house = House::new().await;
    house.create("ann@example.com").await;
    let old = house.login("ann@example.com", PASSWORD).await.unwrap();
    let other = house.second().await;
    let kid = other.rotate_keys(Origin::default()).await.unwrap();
    house.identity.catch_up().await.unwrap();
    let new = house.login("ann@example.com", PASSWORD).await.unwrap();
    house.principal(&old);
    house.principal(&new);
    let jwks = || house.identity.keys().load().1.public_jwks_json();
    assert!(jwks().contains(&kid));
    assert_eq!(house.identity.keys().load().1.keys().len(), 2);
    house.clock.advance(Duration::from_secs(931));
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
async fn w1_every_act_is_audited_with_what_it_did() {
    let house = House::new().await;
    house.register("bob@example.com", PASSWORD).await.unwrap();
    house.identity.verify(&house.mailed("bob@example.com"), Origin::default()).await.unwrap();
    let tokens = house.login("bob@example.com", PASSWORD).await.unwrap();
    let next = house.refresh(&tokens).await.unwrap();
    house.identity.logout(next.refresh.expose(), Origin::default()).await.unwrap();
    let audit = house.audit().await;
    assert_eq!(audit, ["key_rotated", "registered", "verified", "logged_in", "refreshed", "logged_out"]);
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_restart_and_keys_are_sealed() {
    let house = House::new().await;
    house.create("ann@example.com").await;
    let tokens = house.login("ann@example.com", PASSWORD).await.unwrap();
    let private = std::fs::read(house.folder.path().join("portcullis.db")).unwrap();
    assert!(!private.windows(PASSWORD.len()).any(|window| window == PASSWORD.as_bytes()));
    assert!(!private.windows(64).any(|window| window == tokens.refresh.expose().as_bytes()));
    house.identity.close().await;
    let again = house.second().await;
    assert!(again.refresh(tokens.refresh.expose(), Origin::default()).await.is_ok());
    assert_eq!(again.list_accounts().await.unwrap().len(), 1);
}

#[tokio::test]
async fn o3_a_database_without_its_master_key_is_refused() {
    let house = House::new().await;
    house.identity.close().await;
    let key = house.folder.path().join("master.key");
    let held = std::fs::read(&key).unwrap();
    let open = || async {
        let ports = Ports {
            clock: Arc::clone(&house.clock) as _,
            mailer: Arc::clone(&house.mails) as _,
            events: Arc::clone(&house.records) as _,
        };
        Identity::open(config(&house.folder), ports).await.map(drop)
    };
    std::fs::remove_file(&key).unwrap();
    assert!(matches!(open().await, Err(OpenError::MasterKey(_))));
    assert!(!key.exists(), "no new key is made beside an old database");
    std::fs::write(&key, "ab".repeat(16) + &"cd".repeat(16)).unwrap();
    assert!(matches!(open().await, Err(OpenError::MasterKey(_))));
    std::fs::write(&key, held).unwrap();
    open().await.unwrap();
}

#[tokio::test]
async fn a9_a_database_of_a_newer_version_is_refused_untouched() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("portcullis.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&file).create_if_missing(true);
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    sqlx::query("PRAGMA user_version = 999").execute(&pool).await.unwrap();
    pool.close().await;
    let key = (0..32).collect::<Vec<u8>>();
    let config = IdentityConfig { master_key: Some(Secret::new(key)), ..config(&folder) };
    let ports = Ports {
        clock: Arc::new(ManualClock::default()),
        mailer: Arc::new(MailCatcher::default()),
        events: Arc::new(Records::default()),
    };
    let error = Identity::open(config, ports).await.unwrap_err();
    assert!(matches!(error, OpenError::Newer { found: 999, .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a9_two_processes_may_start_at_once() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let key = Secret::new((0..32).collect::<Vec<u8>>());
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let config = IdentityConfig { master_key: Some(key.clone()), ..config(&folder) };
            let ports = Ports {
                clock: Arc::new(ManualClock::new(Timestamp::from_secs(1_800_000_000))),
                mailer: Arc::new(MailCatcher::default()),
                events: Arc::new(Records::default()),
            };
            tokio::spawn(async move { Identity::open(config, ports).await })
        })
        .collect();
    let mut jwks = Vec::new();
    for task in tasks {
        let identity = task.await.unwrap().unwrap();
        jwks.push(identity.keys().load().1.public_jwks_json());
    }
    jwks.dedup();
    assert_eq!(jwks.len(), 1, "all agree on one key");
}

#[tokio::test]
async fn no_secret_is_shown_by_debug() {
    let house = House::new().await;
    house.create("ann@example.com").await;
    let tokens = house.login("ann@example.com", PASSWORD).await.unwrap();
    let shown = format!("{tokens:?} {:?}", house.identity);
    assert!(!shown.contains(tokens.refresh.expose()) && !shown.contains(tokens.access.expose()));
}

/// Many logins queue for two hashing threads, so that the last of them are still waiting when the account changes.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a7_a_login_that_waits_while_the_account_is_disabled_leaves_no_session() {
    let house = Arc::new(House::new().await);
    house.create("ada@example.com").await;
    let logins: Vec<_> = (0..12)
        .map(|_| {
            let house = Arc::clone(&house);
            tokio::spawn(async move { house.login("ada@example.com", PASSWORD).await })
        })
        .collect();
    // One of them is done, so that all have read the account as it was.
    while house.records.0.lock().unwrap().iter().all(|kind| *kind != EventKind::LoginSucceeded) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    house.identity.set_disabled("ada@example.com", true, Origin::default()).await.unwrap();
    let mut refused = 0;
    let mut let_in = Vec::new();
    for login in logins {
        match login.await.unwrap() {
            Ok(tokens) => let_in.push(tokens),
            Err(IdentityError::Disabled) => refused += 1,
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(refused > 0, "none of the logins was still waiting");
    // What was let in before is revoked, and stays so when the account comes back.
    house.identity.set_disabled("ada@example.com", false, Origin::default()).await.unwrap();
    for tokens in &let_in {
        assert!(matches!(house.refresh(tokens).await, Err(IdentityError::InvalidRefresh)));
    }
}

/// Keeps the only hashing thread busy, so that whoever logs in now has read the account long before the password is
/// checked; gives that login.
async fn slow_login(house: &House) -> tokio::task::JoinHandle<Result<Tokens, IdentityError>> {
    let login = |email: &str| {
        let identity = Arc::clone(&house.identity);
        let credentials = Credentials { email: email.to_owned(), password: secret(PASSWORD), delivery: Delivery::Body };
        tokio::spawn(async move { identity.login(credentials, Origin::default()).await })
    };
    for _ in 0..10 {
        login("nobody@example.com");
    }
    let slow = login("ann@example.com");
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!slow.is_finished(), "the login still waits for its hash");
    slow
}

#[tokio::test]
async fn a6_a_password_replaced_while_it_is_checked_opens_no_session() {
    let house = House::with(|config| config.hash_threads = 1).await;
    house.create("ann@example.com").await;
    let slow = slow_login(&house).await;
    // What a reset does, in the middle: everything of the old password ends.
    house.execute("UPDATE account SET password = 'another hash', version = version + 1").await;
    assert!(matches!(slow.await.unwrap(), Err(IdentityError::InvalidCredentials)));
    assert_eq!(house.count("SELECT count(*) FROM session").await, 0);
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
    house.clock.advance(Duration::from_secs(931));
    house.identity.tidy().await.unwrap();
    assert_eq!(house.identity.list_keys().await.unwrap().len(), 1);
}

#[tokio::test]
async fn no_link_of_a_mail_is_shown_by_debug() {
    let house = House::new().await;
    house.register("bob@example.com", PASSWORD).await.unwrap();
    let token = house.mailed("bob@example.com");
    let shown = format!("{:?} {:?}", house.mails, house.mails.mails());
    assert!(!shown.contains(&token));
}
