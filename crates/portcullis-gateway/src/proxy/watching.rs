//! Answers that are compared with a contract while they pass: each piece goes on at once, and what breaks the contract is told
//! to the operator after the last one. Those of routes that do not report never come here.

use std::rc::Rc;

use bytes::Bytes;
use http_body::Frame;
use portcullis_core::{Event, RequestId, Violation};
use portcullis_shield::Tunnels;
use portcullis_shield::openapi::{Unjudged, Watched};

use super::body::Broken;
use super::collect::Whole;
use crate::listen::Link;

/// An answer whose content is looked at. Of one that breaks off nothing is told.
pub(super) struct Watching {
    watched: Watched,
    /// Its record, if there will be one: the answer may outlive what is known of its request.
    event: Event,
    /// What has passed of it.
    copy: Whole,
}

/// What becomes of an answer that is looked at.
enum Step {
    /// There is more to come.
    More,
    /// It breaks off.
    Lost,
    /// Nothing can be said of it.
    Unjudged(Unjudged),
    /// It is whole: this piece alone, or all that was copied.
    Whole(Option<Bytes>),
}

impl Watching {
    /// Begins with an answer by what its head has said: what that breaks is told at once. `length`: how long its content is
    /// at least, in bytes. Nothing, where there is no more to be seen of it.
    pub(super) fn begin(
        link: &Link,
        watched: Result<Option<Watched>, Violation>,
        id: RequestId,
        length: u64,
    ) -> Option<Box<Self>> {
        let broken = match watched {
            Ok(None) => return None,
            Ok(Some(watched)) if length <= watched.max() => {
                let event = link.pass.borrow().as_ref()?.reported(id, link.core.shared.clock.now());
                return Some(Box::new(Self { watched, event, copy: Whole::aside(link, length) }));
            }
            Ok(Some(_)) => Unjudged::TooLarge.into(),
            Err(broken) => broken,
        };
        report(link, id, broken);
        None
    }

    /// Looks at what goes on to the client; nothing is held any more when there is no more to see. `ended`: `next` is the
    /// last that comes.
    pub(super) fn look(
        held: &mut Option<Box<Self>>,
        link: &Link,
        next: Option<&Result<Frame<Bytes>, Broken>>,
        ended: bool,
    ) {
        let step = held.as_mut().map_or(Step::More, |watching| watching.step(next, ended));
        if matches!(step, Step::More) {
            return;
        }
        let Some(watching) = held.take() else { return };
        match step {
            Step::More | Step::Lost => {}
            Step::Unjudged(why) => watching.give_up(link, why),
            Step::Whole(only) => {
                let core = Rc::clone(&link.core);
                // The connection's own task goes on first: the client has its answer before anybody judges it.
                tokio::task::spawn_local(async move {
                    let Self { watched, event, copy } = *watching;
                    let broken = match only {
                        Some(only) => watched.judge(&only),
                        None => watched.judge(copy.as_ref()),
                    };
                    core.shared.gate.report_answer(event, broken, core.shared.clock.now());
                });
            }
        }
    }

    fn step(&mut self, next: Option<&Result<Frame<Bytes>, Broken>>, ended: bool) -> Step {
        let piece = match next {
            Some(Err(_)) => return Step::Lost,
            Some(Ok(frame)) => frame.data_ref(),
            None => None,
        };
        // Behind trailers there is no content.
        let Some(piece) = piece else { return Step::Whole(None) };
        if self.copy.len().saturating_add(piece.len()) as u64 > self.watched.max() {
            return Step::Unjudged(Unjudged::TooLarge);
        }
        if ended && self.copy.len() == 0 {
            return Step::Whole(Some(piece.clone()));
        }
        match self.copy.add(piece) {
            Err(_) => Step::Unjudged(Unjudged::NoRoom),
            Ok(()) if ended => Step::Whole(None),
            Ok(()) => Step::More,
        }
    }

    /// Judges content that somebody else has collected.
    pub(super) fn judge(self, link: &Link, content: &[u8]) {
        let shared = &link.core.shared;
        shared.gate.report_answer(self.event, self.watched.judge(content), shared.clock.now());
    }

    /// Nothing can be said of the content.
    pub(super) fn give_up(self, link: &Link, why: Unjudged) {
        let shared = &link.core.shared;
        shared.gate.report_answer(self.event, vec![why.into()], shared.clock.now());
    }
}

/// Tells of a tunnel that is open although no rule speaks of it.
pub(super) fn report_tunnel(link: &Link, id: RequestId) {
    report(link, id, Tunnels::undeclared());
}

fn report(link: &Link, id: RequestId, broken: Violation) {
    let shared = &link.core.shared;
    let now = shared.clock.now();
    if let Some(pass) = &*link.pass.borrow() {
        shared.gate.report_answer(pass.reported(id, now), vec![broken], now);
    }
}
