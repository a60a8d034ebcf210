//! The keeper of API keys and server sessions as the gate asks for it: the cores ask, the service runtime reads the database.

use std::sync::Arc;

use portcullis_core::Scheme;
use portcullis_core::ports::{Answer, Found, Holders, OpaqueName, Unanswered};
use portcullis_identity::{Identity, IdentityError};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

/// Questions under way; the next is not answered, so that strangers' keys cannot queue up before the database.
const AT_ONCE: usize = 256;

/// The accounts as a keeper.
#[derive(Clone, Debug)]
pub struct AccountHolders {
    identity: Arc<Identity>,
    /// The connections to the database live here.
    runtime: Handle,
    slots: Arc<Semaphore>,
}

impl AccountHolders {
    /// A keeper that asks these accounts on this runtime.
    #[must_use]
    pub fn new(identity: Arc<Identity>, runtime: Handle) -> Self {
        Self { identity, runtime, slots: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

impl Holders for AccountHolders {
    fn find(&self, name: OpaqueName) -> Answer<Result<Found, Unanswered>> {
        let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
            return Box::pin(std::future::ready(Err(Unanswered)));
        };
        let identity = Arc::clone(&self.identity);
        let asked = self.runtime.spawn(async move {
            let found = find(&identity, name).await;
            drop(slot);
            found
        });
        Box::pin(async move {
            match asked.await {
                Ok(Ok(found)) => Ok(found),
                Ok(Err(error)) => {
                    tracing::warn!(%error, "whose an API key or a session is could not be read");
                    Err(Unanswered)
                }
                Err(_) => Err(Unanswered),
            }
        })
    }
}

async fn find(identity: &Identity, name: OpaqueName) -> Result<Found, IdentityError> {
    match name.scheme {
        Scheme::ApiKey => identity.find_api_key(&name.hash).await,
        Scheme::Session => identity.find_session(&name.hash).await,
        Scheme::Bearer | Scheme::Cookie | Scheme::Certificate => Ok(Found::Nobody),
    }
}
