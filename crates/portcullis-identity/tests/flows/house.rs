//! Accounts in a database of their own, with a clock that stands still.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use portcullis_auth::{Algorithm, ClaimNames, Issuer, Lookup, TokenVerifier};
use portcullis_core::ports::{Revocations as _, Standing};
use portcullis_core::{Clock as _, Event, EventKind, EventSink, ManualClock, Principal, Scheme, Secret, Timestamp};
use portcullis_identity::{
    Account, AccountFilter, Credentials, Database, Delivery, Identity, IdentityConfig, IdentityError, Letters,
    MailCatcher, NewAccount, OpenError, Origin, PasswordHash, PasswordPolicy, Ports, Registration, Tokens,
};
use tempfile::TempDir;

use super::raw::Raw;

pub(crate) const PASSWORD: &str = "Correct-Horse-42";

#[derive(Default)]
pub(crate) struct Records(pub(crate) Mutex<Vec<EventKind>>);

impl EventSink for Records {
    fn record(&self, event: Event) {
        self.0.lock().unwrap().push(event.kind);
    }
}

pub(crate) struct House {
    pub(crate) identity: Arc<Identity>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) mails: Arc<MailCatcher>,
    pub(crate) records: Arc<Records>,
    pub(crate) folder: TempDir,
}

pub(crate) fn config(folder: &TempDir) -> IdentityConfig {
    IdentityConfig {
        database: crate::database(folder),
        // Made beside a file; a server's database has no such place.
        master_key: match crate::database(folder) {
            Database::Sqlite(_) => None,
            Database::Postgres(_) => Some(Secret::new((0..32).collect())),
        },
        public_url: "https://api.example.com".into(),
        letters: Letters::default(),
        mail: true,
        registration: true,
        default_role: "viewer".into(),
        default_plan: "free".into(),
        password_policy: PasswordPolicy::Standard,
        password_hash: PasswordHash::Argon2id,
        audience: "https://api.example.com".into(),
        claims: Vec::new(),
        algorithm: Algorithm::Es256,
        access_ttl: Duration::from_secs(900),
        refresh_ttl: Duration::from_secs(7 * 86_400),
        grace: Duration::from_secs(10),
        session_ttl: Duration::from_secs(7 * 86_400),
        session_idle: Duration::from_secs(3_600),
        api_keys_per_account: 5,
        leeway: Duration::from_secs(30),
        max_staleness: Duration::from_secs(60),
        rotate_every: Duration::from_secs(90 * 86_400),
        hash_threads: 2,
    }
}

impl House {
    pub(crate) async fn new() -> Self {
        Self::with(|_| ()).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut IdentityConfig)) -> Self {
        Self::at(tempfile::tempdir().unwrap(), change).await
    }

    /// In a folder that says where its database is.
    pub(crate) async fn at(folder: TempDir, change: impl FnOnce(&mut IdentityConfig)) -> Self {
        Self::open(folder, change).await.unwrap()
    }

    pub(crate) async fn open(folder: TempDir, change: impl FnOnce(&mut IdentityConfig)) -> Result<Self, OpenError> {
        let mut config = config(&folder);
        change(&mut config);
        let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1_800_000_000)));
        let (mails, records) = (Arc::new(MailCatcher::default()), Arc::new(Records::default()));
        let ports = Ports {
            clock: Arc::clone(&clock) as _,
            mailer: Arc::clone(&mails) as _,
            events: Arc::clone(&records) as _,
        };
        let identity = Arc::new(Identity::open(config, ports).await?);
        Ok(Self { identity, clock, mails, records, folder })
    }

    /// The same database opened again under another configuration.
    pub(crate) async fn reopened(self, change: impl FnOnce(&mut IdentityConfig)) -> Self {
        let mut config = config(&self.folder);
        change(&mut config);
        let ports = Ports {
            clock: Arc::clone(&self.clock) as _,
            mailer: Arc::clone(&self.mails) as _,
            events: Arc::clone(&self.records) as _,
        };
        Self { identity: Arc::new(Identity::open(config, ports).await.unwrap()), ..self }
    }

    /// The same database in a second process, as it were.
    pub(crate) async fn second(&self) -> Identity {
        self.second_with(|_| ()).await
    }

    /// The same with another configuration.
    pub(crate) async fn second_with(&self, change: impl FnOnce(&mut IdentityConfig)) -> Identity {
        let mut config = config(&self.folder);
        change(&mut config);
        let ports = Ports {
            clock: Arc::clone(&self.clock) as _,
            mailer: Arc::clone(&self.mails) as _,
            events: Arc::clone(&self.records) as _,
        };
        Identity::open(config, ports).await.unwrap()
    }

    pub(crate) async fn register(&self, email: &str, password: &str) -> Result<(), IdentityError> {
        let registration = Registration { email: email.into(), password: secret(password), name: None };
        self.identity.register(registration, Origin::default()).await
    }

    pub(crate) async fn login(&self, email: &str, password: &str) -> Result<Tokens, IdentityError> {
        let credentials =
            Credentials { email: email.into(), password: secret(password), delivery: Delivery::Body, agent: None };
        self.identity.login(credentials, Origin::default()).await
    }

    pub(crate) async fn create(&self, email: &str) {
        let new = NewAccount {
            email: email.into(),
            password: secret(PASSWORD),
            name: None,
            role: "editor".into(),
            plan: None,
        };
        self.identity.create_account(new, Origin::default()).await.unwrap();
    }

    pub(crate) async fn refresh(&self, tokens: &Tokens) -> Result<Tokens, IdentityError> {
        self.identity.refresh(tokens.refresh.expose(), Origin::default()).await
    }

    /// The token in the newest mail to an address.
    pub(crate) fn mailed(&self, email: &str) -> String {
        let mails = self.mails.mails();
        let mail = mails.iter().rev().find(|mail| mail.to.as_str() == email).unwrap();
        mail.text.split_once("token=").unwrap().1[..64].to_owned()
    }

    pub(crate) fn principal(&self, tokens: &Tokens) -> Arc<Principal> {
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

    pub(crate) fn standing(&self, tokens: &Tokens) -> Standing {
        self.identity.revocations().standing(&self.principal(tokens), self.clock.now())
    }

    /// The database behind the house's back.
    pub(crate) async fn raw(&self) -> Raw {
        Raw::connect(&self.identity.config().database, self.folder.path()).await
    }

    pub(crate) async fn audit(&self) -> Vec<String> {
        self.raw().await.texts("SELECT action FROM audit ORDER BY id").await
    }

    pub(crate) async fn count(&self, statement: &'static str) -> i64 {
        self.raw().await.count(statement).await
    }

    pub(crate) async fn execute(&self, statement: &'static str) {
        self.raw().await.execute(statement).await;
    }
}

/// Every account, page by page.
pub(crate) async fn accounts(identity: &Identity) -> Vec<Account> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = identity.accounts_page(&AccountFilter::default(), after.as_deref(), 200).await.unwrap();
        all.extend(page.accounts);
        after = page.next;
        if after.is_none() {
            return all;
        }
    }
}

pub(crate) fn secret(text: &str) -> Secret<String> {
    Secret::new(text.to_owned())
}
