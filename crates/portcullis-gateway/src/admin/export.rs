//! Every account as JSON lines, for an operator: what `users import` reads (A11).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use http_body::Frame;
use portcullis_identity::Identity;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::mpsc;

use super::Shared;
use super::caller::{Caller, answered, origin};
use crate::identity_api::body;

/// One JSON object a line.
pub(super) const JSON_LINES: &str = "application/x-ndjson";
/// Pages that wait for a slow reader.
const PAGES: usize = 2;

/// What is asked for.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Export {
    /// With the hashes of the passwords. Dangerous: whoever reads them can try passwords as fast as they like.
    #[serde(default)]
    hashes: bool,
}

/// `POST /api/export`. It is no `GET`, because it is taken down, and because no page of another site may cause it.
pub(super) async fn export(State(admin): Shared, caller: Caller, headers: HeaderMap, bytes: Bytes) -> Response {
    answered(caller, async {
        let identity = Arc::clone(&admin.accounts()?.identity);
        let Export { hashes } = body::json(&headers, &bytes)?;
        identity.note_export(hashes, origin(caller)).await?;
        let (sender, pieces) = mpsc::channel(PAGES);
        tokio::spawn(send(identity, hashes, sender));
        let headers = [(CONTENT_TYPE, JSON_LINES), (CACHE_CONTROL, "no-store")];
        Ok((headers, Body::new(Pages { pieces, ended: false })).into_response())
    })
    .await
}

/// A piece of an export; the last says that it is.
enum Piece {
    Lines(Bytes),
    End,
}

/// Sends page after page, as fast as they are taken, until there is none or nobody takes them.
async fn send(identity: Arc<Identity>, hashes: bool, sender: mpsc::Sender<Piece>) {
    let mut last = String::new();
    loop {
        let piece = match identity.export_page(hashes, &last).await {
            Ok(Some(page)) => {
                last = page.last;
                Piece::Lines(page.lines.into())
            }
            Ok(None) => Piece::End,
            Err(error) => {
                tracing::error!(%error, "an export ended early");
                return;
            }
        };
        let ends = matches!(piece, Piece::End);
        if sender.send(piece).await.is_err() || ends {
            return;
        }
    }
}

/// The body of the answer. One that ends early, for whatever reason, breaks the connection, so that nobody takes a part for the
/// whole.
struct Pages {
    pieces: mpsc::Receiver<Piece>,
    ended: bool,
}

impl http_body::Body for Pages {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let piece = ready!(self.pieces.poll_recv(cx));
        self.ended = !matches!(piece, Some(Piece::Lines(_)));
        Poll::Ready(match piece {
            Some(Piece::Lines(lines)) => Some(Ok(Frame::data(lines))),
            Some(Piece::End) => None,
            None => Some(Err(io::Error::other("the export ended early"))),
        })
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    async fn read(pieces: Vec<Piece>) -> Result<Bytes, io::Error> {
        let (sender, receiver) = mpsc::channel(4);
        for piece in pieces {
            assert!(sender.send(piece).await.is_ok(), "there is room");
        }
        drop(sender);
        Ok(Pages { pieces: receiver, ended: false }.collect().await?.to_bytes())
    }

    #[tokio::test]
    async fn a11_a_part_of_an_export_is_never_taken_for_the_whole() {
        let lines = || Piece::Lines(Bytes::from_static(b"{}\n"));
        assert_eq!(read(vec![lines(), lines(), Piece::End]).await.unwrap(), "{}\n{}\n");
        assert_eq!(read(vec![Piece::End]).await.unwrap(), "");
        for broken in [vec![], vec![lines()], vec![lines(), lines()]] {
            assert!(read(broken).await.is_err());
        }
    }
}
