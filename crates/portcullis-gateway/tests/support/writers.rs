//! Clients that write for as long as they are answered, and what must be true of everything that they were told once whoever
//! told them has died and come back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::PASSWORD;
use super::client::{Client, Reply};
use super::process::Gateway;

/// Sessions that go on through all rounds, each with a writer of its own.
pub(crate) const SESSIONS: usize = 4;

/// Whose sessions they are.
pub(crate) const OWNER: &str = "chain@example.com";

pub(crate) fn refresh(client: &Client, token: &str) -> Reply {
    client.post("/auth/refresh").json(&json!({ "refreshToken": token })).send()
}

fn member(reply: &Reply, name: &str) -> Option<String> {
    Some(reply.json()[name].as_str()?.to_owned())
}

/// The answer to a request if it is an acknowledgement.
fn ask(client: &Client, path: &str, body: &Value) -> Option<Reply> {
    let reply = client.post(path).json(body).try_send().ok()?;
    (200..300).contains(&reply.status).then_some(reply)
}

/// What one session's writer was told.
#[derive(Debug, Default)]
struct Told {
    /// Tokens of one family in their order; each is the answer to the one before it.
    chain: Vec<String>,
    /// The refresh tokens of a family whose logout was acknowledged, and its last access token.
    ended: Option<(Vec<String>, String)>,
}

/// Refreshes one family a few times and ends it, then refreshes the other until nobody acknowledges any more.
fn write(gateway: &Gateway, ending: &str, going_on: &str, stop: &AtomicBool) -> Told {
    let client = gateway.client();
    let next = |token: &str| {
        let reply = ask(&client, "/auth/refresh", &json!({ "refreshToken": token }))?;
        Some((member(&reply, "refreshToken")?, member(&reply, "accessToken")?))
    };
    let mut told = Told { chain: vec![going_on.to_owned()], ended: None };
    let (mut family, mut access) = (vec![ending.to_owned()], String::new());
    while family.len() < 4
        && let Some((token, newer)) = next(family.last().expect("it has one"))
    {
        family.push(token);
        access = newer;
    }
    if family.len() == 4 && ask(&client, "/auth/logout", &json!({ "refreshToken": family[3] })).is_some() {
        told.ended = Some((family, access));
    }
    while !stop.load(Ordering::Relaxed)
        && let Some((token, _)) = next(told.chain.last().expect("it has one"))
    {
        told.chain.push(token);
    }
    told
}

/// What the writer of accounts was told.
#[derive(Debug, Default)]
struct Founded {
    /// Addresses whose confirmation was acknowledged.
    accounts: Vec<String>,
    /// A registration that was acknowledged, and the token that confirms it.
    promised: Option<(String, String)>,
}

