//! Where a lane leads: to one server, or to whichever the Sentinels call the master.

use tokio::task::JoinSet;

use super::stream::{Connector, name, say};
use super::wire::{Value, Words};
use crate::store::StoreError;
use crate::store::net::{Address, Stream};

/// Where a lane leads.
#[derive(Debug, Clone)]
pub(super) enum Target {
    /// Always to the same server.
    Fixed { address: Address, connector: Connector },
    /// To the master of this name, as these Sentinels know it when a connection is made.
    Master { master: String, sentinels: Vec<Address>, to_sentinels: Connector, connector: Connector },
}

impl crate::store::net::Target for Target {
    fn name(&self) -> Box<str> {
        match self {
            Self::Fixed { address, .. } => name(address),
            Self::Master { master, .. } => format!("the Redis master \"{master}\"").into(),
        }
    }

    async fn connect(&self) -> Result<Stream, StoreError> {
        match self {
            Self::Fixed { address, connector } => connector.connect(address).await,
            Self::Master { master, sentinels, to_sentinels, connector } => {
                // All are asked at once: the first that are dead must not cost the time that the living save.
                let mut asked = JoinSet::new();
                for sentinel in sentinels.clone() {
                    asked.spawn(master_of(master.clone(), sentinel, to_sentinels.clone(), connector.clone()));
                }
                let mut failed = None;
                while let Some(said) = asked.join_next().await {
                    match said {
                        Ok(Ok(stream)) => return Ok(stream),
                        Ok(Err(error)) => failed = Some(error),
                        Err(_) => {}
                    }
                }
                Err(failed.unwrap_or_else(|| StoreError::Unavailable {
                    store: self.name(),
                    cause: "no Sentinel was asked".into(),
                }))
            }
        }
    }
}

/// A connection to the master that one Sentinel names. The server is asked itself, as a Sentinel may not have heard yet.
async fn master_of(
    master: String,
    sentinel: Address,
    to_sentinels: Connector,
    connector: Connector,
) -> Result<Stream, StoreError> {
    let asked = format!("the Sentinel at {sentinel}");
    let mut stream = to_sentinels.connect(&sentinel).await?;
    let words = Words::of(&["GET-MASTER-ADDR-BY-NAME", &master]);
    let answer = bounded(&asked, say(&mut stream, &asked, "SENTINEL", &words)).await?;
    let address = match answer.array() {
        Some([host, port]) => host.text().zip(port.text().and_then(|port| port.parse().ok())),
        _ => None,
    };
    let Some((host, port)) = address else {
        let cause = format!("it knows no master \"{master}\"").into();
        return Err(StoreError::Unavailable { store: asked.into(), cause });
    };
    let address = Address { host: host.to_owned(), port };
    let mut stream = connector.connect(&address).await?;
    let store = name(&address);
    let role = bounded(&store, say(&mut stream, &store, "ROLE", &Words::default())).await?;
    match role.array().and_then(<[Value]>::first).and_then(Value::text) {
        Some("master") => Ok(stream),
        _ => Err(StoreError::NotReady { store, answer: "it is not the master any more".into() }),
    }
}

/// An answer within half a second, or none.
async fn bounded<T>(store: &str, asking: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let time = std::time::Duration::from_millis(500);
    tokio::time::timeout(time, asking)
        .await
        .unwrap_or_else(|_| Err(StoreError::TimedOut { store: store.into(), after: time }))
}
