//! The admin listener's connections. They are few, so what bounds them can be simple and strict.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tower_service::Service as _;

use super::guard::{LocalAddress, PeerAddress};
use super::{AdminParts, router};

/// Connections at once; more are closed at once.
const MAX_CONNECTIONS: usize = 64;
/// For a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// After this a connection is finished with its present request, so that nobody can occupy one for good.
const MAX_AGE: Duration = Duration::from_secs(120);
/// How long a connection that is to be finished may still take.
const LAST_REQUEST: Duration = Duration::from_secs(5);

/// Serves the admin endpoints until `stop` is ready, then finishes the requests under way (at most 5 s).
///
/// # Errors
/// When the listener does not know its own address. Errors of single connections end those connections.
pub async fn serve(listener: TcpListener, parts: AdminParts, stop: impl Future<Output = ()>) -> io::Result<()> {
    listener.local_addr()?;
    let router = router(parts);
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let (stopping, stopped) = watch::channel(());
    tokio::pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            // Usually no more file descriptors; trying again at once would only burn the processor.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else { continue };
        let (router, mut stopped) = (router.clone(), stopped.clone());
        tokio::spawn(async move {
            // The sender lives until everybody was told, so an error means the same as the signal.
            let stop = async move { drop(stopped.changed().await) };
            connection(stream, router, stop).await;
            drop(slot);
        });
    }
    drop(listener);
    drop(stopping);
    let all = u32::try_from(MAX_CONNECTIONS).unwrap_or(u32::MAX);
    let _ = tokio::time::timeout(LAST_REQUEST, slots.acquire_many(all)).await;
    Ok(())
}

async fn connection(stream: TcpStream, router: Router, stop: impl Future<Output = ()>) {
    let (Ok(local), Ok(peer)) = (stream.local_addr(), stream.peer_addr()) else { return };
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(LocalAddress(local));
        request.extensions_mut().insert(PeerAddress(peer));
        let mut router = router.clone();
        // A router is always ready, so there is nothing to poll before the call.
        async move { router.call(request.map(Body::new)).await }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(64)
        .max_buf_size(32 * 1_024)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection, stop);
    let finished = tokio::select! {
        _ = connection.as_mut() => true,
        () = stop => false,
        () = tokio::time::sleep(MAX_AGE) => false,
    };
    if !finished {
        connection.as_mut().graceful_shutdown();
        let _ = tokio::time::timeout(LAST_REQUEST, connection).await;
    }
}
