//! The contract of every flow, on embedded SQLite.

#![expect(clippy::unwrap_used, reason = "in a test a surprise is a failure")]

mod flows;

use std::sync::Arc;

use flows::house::{self, House, config};
use portcullis_identity::{Database, Identity, OpenError, Ports};
use tempfile::TempDir;

/// The database of a folder.
fn database(folder: &TempDir) -> Database {
    folder.path().join("portcullis.db").into()
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
            attempts: Arc::clone(&house.ledger) as _,
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
