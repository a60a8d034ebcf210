//! The layer: which limits, and where the client's address is found.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::Response;
use http::request::Parts;
use portcullis_core::{AddressKey, ClientAddress, TrustedHops};
use tower_layer::Layer;

use super::event::{LimitEvent, LimitObserver};
use super::limit::Limit;
use super::limits::Limits;
use super::refusal::{ProblemJson, Refusal};
use super::service::LimitService;
use crate::headers::LimitHeaders;

/// Puts limits in front of a service. A request is charged by all of them or by none.
///
/// Layers of one [`Limits`] share its memory and its store, and count by the names of their limits. A layer that is cloned,
/// or added to several routes, counts all of them together; routes that are to be counted apart have limits of different
/// names.
///
/// Of layers in each other the outer one charges first, and gives back what it charged if the inner one refuses. Of all
/// their limits the client is told of the one that is closest to refusing.
///
/// What a layer holds is behind one pointer: cloning it and the services it makes is cheap.
pub struct LimitLayer<R = ProblemJson> {
    pub(super) config: Arc<Config>,
    pub(super) respond: Arc<R>,
}

/// What a layer was told.
#[derive(Clone)]
pub(super) struct Config {
    pub(super) shared: Limits,
    pub(super) limits: Vec<Named>,
    pub(super) headers: LimitHeaders,
    peer: Peer,
    hops: TrustedHops,
    ipv6_prefix: u8,
    observer: Option<LimitObserver>,
}

/// A limit and the number of its keys.
#[derive(Clone)]
pub(super) struct Named {
    pub(super) limit: Limit,
    pub(super) id: u32,
}

/// Finds the address of whoever the connection is with.
type Peer = Arc<dyn Fn(&Parts) -> Option<IpAddr> + Send + Sync>;

impl LimitLayer {
    /// A layer without limits yet, that counts in `limits`.
    ///
    /// It looks for the client's address in the request's extensions, as a [`SocketAddr`] or an [`IpAddr`]; whatever else
    /// knows it is told by [`LimitLayer::peer`]. IPv6 is counted by /64, and no forwarding header is believed.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self {
            config: Arc::new(Config {
                shared: limits.clone(),
                limits: Vec::new(),
                headers: LimitHeaders::default(),
                peer: Arc::new(|request| {
                    let socket = request.extensions.get::<SocketAddr>().map(SocketAddr::ip);
                    socket.or_else(|| request.extensions.get::<IpAddr>().copied())
                }),
                hops: TrustedHops::default(),
                ipv6_prefix: 64,
                observer: None,
            }),
            respond: Arc::new(ProblemJson),
        }
    }
}

impl<R> LimitLayer<R> {
    /// Adds a limit.
    ///
    /// # Panics
    /// If a limit of this name was added to a layer of the same [`Limits`] before: the two would count in each other's
    /// cells. To count several routes by one limit, clone the layer; to make all layers anew, by another configuration, make
    /// new [`Limits`] of the same [`Limits::limiter`], and the counts go on.
    #[must_use]
    pub fn limit(mut self, limit: Limit) -> Self {
        let Some(id) = self.config.shared.register(&limit.name) else {
            panic!(
                "there are two limits named \"{}\", which would count in each other's cells: give each a name of its own, \
                 or clone the layer to count several routes by one limit",
                limit.name
            )
        };
        self.edit().limits.push(Named { limit, id });
        self
    }

    /// Where the address is found of whoever the connection is with; `None` where it is not known, and then a limit by
    /// address refuses with 500. With axum:
    ///
    /// ```
    /// # use std::net::SocketAddr;
    /// # use axum::extract::ConnectInfo;
    /// # use portcullis_limit::tower::{LimitLayer, Limits};
    /// # let layer = LimitLayer::new(&Limits::default());
    /// // Served with `app.into_make_service_with_connect_info::<SocketAddr>()`.
    /// layer.peer(|request| request.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip()))
    /// # ;
    /// ```
    #[must_use]
    pub fn peer(mut self, find: impl Fn(&Parts) -> Option<IpAddr> + Send + Sync + 'static) -> Self {
        self.edit().peer = Arc::new(find);
        self
    }

