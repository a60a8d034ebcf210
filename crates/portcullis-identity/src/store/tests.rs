//! The promises of SQLite's writer: who shares a commit, what a failure takes with it, and when each is answered.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use super::{Store, StoreError, Write, sql};

async fn open(folder: &Path) -> Store {
    let store = Store::open(&folder.join("p.db").into()).await.unwrap();
    let mut write = store.write().await.unwrap();
    sql("CREATE TABLE IF NOT EXISTS word (text TEXT PRIMARY KEY)").execute(&mut write).await.unwrap();
    write.commit().await.unwrap();
    store
}

async fn insert(write: &mut Write, text: &str) -> Result<u64, sqlx::Error> {
    sql("INSERT INTO word (text) VALUES ($1)").bind(text).execute(write).await
}

async fn words(store: &Store) -> Vec<String> {
    let rows: Vec<(String,)> =
        sql("SELECT text FROM word WHERE length(text) < 100 ORDER BY text").fetch_all(store.read()).await.unwrap();
    rows.into_iter().map(|(text,)| text).collect()
}

/// A write of one word in a task of its own, which waits for its turn when this returns.
async fn queued(store: &Store, text: &'static str) -> tokio::task::JoinHandle<Result<(), StoreError>> {
    let store = store.clone();
    let task = tokio::spawn(async move {
        let mut write = store.write().await?;
        insert(&mut write, text).await?;
        write.commit().await
    });
    // Tests have one thread, so that the task has come as far as it can when this one goes on.
    tokio::task::yield_now().await;
    task
}

/// Runs everything that can run.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(50)).await;
}

/// Counts the commits of the connection from now on.
async fn count_commits(write: &mut Write) -> Arc<AtomicUsize> {
    let commits = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&commits);
    let Write::Sqlite(turn) = write else { panic!("not SQLite") };
    turn.connection().lock_handle().await.unwrap().set_commit_hook(move || {
        seen.fetch_add(1, Ordering::Relaxed);
        true
    });
    commits
}

#[tokio::test]
async fn writes_that_wait_together_share_one_commit() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    let mut first = store.write().await.unwrap();
    let commits = count_commits(&mut first).await;
    let mut others = Vec::new();
    for text in ["b", "c", "d", "e"] {
        others.push(queued(&store, text).await);
    }
    insert(&mut first, "a").await.unwrap();
    first.commit().await.unwrap();
    for other in others {
        other.await.unwrap().unwrap();
    }
    assert_eq!(words(&store).await, ["a", "b", "c", "d", "e"]);
    assert_eq!(commits.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_write_that_fails_or_is_given_up_undoes_itself_and_nobody_else() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    let mut first = store.write().await.unwrap();
    insert(&mut first, "a").await.unwrap();
    let twice = queued(&store, "a").await;
    let good = queued(&store, "b").await;
    let given_up = tokio::spawn({
        let store = store.clone();
        async move {
            let mut write = store.write().await.unwrap();
            insert(&mut write, "c").await.unwrap();
        }
    });
    first.commit().await.unwrap();
    assert!(matches!(twice.await.unwrap(), Err(StoreError::Engine(_))), "the same word twice");
    good.await.unwrap().unwrap();
    given_up.await.unwrap();
    assert_eq!(words(&store).await, ["a", "b"]);
}