/// Registers and confirms one account after the other.
fn found(gateway: &Gateway, round: u64, stop: &AtomicBool) -> Founded {
    let (operator, mut founded) = (gateway.operator(), Founded::default());
    for turn in 0.. {
        let (client, email) = (gateway.client(), format!("r{round}t{turn}@example.com"));
        if stop.load(Ordering::Relaxed)
            || ask(&client, "/auth/register", &json!({ "email": email, "password": PASSWORD })).is_none()
        {
            break;
        }
        let deadline = Instant::now() + Duration::from_secs(2);
        let token = loop {
            let Some(mails) = operator.try_mails(&email) else { return founded };
            if let Some(mail) = mails.first() {
                break mail.token();
            }
            if Instant::now() > deadline {
                return founded;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        if ask(&client, "/auth/verify", &json!({ "token": token })).is_none() {
            founded.promised = Some((email, token));
            break;
        }
        founded.accounts.push(email);
    }
    founded
}

/// Whose password changes again and again.
const CHANGING: &str = "changing@example.com";

/// The password of an account whose password changes: what it is known to be, and what it may be instead.
#[derive(Debug)]
struct Passwords {
    acknowledged: String,
    before: Option<String>,
    attempted: Option<String>,
    changes: usize,
}

fn enters(client: &Client, password: &str) -> Option<Reply> {
    ask(client, "/auth/login", &json!({ "email": CHANGING, "password": password, "delivery": "body" }))
}

/// Changes the password again and again.
fn change(gateway: &Gateway, round: u64, passwords: &mut Passwords, stop: &AtomicBool) {
    let client = gateway.client();
    for turn in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let Some(reply) = enters(&client, &passwords.acknowledged) else { return };
        let Some(access) = member(&reply, "accessToken") else { return };
        let next = format!("Another-horse-{round}-{turn}-staple");
        let body = json!({ "currentPassword": passwords.acknowledged, "newPassword": next });
        let reply = client.post("/auth/change-password").bearer(&access).json(&body).try_send();
        if !reply.is_ok_and(|reply| (200..300).contains(&reply.status)) {
            passwords.attempted = Some(next);
            return;
        }
        passwords.before = Some(std::mem::replace(&mut passwords.acknowledged, next));
        passwords.changes += 1;
    }
}

/// Everything that was ever acknowledged, round after round.
#[derive(Debug)]
pub(crate) struct Ledger {
    families: Vec<String>,
    accounts: Vec<String>,
    /// Tokens that nothing may revive.
    spent: Vec<String>,
    passwords: Passwords,
    pub(crate) rotations: usize,
    pub(crate) logouts: usize,
    confirmed_later: usize,
}

impl Ledger {
    /// Makes the account and the sessions that go on.
    pub(crate) fn open(gateway: &Gateway) -> Self {
        gateway.create_user(OWNER, "viewer");
        gateway.create_user(CHANGING, "viewer");
        let passwords = Passwords { acknowledged: PASSWORD.to_owned(), before: None, attempted: None, changes: 0 };
        let families = (0..SESSIONS).map(|_| gateway.login(OWNER).1).collect();
        Self {
            families,
            accounts: Vec::new(),
            spent: Vec::new(),
            passwords,
            rotations: 0,
            logouts: 0,
            confirmed_later: 0,
        }
    }

    pub(crate) fn accounts(&self) -> usize {
        self.accounts.len()
    }

    /// One round: everybody writes, `strike` ends that at some moment, and whoever died is back when it returns; then
    /// everything that was acknowledged meanwhile must be true.
    pub(crate) fn round(
        &mut self,
        gateway: &mut Gateway,
        round: u64,
        strike: impl FnOnce(&Gateway),
        revive: impl FnOnce(&mut Gateway),
    ) {
        let ending: Vec<String> = (0..SESSIONS).map(|_| gateway.login(OWNER).1).collect();
        let stop = AtomicBool::new(false);
        let (told, founded) = std::thread::scope(|scope| {
            let (gateway, stop): (&Gateway, _) = (gateway, &stop);
            let founder = scope.spawn(move || found(gateway, round, stop));
            let passwords = &mut self.passwords;
            let changer = scope.spawn(move || change(gateway, round, passwords, stop));
            let pairs = self.families.iter().zip(&ending);
            let writers: Vec<_> =
                pairs.map(|(family, ending)| scope.spawn(move || write(gateway, ending, family, stop))).collect();
            strike(gateway);
            stop.store(true, Ordering::Relaxed);
            let told: Vec<Told> = writers.into_iter().map(|writer| writer.join().expect("it ends")).collect();
            changer.join().expect("it ends");
            (told, founder.join().expect("it ends"))
        });
        revive(gateway);
        self.families.clear();
        for told in told {
            self.check_session(gateway, told, round);
        }
        self.check_accounts(gateway, founded);
        self.check_password(gateway);
    }

    /// The password is the last one that was acknowledged, or the one that was under way; the one before opens nothing.
    fn check_password(&mut self, gateway: &Gateway) {
        let client = gateway.client();
        if enters(&client, &self.passwords.acknowledged).is_none() {
            let attempted = self.passwords.attempted.take().expect("an acknowledged password opens nothing");
            assert!(enters(&client, &attempted).is_some(), "neither the acknowledged password nor its successor opens");
            self.passwords.before = Some(std::mem::replace(&mut self.passwords.acknowledged, attempted));
        }
        self.passwords.attempted = None;
        if let Some(before) = &self.passwords.before {
            assert!(enters(&client, before).is_none(), "a password that was changed opens again");
        }
    }

    fn check_session(&mut self, gateway: &Gateway, told: Told, round: u64) {
        let client = gateway.client();
        let Told { chain, ended } = told;
        self.rotations += chain.len() - 1;
        // The last acknowledged token works; its successor may have been made and not told, which the grace window covers.
        let reply = refresh(&client, chain.last().expect("it has one"));
        assert_eq!(reply.status, 200, "an acknowledged token of {} is lost: {}", chain.len(), reply.text());
        let newest = member(&reply, "refreshToken").expect("a successor");
        if let Some((family, access)) = ended {
            self.logouts += 1;
            self.rotations += family.len() - 1;
            refresh(&client, family.last().expect("it has one")).refused(401, "Invalid refresh token");
            client.get("/any").bearer(&access).send().refused(401, "Token has been revoked");
            self.spent.extend(family);
        }
        // A token whose successor was used as well has no grace left: it is spent for ever, and ends its family.
        match chain.len().checked_sub(3).map(|index| &chain[index]) {
            Some(spent) if round % 2 == 1 => {
                refresh(&client, spent).refused(401, "Invalid refresh token");
                refresh(&client, &newest).refused(401, "Invalid refresh token");
                self.spent.extend([spent.clone(), newest]);
                self.families.push(gateway.login(OWNER).1);
            }
            _ => self.families.push(newest),
        }
    }

    fn check_accounts(&mut self, gateway: &Gateway, founded: Founded) {
        if let Some((email, token)) = founded.promised {
            // Either the confirmation is there although nobody was told, or it still can be made.
            let confirmed = gateway.client().post("/auth/verify").json(&json!({ "token": token })).send();
            self.confirmed_later += usize::from((200..300).contains(&confirmed.status));
            self.accounts.push(email);
        }
        self.accounts.extend(founded.accounts.iter().cloned());
        // One login for each round, because hashing takes its time; the end asks for all.
        if let Some(email) = self.accounts.last() {
            gateway.login(email);
        }
    }

    /// At the end of all rounds: every account is there, and no token of any round lives again.
    pub(crate) fn close(&self, gateway: &Gateway) {
        let listed = gateway.command(&["users", "list"]);
        assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        let there: Vec<&str> = listed.lines().filter_map(|line| line.split_whitespace().last()).collect();
        for email in &self.accounts {
            assert!(there.contains(&email.as_str()), "{email} is gone");
        }
        let client = gateway.client();
        for token in &self.spent {
            refresh(&client, token).refused(401, "Invalid refresh token");
        }
        println!(
            "acknowledged and there: {} accounts ({} confirmed after the end), {} passwords, {} rotations, {} logouts; {} spent \
             tokens stayed spent",
            self.accounts.len(),
            self.confirmed_later,
            self.passwords.changes,
            self.rotations,
            self.logouts,
            self.spent.len(),
        );
    }
}
