//! The server dies: what goes on without it, what is refused, and what is there when it is back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use portcullis_core::Clock as _;
use portcullis_core::ports::{Revocations as _, Standing};
use portcullis_identity::{Identity, IdentityError, Origin, Tokens};

use crate::flows::house::*;
use crate::flows::raw::Raw;
use crate::keep_url;
use crate::server::{self, Cluster};

/// A house on a server that nobody else uses, so that it may be killed.
async fn alone(grace: Duration) -> Option<(Cluster, House)> {
    if !server::is_installed() {
        return None;
    }
    let cluster = Cluster::start();
    let folder = tempfile::tempdir().unwrap();
    keep_url(&folder, &cluster.database());
    let house = House::at(folder, |config| config.grace = grace).await;
    Some((cluster, house))
}

#[tokio::test]
async fn t7_without_the_server_tokens_verify_for_max_staleness_and_everything_is_back_within_5_seconds_of_it() {
    let Some((mut cluster, house)) = alone(Duration::from_secs(10)).await else { return };
    house.create("ann@example.com").await;
    let tokens = house.login("ann@example.com", PASSWORD).await.unwrap();
    let idle = house.login("ann@example.com", PASSWORD).await.unwrap();
    cluster.kill();

    let (identity, nobody) = (&house.identity, Origin::default());
    let began = Instant::now();
    let why = house.login("ann@example.com", PASSWORD).await.unwrap_err().to_string();
    assert!(why.contains("refused"), "an operator is told why: {why}");
    let refused = [
        ("login", house.login("ann@example.com", PASSWORD).await.map(drop)),
        ("register", house.register("bob@example.com", PASSWORD).await),
        ("refresh", house.refresh(&tokens).await.map(drop)),
        ("logout", identity.logout(tokens.refresh.expose(), nobody).await),
        ("disable", identity.set_disabled("ann@example.com", true, nobody).await),
    ];
    for (act, told) in refused {
        assert!(matches!(told, Err(IdentityError::Database(_))), "{act}: {told:?}");
    }
    assert!(began.elapsed() < Duration::from_secs(8), "{:?} for five refusals", began.elapsed());
    assert!(!identity.is_ready().await);
    assert!(identity.catch_up().await.is_err());
    house.clock.advance(Duration::from_secs(60));
    assert_eq!(house.standing(&tokens), Standing::Good, "for as long as the record may be old");
    house.clock.advance(Duration::from_secs(1));
    assert_eq!(house.standing(&tokens), Standing::Unknown);

    cluster.restart();
    let back = Instant::now();
    while identity.catch_up().await.is_err() {
        assert!(back.elapsed() < Duration::from_secs(5), "not back after 5 seconds");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(house.standing(&tokens), Standing::Good);
    let tokens = house.refresh(&tokens).await.unwrap();
    house.login("ann@example.com", PASSWORD).await.unwrap();
    house.register("bob@example.com", PASSWORD).await.unwrap();
    identity.logout(idle.refresh.expose(), nobody).await.unwrap();
    assert_eq!((house.standing(&idle), house.standing(&tokens)), (Standing::Revoked, Standing::Good));
    assert!(back.elapsed() < Duration::from_secs(5), "{:?}", back.elapsed());
}

/// What one writer was told.
#[derive(Default)]
struct Told {
    accounts: Vec<String>,
    /// Each a family: every token that was handed out, the newest last.
    families: Vec<Vec<Tokens>>,
    /// Families whose logout was acknowledged.
    ended: Vec<Vec<Tokens>>,
}

/// Logs in, refreshes a few times, logs out every other family, and now and then makes an account; until it is told to stop
/// or the server is gone.
async fn write(identity: Arc<Identity>, name: String, stop: Arc<AtomicBool>, ended: Arc<AtomicUsize>) -> Told {
    let mut told = Told::default();
    let nobody = Origin::default();
    for turn in 0.. {
        let email = format!("{name}-{turn}@example.com");
        let account = portcullis_identity::NewAccount {
            email: email.clone(),
            password: secret(PASSWORD),
            name: None,
            role: "editor".into(),
            plan: None,
        };
        if stop.load(Ordering::Relaxed) || identity.create_account(account, nobody).await.is_err() {
            break;
        }
        told.accounts.push(email.clone());
        let credentials = portcullis_identity::Credentials {
            email,
            password: secret(PASSWORD),
            delivery: portcullis_identity::Delivery::Body,
            agent: None,
            device: None,
        };
        let Ok(first) = identity.login(credentials, nobody).await else { break };
        let mut family = vec![first];
        let mut gone = false;
        for _ in 0..20 {
            match identity.refresh(family.last().unwrap().refresh.expose(), nobody).await {
                Ok(next) => family.push(next),
                Err(_) => {
                    gone = true;
                    break;
                }
            }
        }
        if !gone && turn % 2 == 1 {
            match identity.logout(family.last().unwrap().refresh.expose(), nobody).await {
                Ok(()) => {
                    told.ended.push(family);
                    ended.fetch_add(1, Ordering::Relaxed);
                }
                // Nobody can say whether it ended.
                Err(_) => break,
            }
            continue;
        }
        told.families.push(family);
        if gone {
            break;
        }
    }
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t4_a_server_killed_under_writes_keeps_every_acknowledged_account_rotation_and_logout() {
    let Some((mut cluster, house)) = alone(Duration::ZERO).await else { return };
    let (mut accounts, mut rotations, mut logouts) = (0, 0, 0);
    for round in 0..3 {
        let (stop, ended) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let writers: Vec<_> = (0..6)
            .map(|writer| {
                let (identity, name) = (Arc::clone(&house.identity), format!("r{round}w{writer}"));
                tokio::spawn(write(identity, name, Arc::clone(&stop), Arc::clone(&ended)))
            })
            .collect();
        // However slow the machine is: in the middle of everything.
        while ended.load(Ordering::Relaxed) < 3 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::time::sleep(Duration::from_millis(37 * round)).await;
        cluster.kill();
        stop.store(true, Ordering::Relaxed);
        let mut told = Vec::new();
        for writer in writers {
            told.push(writer.await.unwrap());
        }
        cluster.restart();
        while house.identity.catch_up().await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }

        let there = crate::house::accounts(&house.identity).await;
        let there: Vec<&str> = there.iter().map(|account| account.email.as_str()).collect();
        let mut raw = house.raw().await;
        for told in &told {
            accounts += told.accounts.len();
            for email in &told.accounts {
                assert!(there.contains(&email.as_str()), "{email} is gone");
            }
            for family in &told.families {
                rotations += family.len() - 1;
                check_spent(&house, &mut raw, family).await;
            }
            for family in &told.ended {
                logouts += 1;
                rotations += family.len() - 1;
                assert_eq!(house.standing(family.last().unwrap()), Standing::Revoked);
                for token in family {
                    assert!(matches!(house.refresh(token).await, Err(IdentityError::InvalidRefresh)));
                }
            }
        }
    }
    println!("{accounts} accounts, {rotations} rotations, {logouts} logouts were acknowledged and are there");
    assert!(accounts >= 15 && rotations >= 100 && logouts >= 9, "{accounts} {rotations} {logouts}");
}

/// Every token of a family but the newest is spent, and stays so. The newest is there; whether it was spent as well, by a
/// refresh that nobody was told of, its derived successor alone knows.
async fn check_spent(house: &House, raw: &mut Raw, family: &[Tokens]) {
    for token in family {
        assert_eq!(house.standing(token), Standing::Good);
    }
    let (newest, spent) = family.split_last().unwrap();
    let (present, live) = of(raw, newest).await;
    assert!(present, "an acknowledged token is gone");
    for token in spent {
        assert_eq!(of(raw, token).await, (true, false), "a spent token lives again");
    }
    if live {
        house.refresh(newest).await.unwrap();
    }
    if let Some(token) = spent.first() {
        assert!(matches!(house.refresh(token).await, Err(IdentityError::InvalidRefresh)));
        assert_eq!(house.standing(newest), Standing::Revoked, "whoever tries one ends the family");
    }
}

/// Whether a token is in the database, and whether it is unspent.
async fn of(raw: &mut Raw, token: &Tokens) -> (bool, bool) {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.refresh.expose().as_bytes());
    let hash = hex::encode(digest.as_ref());
    let count = |condition: &str| {
        format!("SELECT count(*) FROM refresh_token WHERE hash = decode('{hash}', 'hex') {condition}")
    };
    (raw.count(&count("")).await == 1, raw.count(&count("AND spent_at IS NULL")).await == 1)
}

