//! SQLite's one writer, with group commit: writes that wait at the same time share one transaction and one sync to the
//! disk.
//!
//! The writer lends its connection to one flow after the other. Each works behind a savepoint of its own and gives the
//! connection back, with its changes or without. When nobody waits any more, or enough have had their turn, the common
//! transaction is committed, and only then is each told so. While the disk syncs, the next group gathers.

use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};
use tokio::sync::{mpsc, oneshot};

use super::StoreError;

/// How many flows share a commit. The first of them waits for the work of all others, a few dozen microseconds each.
const GROUP: usize = 64;
/// How many flows may wait for their turn; whoever comes then is told at once that too many do.
pub(super) const QUEUE: usize = 512;
/// How long a flow waits for its turn.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// The way to the writer.
#[derive(Clone, Debug)]
pub(crate) struct Writer(mpsc::Sender<Message>);

enum Message {
    Write(Waiting),
    Close(oneshot::Sender<()>),
}

/// A flow that waits for its turn.
type Waiting = oneshot::Sender<Result<Turn, StoreError>>;
/// A flow that has had its turn and waits for the disk.
type Staged = oneshot::Sender<Result<(), StoreError>>;

/// What comes back from a turn.
#[derive(Debug)]
struct Returned {
    connection: SqliteConnection,
    /// Who wants its changes kept; `None`: nobody does.
    staged: Option<Staged>,
}

/// The writer's connection for as long as one flow works with it. Dropped, it undoes what was done with it.
#[derive(Debug)]
pub(crate) struct Turn {
    /// The connection and the way back; gone when it was given back.
    held: Option<(SqliteConnection, oneshot::Sender<Returned>)>,
}

impl Turn {
    /// The connection.
    pub(super) fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.held.as_mut().expect("only commit and drop take it away").0
    }

    /// Keeps the changes; returns when they are on the disk.
    pub(super) async fn commit(mut self) -> Result<(), StoreError> {
        let (staged, told) = oneshot::channel();
        self.give_back(Some(staged));
        told.await.unwrap_or_else(|_| Err(closed()))
    }

    fn give_back(&mut self, staged: Option<Staged>) {
        if let Some((connection, back)) = self.held.take() {
            // A writer that is gone has rolled back already: its connection is what is being returned here.
            drop(back.send(Returned { connection, staged }));
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.give_back(None);
    }
}

impl Writer {
    /// Starts the writer on a connection that is open.
    pub(super) fn start(options: SqliteConnectOptions, connection: SqliteConnection) -> Self {
        let (sender, queue) = mpsc::channel(QUEUE);
        let task = Task { queue, options, connection: Some(connection), closing: None };
        tokio::spawn(task.run());
        Self(sender)
    }

    /// Waits for the connection.
    ///
    /// # Errors
    /// [`StoreError::Full`] when too many wait, or for too long.
    pub(super) async fn turn(&self) -> Result<Turn, StoreError> {
        let (sender, turn) = oneshot::channel();
        self.0.try_send(Message::Write(sender)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => StoreError::Full,
            mpsc::error::TrySendError::Closed(_) => closed(),
        })?;
        match tokio::time::timeout(PATIENCE, turn).await {
            Ok(Ok(turn)) => turn,
            Ok(Err(_)) => Err(closed()),
            Err(_) => Err(StoreError::Full),
        }
    }

    /// Ends the writer after what waits now.
    pub(super) async fn close(&self) {
        let (done, ended) = oneshot::channel();
        if self.0.send(Message::Close(done)).await.is_ok() {
            // Nothing is ever sent: the task lets go of the other end when it is done.
            drop(ended.await);
        }
    }
}

fn closed() -> StoreError {
    StoreError::Engine(sqlx::Error::PoolClosed)
}

struct Task {
    queue: mpsc::Receiver<Message>,
    options: SqliteConnectOptions,
    /// Gone after a failure; opened again by whoever writes next.
    connection: Option<SqliteConnection>,
    closing: Option<oneshot::Sender<()>>,
}

impl Task {
    async fn run(mut self) {
        while self.closing.is_none() {
            match self.queue.recv().await {
                Some(Message::Write(first)) if !first.is_closed() => self.group(first).await,
                Some(Message::Write(_)) => {}
                Some(Message::Close(done)) => self.closing = Some(done),
                None => break,
            }
        }
        if let Some(connection) = self.connection.take() {
            close(connection).await;
        }
        // Whoever closed the writer learns of its end by this end of theirs going away.
        drop(self.closing);
    }

