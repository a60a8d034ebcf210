//! The client's socket as the HTTP/2 library sees it. It reads along in both directions, because the library answers,
//! remembers and ignores frames without anybody hearing of them.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use h2::Reason;
use portcullis_watch::Http2Flood as Kind;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::super::deadlines::Late;
use super::super::guarded::Transport;
use super::super::link::Link;
use super::flood::Budgets;
use super::frames::{Frame, Frames, flag, kind};

/// The largest frame that a client may send, in bytes (RFC 9113 section 6.5.2).
const LARGEST: usize = 16 * 1024;

/// Bytes that are read at once, so that what is refused was not read in vain for long.
const PIECE: usize = 16 * 1024;

/// Bytes that are read in one turn of the connection: then others have theirs.
const TURN: usize = 64 * 1024;

/// Answers up to this size are copied into one piece before they are written, in bytes.
const GATHERED: usize = 4 * 1024;

/// How many bytes of a client that was told to go are still read, so that it gets to read why.
const LINGER_BYTES: usize = 256 * 1024;

/// DATA frames from which on a window that is opened for them was opened for something, in bytes.
const WORTH: usize = 256;

/// What goes over one connection.
pub(super) struct Traffic {
    pub(super) budgets: Budgets,
    link: Rc<Link>,
    incoming: RefCell<Frames>,
    outgoing: RefCell<Frames>,
    /// The bytes and the frames of the header block that has begun and not ended.
    block: Cell<Option<(usize, usize)>>,
    /// What a header block may have of each.
    max_block: (usize, usize),
    read: Cell<usize>,
}

impl Traffic {
    pub(super) fn new(link: &Rc<Link>) -> Self {
        let head = link.transport.max_head_bytes;
        Self {
            budgets: Budgets::new(link.core.wheel.now(), link.peer_is_trusted),
            link: Rc::clone(link),
            incoming: RefCell::new(Frames::after_preface()),
            outgoing: RefCell::new(Frames::new()),
            block: Cell::new(None),
            max_block: (2 * head, 6 + head / LARGEST),
            read: Cell::new(0),
        }
    }

    /// A turn of the connection begins.
    pub(super) fn begin_turn(&self) {
        self.read.set(0);
        self.budgets.fill(self.link.core.wheel.now());
    }

    fn received(&self, bytes: &[u8]) {
        let mut frames = self.incoming.borrow_mut();
        let mut last = kind::SETTINGS;
        frames.see(bytes, |frame| {
            last = frame.kind;
            self.judge(&frame);
        });
        // The body of a request has a deadline of its own; for anything else that has begun there is this one.
        let waits = self.block.get().is_some() || (frames.is_partial() && last != kind::DATA);
        let deadlines = &self.link.deadlines;
        if waits {
            deadlines.begin(Late::Head, self.link.transport.head_timeout);
        } else {
            deadlines.clear(Late::Head);
        }
    }

    fn judge(&self, frame: &Frame) {
        let budgets = &self.budgets;
        match frame.kind {
            kind::DATA if frame.content() == 0 && !frame.has(flag::END_STREAM) => budgets.spend(Kind::EmptyData),
            kind::DATA => {}
            kind::HEADERS | kind::CONTINUATION => {
                let (bytes, frames) = self.block.get().unwrap_or_default();
                let block = (bytes + frame.length, frames + 1);
                let ends = frame.has(flag::END_HEADERS);
                if block.0 > self.max_block.0 || (!ends && block.1 > self.max_block.1) {
                    budgets.trip(Kind::Continuation);
                }
                self.block.set((!ends).then_some(block));
                if frame.kind == kind::HEADERS {
                    budgets.earn(Kind::WindowUpdate, 2);
                    budgets.earn(Kind::Priority, 2);
                }
            }
            kind::RST_STREAM => budgets.spend(Kind::RapidReset),
            kind::PRIORITY | kind::PRIORITY_UPDATE => budgets.spend(Kind::Priority),
            // There is one answer to our only SETTINGS; it costs nothing, and more of them do.
            kind::SETTINGS => budgets.spend(Kind::Settings),
            kind::PING => budgets.spend(Kind::Ping),
            kind::GOAWAY => budgets.spend(Kind::Goaway),
            kind::WINDOW_UPDATE => budgets.spend(Kind::WindowUpdate),
            // The library closes the connection of a client that promises something.
            kind::PUSH_PROMISE => {}
            _ => budgets.spend(Kind::UnknownFrame),
        }
    }

