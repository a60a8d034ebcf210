//! The service: charges, calls what is inside, and settles.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::request::Parts;
use http::{Request, Response};
use pin_project_lite::pin_project;
use portcullis_core::Timestamp;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Sleep;
use tower_service::Service;

use super::event::LimitEvent;
use super::layer::{Config, LimitLayer};
use super::plan::Admitted;
use super::refusal::{ProblemJson, Refusal, Respond, Why, complete};
use crate::limiter::{Charge, Refused};
use crate::store::BoxFuture;

/// A service with limits in front of it, made by a [`LimitLayer`].
///
/// It is ready when the service inside is. A refused request does not reach it.
pub struct LimitService<S, R = ProblemJson> {
    inner: S,
    layer: LimitLayer<R>,
}

impl<S, R> LimitService<S, R> {
    pub(super) const fn new(inner: S, layer: LimitLayer<R>) -> Self {
        Self { inner, layer }
    }
}

// Derived, it would ask the responder to be what its pointer is already.
impl<S: Clone, R> Clone for LimitService<S, R> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), layer: self.layer.clone() }
    }
}

impl<S: fmt::Debug, R> fmt::Debug for LimitService<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LimitService").field("inner", &self.inner).field("layer", &self.layer).finish()
    }
}

impl<S, R, B, O> Service<Request<B>> for LimitService<S, R>
where
    S: Service<Request<B>, Response = Response<O>> + Clone,
    R: Respond<O>,
{
    type Response = Response<O>;
    type Error = S::Error;
    type Future = LimitFuture<S, R, B, O>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (mut parts, body) = request.into_parts();
        let LimitLayer { config, respond } = self.layer.clone();
        let now = config.shared.now();
        let state = match config.plan(&parts) {
            Err(refusal) => refused(&config, &*respond, &refusal, &parts),
            Ok(plan) => match config.charge_at_once(&plan, now) {
                Some(charged) => match config.judge(charged, &mut parts, now) {
                    Err(refusal) => refused(&config, &*respond, &refusal, &parts),
                    // Called here and now, it is the one that is ready, and nothing is cloned for it.
                    Ok((admitted, None)) => State::calling(self.inner.call(Request::from_parts(parts, body)), admitted),
                    Ok((admitted, Some(wait))) => State::holding(wait, self.take_ready(parts, body), admitted),
                },
                None => {
                    let asking = Box::pin(Arc::clone(&config).charge(plan, now));
                    State::Asking { asking, held: Some(self.take_ready(parts, body)), now }
                }
            },
        };
        LimitFuture { state, config, respond }
    }
}

impl<S: Clone, R> LimitService<S, R> {
    /// The service that is ready, for a call that comes later. What stays behind is a clone, which has to be asked for its
    /// readiness itself.
    fn take_ready<B>(&mut self, parts: Parts, body: B) -> Box<Held<S, B>> {
        let clone = self.inner.clone();
        Box::new(Held { inner: std::mem::replace(&mut self.inner, clone), parts, body })
    }
}

/// A request that was not yet handed on, and the service that is ready for it.
struct Held<S, B> {
    inner: S,
    parts: Parts,
    body: B,
}

impl<S, B> Held<S, B> {
    fn call(mut self) -> S::Future
    where
        S: Service<Request<B>>,
    {
        self.inner.call(Request::from_parts(self.parts, self.body))
    }
}

pin_project! {
    /// The answer to come. Dropped before, it leaves the request counted.
    #[must_use = "futures do nothing unless they are polled"]
    pub struct LimitFuture<S, R, B, O>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        state: State<S, B, O>,
        config: Arc<Config>,
        respond: Arc<R>,
    }
}

pin_project! {
    #[project = Projected]
    enum State<S, B, O>
    where
        S: Service<Request<B>>,
    {
        // A shared store is asked.
        Asking { asking: BoxFuture<'static, Result<Charge, Refused>>, held: Option<Box<Held<S, B>>>, now: Timestamp },
        // The request waits for its turn.
        Holding {
            sleep: Pin<Box<Sleep>>,
            place: Option<OwnedSemaphorePermit>,
            held: Option<Box<Held<S, B>>>,
            admitted: Option<Admitted>,
        },
        // The service inside is at work.
        Calling { #[pin] future: S::Future, admitted: Admitted },
        // The answer is known.
        Refused { response: Option<Response<O>> },
    }
}

impl<S, B, O> State<S, B, O>
where
    S: Service<Request<B>>,
{
    const fn calling(future: S::Future, admitted: Admitted) -> Self {
        Self::Calling { future, admitted }
    }

    fn holding(wait: (Duration, OwnedSemaphorePermit), held: Box<Held<S, B>>, admitted: Admitted) -> Self {
        let (wait, place) = wait;
        let sleep = Box::pin(tokio::time::sleep(wait));
        Self::Holding { sleep, place: Some(place), held: Some(held), admitted: Some(admitted) }
    }
}

fn refused<S, R, B, O>(config: &Config, respond: &R, refusal: &Refusal, request: &Parts) -> State<S, B, O>
where
    S: Service<Request<B>>,
    R: Respond<O>,
{
    config.tell(&LimitEvent::Refused(refusal), request);
    let mut response = complete(refusal, respond.respond(refusal, request));
    if let Why::Spent { standing, .. } = refusal.why() {
        config.headers.insert(response.headers_mut(), standing, refusal.limit());
    }
    State::Refused { response: Some(response) }
}

impl<S, R, B, O> Future for LimitFuture<S, R, B, O>
where
    S: Service<Request<B>, Response = Response<O>>,
    R: Respond<O>,
{
    type Output = Result<Response<O>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let next = match this.state.as_mut().project() {
                Projected::Asking { asking, held, now } => {
                    let charged = ready!(asking.as_mut().poll(cx));
                    let mut held = held.take().expect("it is taken once: the state is left below");
                    match this.config.judge(charged, &mut held.parts, *now) {
                        Err(refusal) => refused(this.config, &**this.respond, &refusal, &held.parts),
                        Ok((admitted, None)) => State::calling(held.call(), admitted),
                        Ok((admitted, Some(wait))) => State::holding(wait, held, admitted),
                    }
                }
                Projected::Holding { sleep, place, held, admitted } => {
                    ready!(sleep.as_mut().poll(cx));
                    drop(place.take());
                    let (held, admitted) = held.take().zip(admitted.take()).expect("they are taken once, as above");
                    State::calling(held.call(), admitted)
                }
                Projected::Calling { future, admitted } => {
                    let mut outcome = ready!(future.poll(cx));
                    match &mut outcome {
                        Ok(response) => this.config.settle(admitted, response),
                        Err(_) => this.config.settle_failure(admitted),
                    }
                    return Poll::Ready(outcome);
                }
                Projected::Refused { response } => {
                    return Poll::Ready(Ok(response.take().expect("a future is not polled after its end")));
                }
            };
            this.state.set(next);
        }
    }
}

impl<S, R, B, O> fmt::Debug for LimitFuture<S, R, B, O>
where
    S: Service<Request<B>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LimitFuture").finish_non_exhaustive()
    }
}