    /// One transaction for everyone who waits.
    async fn group(&mut self, first: Waiting) {
        let mut connection = match self.begin().await {
            Ok(connection) => connection,
            Err(error) => {
                drop(first.send(Err(StoreError::Engine(error))));
                return;
            }
        };
        let mut staged = Vec::new();
        let mut next = Some(first);
        let mut turns = 0;
        while let Some(waiting) = next.take() {
            turns += 1;
            match lend(connection, waiting, &mut staged).await {
                Ok(returned) => connection = returned,
                Err(failed) => {
                    tell_failed(staged, &failed.error);
                    if let Some(connection) = failed.connection {
                        undo(connection).await;
                    }
                    return;
                }
            }
            if turns < GROUP {
                next = self.next_in_queue();
            }
        }
        match sqlx::query("COMMIT").execute(&mut connection).await {
            Ok(_) => {
                self.connection = Some(connection);
                for flow in staged {
                    // A flow that nobody waits for any more is committed all the same.
                    drop(flow.send(Ok(())));
                }
            }
            Err(error) => {
                tell_failed(staged, &Arc::new(error));
                undo(connection).await;
            }
        }
    }

    /// Whoever waits already and still wants to.
    fn next_in_queue(&mut self) -> Option<Waiting> {
        loop {
            match self.queue.try_recv().ok()? {
                Message::Write(waiting) if waiting.is_closed() => {}
                Message::Write(waiting) => return Some(waiting),
                Message::Close(done) => {
                    self.closing = Some(done);
                    return None;
                }
            }
        }
    }

    /// Begins a transaction, with the write lock taken at once: what a flow reads stays true until it commits, whatever
    /// other processes do.
    async fn begin(&mut self) -> Result<SqliteConnection, sqlx::Error> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.options.connect().await?,
        };
        match sqlx::query("BEGIN IMMEDIATE").execute(&mut connection).await {
            Ok(_) => Ok(connection),
            Err(error) => {
                undo(connection).await;
                Err(error)
            }
        }
    }
}

/// Why a group cannot go on.
struct Failed {
    error: Arc<sqlx::Error>,
    connection: Option<SqliteConnection>,
}

/// Lends the connection to one flow, and keeps or undoes what it did.
///
/// Some failures (a full disk among them) make SQLite undo the whole transaction by itself. Then the savepoint is gone too,
/// which is found here, and none of the group is told that it was kept.
async fn lend(
    mut connection: SqliteConnection,
    waiting: Waiting,
    staged: &mut Vec<Staged>,
) -> Result<SqliteConnection, Failed> {
    if let Err(error) = sqlx::query("SAVEPOINT turn").execute(&mut connection).await {
        let error = Arc::new(error);
        drop(waiting.send(Err(StoreError::Commit(Arc::clone(&error)))));
        return Err(Failed { error, connection: Some(connection) });
    }
    let (back, returned) = oneshot::channel();
    // Whoever gave up waiting drops the turn, which sends the connection straight back.
    drop(waiting.send(Ok(Turn { held: Some((connection, back)) })));
    let Ok(Returned { mut connection, staged: wanted }) = returned.await else {
        return Err(Failed { error: Arc::new(sqlx::Error::WorkerCrashed), connection: None });
    };
    let ended = match &wanted {
        Some(_) => sqlx::query("RELEASE turn").execute(&mut connection).await,
        None => match sqlx::query("ROLLBACK TO turn").execute(&mut connection).await {
            Ok(_) => sqlx::query("RELEASE turn").execute(&mut connection).await,
            failed => failed,
        },
    };
    staged.extend(wanted);
    match ended {
        Ok(_) => Ok(connection),
        Err(error) => Err(Failed { error: Arc::new(error), connection: Some(connection) }),
    }
}

fn tell_failed(staged: Vec<Staged>, error: &Arc<sqlx::Error>) {
    for flow in staged {
        drop(flow.send(Err(StoreError::Commit(Arc::clone(error)))));
    }
}

/// Lets go of a connection after a failure. Its transaction may be open still or undone already.
async fn undo(mut connection: SqliteConnection) {
    drop(sqlx::query("ROLLBACK").execute(&mut connection).await);
    close(connection).await;
}

/// Closes a connection. What fails here changes nothing: everything that was acknowledged is in the log.
async fn close(connection: SqliteConnection) {
    drop(connection.close().await);
}