#[tokio::test]
async fn a_clock_that_moved_on_while_the_server_was_away_revives_nothing() {
    let Some((mut cluster, house)) = alone(Duration::from_secs(10)).await else { return };
    house.create("ann@example.com").await;
    let spent = house.login("ann@example.com", PASSWORD).await.unwrap();
    let next = house.refresh(&spent).await.unwrap();
    cluster.kill();
    house.clock.advance(Duration::from_secs(30));
    cluster.restart();
    while house.identity.catch_up().await.is_err() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(matches!(house.refresh(&spent).await, Err(IdentityError::InvalidRefresh)), "its grace is over");
    let standing = house.identity.revocations().standing(&house.principal(&next), house.clock.now());
    assert_eq!(standing, Standing::Revoked);
}

#[tokio::test]
async fn a_server_that_steps_down_to_reading_is_left_and_its_successor_is_found() {
    let Some((cluster, house)) = alone(Duration::from_secs(10)).await else { return };
    house.create("ann@example.com").await;
    let tokens = house.login("ann@example.com", PASSWORD).await.unwrap();
    // Connections that are open learn of it too, as they do when a server becomes another one's stand-by.
    cluster.set("default_transaction_read_only", "on");
    let refused = house.refresh(&tokens).await;
    assert!(matches!(refused, Err(IdentityError::Database(_))), "{refused:?}");
    assert!(house.identity.catch_up().await.is_err(), "what a stand-by has heard may be old");
    cluster.set("default_transaction_read_only", "off");
    let back = Instant::now();
    while house.identity.catch_up().await.is_err() {
        assert!(back.elapsed() < Duration::from_secs(5));
    }
    house.refresh(&tokens).await.unwrap();
    assert!(back.elapsed() < Duration::from_secs(5), "{:?}", back.elapsed());
}

