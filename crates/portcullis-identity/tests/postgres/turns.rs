//! What has no row yet is decided upon by one write at a time: whoever writes about an address holds its name.

use std::sync::Arc;
use std::time::Duration;

use portcullis_identity::{NewAccount, Origin, Registration};
use tokio::task::JoinHandle;

use crate::flows::house::*;
use crate::server;

const HELD: &str = "BEGIN; SELECT pg_advisory_xact_lock(hashtextextended('portcullis address bob@example.com', 0))";

/// Everything that writes about an address, each begun now.
fn everything_about(house: &House, email: &'static str, link: String) -> Vec<(&'static str, JoinHandle<()>)> {
    let nobody = Origin::default();
    let act = || Arc::clone(&house.identity);
    let (register, verify, resend, create) = (act(), act(), act(), act());
    let registration = Registration { email: email.into(), password: secret(PASSWORD), name: None };
    let role = "editor".to_owned();
    let account = NewAccount { email: email.into(), password: secret(PASSWORD), name: None, role, plan: None };
    vec![
        ("register", tokio::spawn(async move { drop(register.register(registration, nobody).await) })),
        ("verify", tokio::spawn(async move { drop(verify.verify(&link, nobody).await) })),
        ("resend", tokio::spawn(async move { drop(resend.resend_verification(email, nobody).await) })),
        ("create", tokio::spawn(async move { drop(create.create_account(account, nobody).await) })),
    ]
}

#[tokio::test]
async fn a4_writes_about_one_address_wait_for_each_other_and_for_nobody_else() {
    if !server::is_installed() {
        return;
    }
    let house = House::new().await;
    let mut links = Vec::new();
    for email in ["bob@example.com", "eve@example.com"] {
        house.register(email, PASSWORD).await.unwrap();
        links.push(house.mailed(email));
    }
    let mut other = house.raw().await;
    other.execute(HELD).await;
    let waiting = everything_about(&house, "bob@example.com", links[0].clone());
    for (act, task) in everything_about(&house, "eve@example.com", links[1].clone()) {
        tokio::time::timeout(Duration::from_secs(10), task).await.expect(act).unwrap();
    }
    for (act, task) in &waiting {
        assert!(!task.is_finished(), "{act} did not wait");
    }
    other.execute("COMMIT").await;
    for (act, task) in waiting {
        tokio::time::timeout(Duration::from_secs(10), task).await.expect(act).unwrap();
    }
    assert_eq!(house.count("SELECT count(*) FROM account").await, 2, "one of each address");
}