    /// Believes these proxies, and nobody else, about the client's address. Without it all clients behind a proxy are
    /// counted as the proxy; and whoever believes a forwarding header whoever sent it lets clients choose whom they are
    /// counted as.
    ///
    /// ```
    /// # use portcullis_limit::tower::{LimitLayer, Limits};
    /// use portcullis_limit::{ForwardHeader, TrustedHops};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let layer = LimitLayer::new(&Limits::default());
    /// let proxies = vec!["10.0.0.0/8".parse()?, "fd00::/8".parse()?];
    /// let layer = layer.trusted_hops(TrustedHops::new(proxies, ForwardHeader::default())); // X-Forwarded-For
    /// # drop(layer);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn trusted_hops(mut self, hops: TrustedHops) -> Self {
        self.edit().hops = hops;
        self
    }

    /// How many bits of an IPv6 address tell one client from another: 64 unless told otherwise, because that is what a
    /// subscriber gets; whoever counts single addresses counts nobody.
    #[must_use]
    pub fn ipv6_prefix(mut self, bits: u8) -> Self {
        self.edit().ipv6_prefix = bits;
        self
    }

    /// How clients are told of their limits: `X-RateLimit-…` unless told otherwise. A refusal carries `Retry-After` in any
    /// case.
    #[must_use]
    pub fn headers(mut self, headers: LimitHeaders) -> Self {
        self.edit().headers = headers;
        self
    }

    /// Tells somebody what the layer does to requests: whom it refuses, holds back, or would refuse.
    #[must_use]
    pub fn observe(mut self, observer: impl Fn(&LimitEvent<'_>, &Parts) + Send + Sync + 'static) -> Self {
        self.edit().observer = Some(Arc::new(observer));
        self
    }

    /// Answers refused requests in another way. What the function leaves out is added: `Retry-After`, and the headers that
    /// tell how the limit stands.
    ///
    /// ```
    /// # use portcullis_limit::tower::{LimitLayer, Limits};
    /// # let layer = LimitLayer::new(&Limits::default());
    /// use axum::response::IntoResponse;
    ///
    /// let layer = layer.respond_with(|refusal, _request| (refusal.status(), "slow down").into_response());
    /// # drop(layer);
    /// ```
    #[must_use]
    pub fn respond_with<F, B>(self, respond: F) -> LimitLayer<F>
    where
        F: Fn(&Refusal, &Parts) -> Response<B>,
    {
        LimitLayer { config: self.config, respond: Arc::new(respond) }
    }

    fn edit(&mut self) -> &mut Config {
        Arc::make_mut(&mut self.config)
    }
}

impl Config {
    /// Whom a request is counted as; `None` where its address is not known.
    pub(super) fn address(&self, request: &Parts) -> Option<AddressKey> {
        let peer = (self.peer)(request)?;
        let client: ClientAddress = self.hops.client(peer, &request.headers);
        Some(client.key(self.ipv6_prefix))
    }

    /// The limit whose keys bear this number.
    pub(super) fn named(&self, id: u32) -> Option<&Limit> {
        self.limits.iter().find(|named| named.id == id).map(|named| &named.limit)
    }

    pub(super) fn tell(&self, event: &LimitEvent<'_>, request: &Parts) {
        if let Some(observer) = &self.observer {
            observer(event, request);
        }
    }
}

// Derived, they would ask the responder to be what its pointer is already.
impl<R> Clone for LimitLayer<R> {
    fn clone(&self) -> Self {
        Self { config: Arc::clone(&self.config), respond: Arc::clone(&self.respond) }
    }
}

impl<R> fmt::Debug for LimitLayer<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limits: Vec<&Limit> = self.config.limits.iter().map(|named| &named.limit).collect();
        f.debug_struct("LimitLayer").field("limits", &limits).finish_non_exhaustive()
    }
}

impl<S, R> Layer<S> for LimitLayer<R> {
    type Service = LimitService<S, R>;

    fn layer(&self, inner: S) -> Self::Service {
        LimitService::new(inner, self.clone())
    }
}