#[tokio::test]
async fn nobody_is_answered_before_the_common_commit() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    let mut first = store.write().await.unwrap();
    let second = tokio::spawn({
        let store = store.clone();
        async move { store.write().await.unwrap() }
    });
    tokio::task::yield_now().await;
    insert(&mut first, "a").await.unwrap();
    let answer = tokio::spawn(first.commit());
    // The second of the group has its turn now and takes its time.
    let second = second.await.unwrap();
    settle().await;
    assert!(!answer.is_finished() && words(&store).await.is_empty());
    drop(second);
    answer.await.unwrap().unwrap();
    assert_eq!(words(&store).await, ["a"]);
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_and_a_long_wait_in_the_end() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    let held = store.write().await.unwrap();
    let waiting: Vec<_> = (0..600)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.write().await.map(drop) })
        })
        .collect();
    settle().await;
    let refused = waiting.iter().filter(|task| task.is_finished()).count();
    assert_eq!(refused, 600 - super::writer::QUEUE);
    tokio::time::pause();
    tokio::time::advance(super::writer::PATIENCE).await;
    tokio::time::resume();
    for task in waiting {
        assert!(matches!(task.await.unwrap(), Err(StoreError::Full)));
    }
    drop(held);
    // Those who gave up are passed over.
    settle().await;
    store.write().await.unwrap().commit().await.unwrap();
}

#[tokio::test]
async fn whoever_stops_waiting_holds_nobody_up() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    for _ in 0..50 {
        let task = queued(&store, "never").await;
        task.abort();
        let mut write = store.write().await.unwrap();
        insert(&mut write, "a").await.unwrap();
        drop(write);
    }
    settle().await;
    assert!(words(&store).await.iter().all(|word| word == "never"), "a given up write leaves nothing");
    store.write().await.unwrap().commit().await.unwrap();
}

#[tokio::test]
async fn a_full_disk_is_told_to_all_whom_it_cost_something_and_service_returns() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    let mut first = store.write().await.unwrap();
    let (pages,): (i64,) = sql("PRAGMA page_count").fetch_one(&mut first).await.unwrap();
    // As if the disk had room for so many pages; it is forgotten with the connection.
    let Write::Sqlite(turn) = &mut first else { panic!("not SQLite") };
    let limit = sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {pages}"));
    sqlx::query(limit).execute(turn.connection()).await.unwrap();
    insert(&mut first, "a").await.unwrap();
    let large: &'static str = "x".repeat(100_000).leak();
    let second = queued(&store, large).await;
    let third = queued(&store, "b").await;
    let told = [("a", first.commit().await.is_ok()), ("b", third.await.unwrap().is_ok())];
    assert!(second.await.unwrap().is_err(), "there was no room");
    let there = words(&store).await;
    for (word, kept) in told {
        assert_eq!(there.iter().any(|held| held == word), kept, "{word}: {there:?}");
    }
    // Room again.
    let mut write = store.write().await.unwrap();
    let Write::Sqlite(turn) = &mut write else { panic!("not SQLite") };
    sqlx::query("PRAGMA max_page_count = 1000000").execute(turn.connection()).await.unwrap();
    insert(&mut write, large).await.unwrap();
    write.commit().await.unwrap();
}

#[tokio::test]
async fn what_undoes_the_whole_transaction_is_told_to_the_whole_group() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    let mut first = store.write().await.unwrap();
    insert(&mut first, "a").await.unwrap();
    let second = tokio::spawn({
        let store = store.clone();
        async move {
            let mut write = store.write().await.unwrap();
            // What SQLite does by itself when the disk fails in the wrong moment.
            sql("ROLLBACK").execute(&mut write).await.unwrap();
            insert(&mut write, "b").await.unwrap();
            write.commit().await
        }
    });
    tokio::task::yield_now().await;
    assert!(matches!(first.commit().await, Err(StoreError::Commit(_))));
    assert!(matches!(second.await.unwrap(), Err(StoreError::Commit(_))));
    assert!(!words(&store).await.contains(&"a".to_owned()), "it was undone and said so");
    let mut write = store.write().await.unwrap();
    insert(&mut write, "c").await.unwrap();
    write.commit().await.unwrap();
}

#[tokio::test]
async fn closing_keeps_what_waits_and_refuses_what_comes_later() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    let task = queued(&store, "a").await;
    store.close().await;
    task.await.unwrap().unwrap();
    assert!(matches!(store.write().await, Err(StoreError::Engine(sqlx::Error::PoolClosed))));
    assert_eq!(words(&open(folder.path()).await).await, ["a"]);
}