#[tokio::test]
async fn a_server_that_falls_silent_is_given_up_and_found_again() {
    let Some((cluster, house)) = alone(Duration::from_secs(10)).await else { return };
    house.create("ann@example.com").await;
    let tokens = house.login("ann@example.com", PASSWORD).await.unwrap();
    cluster.signal("STOP");
    let silent = Instant::now();
    let refused = tokio::join!(house.refresh(&tokens), house.identity.catch_up());
    assert!(refused.0.is_err() && refused.1.is_err());
    assert!(silent.elapsed() < Duration::from_secs(10), "{:?}", silent.elapsed());
    cluster.signal("CONT");
    let back = Instant::now();
    while house.identity.catch_up().await.is_err() {
        assert!(back.elapsed() < Duration::from_secs(5));
    }
    house.refresh(&tokens).await.unwrap();
    assert!(back.elapsed() < Duration::from_secs(5), "{:?}", back.elapsed());
}

#[tokio::test]
async fn a_server_that_acknowledges_before_its_disk_has_is_told_not_to() {
    let Some((cluster, _)) = alone(Duration::ZERO).await else { return };
    cluster.set("synchronous_commit", "off");
    let folder = tempfile::tempdir().unwrap();
    keep_url(&folder, &cluster.database());
    let house = House::at(folder, |_| ()).await;
    house.create("ann@example.com").await;
    house.login("ann@example.com", PASSWORD).await.unwrap();
    let ours = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'portcullis'";
    assert!(house.count(ours).await > 0);
    // What a session has set for itself is seen by nobody else; but what was committed is flushed at once, or not.
    let behind = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), pg_current_wal_flush_lsn())";
    house.login("ann@example.com", PASSWORD).await.unwrap();
    assert_eq!(house.count(behind).await, 0);
}