    fn sent(&self, bytes: &[u8]) {
        let budgets = &self.budgets;
        self.outgoing.borrow_mut().see(bytes, |frame| match frame.kind {
            kind::DATA | kind::HEADERS => {
                let ends = frame.has(flag::END_STREAM);
                if ends {
                    budgets.earn(Kind::RapidReset, 1);
                }
                if ends || frame.kind == kind::HEADERS || frame.length >= WORTH {
                    budgets.earn(Kind::WindowUpdate, 4);
                    budgets.earn(Kind::Ping, 1);
                }
            }
            kind::RST_STREAM => match Reason::from(frame.code()) {
                // These are ours: the answer was complete, or we gave it up.
                Reason::NO_ERROR | Reason::CANCEL | Reason::INTERNAL_ERROR => {}
                Reason::REFUSED_STREAM => budgets.spend(Kind::RefusedStream),
                _ => budgets.spend(Kind::ProvokedReset),
            },
            _ => {}
        });
    }
}

/// A watched socket.
pub(super) struct Watched<I> {
    io: I,
    traffic: Rc<Traffic>,
    shut: bool,
    left: usize,
}

impl<I: Transport> Watched<I> {
    pub(super) const fn new(io: I, traffic: Rc<Traffic>) -> Self {
        Self { io, traffic, shut: false, left: LINGER_BYTES }
    }

    /// A client that takes nothing of what is written to it holds memory and connections to upstreams.
    fn note_write(&self, result: &Poll<io::Result<usize>>) {
        let link = &self.traffic.link;
        if result.is_pending() {
            link.deadlines.begin(Late::ClientWrite, link.transport.body_timeout);
        } else {
            link.deadlines.clear(Late::ClientWrite);
        }
    }
}

impl<I: Transport> AsyncRead for Watched<I> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let traffic = &this.traffic;
        if traffic.budgets.tripped().is_some() {
            // Whatever else it says is not heard. The turn of the connection that asks here looks at this right behind.
            return Poll::Pending;
        }
        if traffic.read.get() >= TURN {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let mut scratch = traffic.link.core.scratch.borrow_mut();
        let room = buf.remaining().min(PIECE);
        let mut view = hyper::rt::ReadBuf::new(&mut scratch[..room]);
        ready!(Pin::new(&mut this.io).poll_read(cx, view.unfilled()))?;
        let bytes = view.filled();
        if !bytes.is_empty() {
            traffic.read.set(traffic.read.get() + bytes.len());
            traffic.received(bytes);
            if traffic.budgets.tripped().is_some() {
                return Poll::Pending;
            }
            buf.put_slice(bytes);
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: Transport> AsyncWrite for Watched<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.note_write(&result);
        if let Poll::Ready(Ok(written)) = result {
            self.traffic.sent(&bytes[..written]);
        }
        result
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    /// Ends our direction first and reads on for a moment: a socket that is closed with unread bytes is reset, and what it
    /// was closed for is lost.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.shut {
            ready!(Pin::new(&mut this.io).poll_flush(cx))?;
            ready!(Pin::new(&mut this.io).poll_shutdown(cx))?;
            this.shut = true;
        }
        while this.left > 0 {
            let mut scratch = this.traffic.link.core.scratch.borrow_mut();
            let mut buffer = hyper::rt::ReadBuf::new(&mut scratch[..PIECE]);
            ready!(Pin::new(&mut this.io).poll_read(cx, buffer.unfilled()))?;
            match buffer.filled().len() {
                0 => break,
                read => this.left = this.left.saturating_sub(read),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let total: usize = bufs.iter().map(|bytes| bytes.len()).sum();
        if total <= GATHERED {
            // Copying a small answer together costs less than the kernel's way of gathering it.
            let traffic = Rc::clone(&this.traffic);
            let mut scratch = traffic.link.core.scratch.borrow_mut();
            let mut end = 0;
            for bytes in bufs {
                scratch[end..end + bytes.len()].copy_from_slice(bytes);
                end += bytes.len();
            }
            return Pin::new(this).poll_write(cx, &scratch[..end]);
        }
        let result = Pin::new(&mut this.io).poll_write_vectored(cx, bufs);
        this.note_write(&result);
        if let Poll::Ready(Ok(mut written)) = result {
            for bytes in bufs {
                let step = written.min(bytes.len());
                this.traffic.sent(&bytes[..step]);
                written -= step;
            }
        }
        result
    }
}
