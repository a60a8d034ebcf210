//! The servers, however they are arranged: where a call goes.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::Handle;
use tokio::time::Instant;

use super::cluster::{Cluster, slot};
use super::options::{Arrangement, RedisOptions};
use super::request::Request;
use super::sentinel::Target;
use super::stream::Connector;
use super::wire::Value;
use crate::store::StoreError;
use crate::store::net::{Lane, Target as _, join};

#[derive(Debug)]
pub(super) enum Servers {
    /// Lanes to one server, taken in turns.
    One {
        lanes: Vec<Lane<Request>>,
        next: AtomicUsize,
    },
    Cluster(Box<Cluster>),
}

impl Servers {
    /// The servers that the options name, and how they are named in messages.
    pub(super) fn new(options: &RedisOptions, runtime: &Handle) -> Result<(Self, Box<str>), StoreError> {
        let connector = Connector::new(options)?;
        let fixed =
            || options.hosts.first().cloned().map(|address| Target::Fixed { address, connector: connector.clone() });
        let target = match &options.arrangement {
            Arrangement::Cluster => None,
            Arrangement::Single => fixed(),
            Arrangement::Sentinel(master) => Some(Target::Master {
                master: master.clone(),
                sentinels: options.hosts.clone(),
                to_sentinels: connector.to_sentinels(options),
                connector: connector.clone(),
            }),
        };
        Ok(match target {
            Some(target) => {
                let lane = || Lane::new(target.clone(), options.timeout, runtime);
                let lanes = std::iter::repeat_with(lane).take(options.connections.max(1)).collect();
                (Self::One { lanes, next: AtomicUsize::new(0) }, target.name())
            }
            None => {
                let cluster = Cluster::new(options.hosts.clone(), connector, options.timeout, runtime);
                let name = cluster.name();
                (Self::Cluster(Box::new(cluster)), name)
            }
        })
    }

    /// Whether everything lies on one server, so that one step can look at all of it.
    pub(super) const fn is_one(&self) -> bool {
        matches!(self, Self::One { .. })
    }

    pub(super) fn slot(&self, name: &str) -> u16 {
        match self {
            Self::One { .. } => 0,
            Self::Cluster(_) => slot(name),
        }
    }

    pub(super) async fn call(&self, slot: u16, request: Request, deadline: Instant) -> Result<Value, StoreError> {
        match self {
            Self::One { .. } => self.lane().call(request, deadline).await,
            Self::Cluster(cluster) => cluster.call(slot, request, deadline).await,
        }
    }

    pub(super) fn tell(&self, slot: u16, request: Request) {
        match self {
            Self::One { .. } => self.lane().tell(request),
            Self::Cluster(cluster) => cluster.tell(slot, request),
        }
    }

    /// What each master says of itself under one heading.
    pub(super) async fn info(&self, heading: &str, deadline: Instant) -> Result<Vec<Value>, StoreError> {
        let info = || Request::command("INFO", &[heading]);
        match self {
            Self::One { .. } => Ok(vec![self.lane().call(info(), deadline).await?]),
            Self::Cluster(cluster) => {
                let masters = cluster.masters(deadline).await?;
                join(masters.iter().map(|node| node.lane.call(info(), deadline))).await.into_iter().collect()
            }
        }
    }

    fn lane(&self) -> &Lane<Request> {
        match self {
            Self::One { lanes, next } if lanes.len() > 1 => &lanes[next.fetch_add(1, Ordering::Relaxed) % lanes.len()],
            Self::One { lanes, .. } => &lanes[0],
            Self::Cluster(_) => unreachable!("a cluster has a lane for each node"),
        }
    }

    pub(super) fn lost(&self) -> u64 {
        match self {
            Self::One { lanes, .. } => lanes.iter().map(Lane::lost).sum(),
            Self::Cluster(cluster) => cluster.lost(),
        }
    }

    pub(super) fn late(&self) -> u64 {
        match self {
            Self::One { lanes, .. } => lanes.iter().map(Lane::late).sum(),
            Self::Cluster(cluster) => cluster.late(),
        }
    }
}
