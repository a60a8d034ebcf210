//! The client's socket as hyper sees it: it tells the link what happens, and keeps hyper's bare error answers back, so
//! that the gate can give a complete one with every header an answer carries (H1).

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};

use super::deadlines::Late;
use super::link::Link;

/// Answers up to this size are copied into one piece before they are written, in bytes. The core's buffer is larger.
const GATHERED: usize = 4 * 1024;

/// A connection's bytes. Anything that hyper can read and write can be served; a real socket can also be cut off.
pub(crate) trait Transport: Read + Write + Unpin {
    /// Makes the end of the connection look like the failure it is: a close-delimited answer that broke off must not
    /// look complete.
    fn cut_off(&self) {}
}

impl Transport for hyper_util::rt::TokioIo<tokio::net::TcpStream> {
    fn cut_off(&self) {
        // If it fails the socket is gone already.
        let _ = self.inner().set_zero_linger();
    }
}

impl Transport for hyper_util::rt::TokioIo<tokio_rustls::server::TlsStream<tokio::net::TcpStream>> {
    /// Without the alert that says that all has been sent (RFC 8446 §6.1), and without a proper end of the connection below.
    fn cut_off(&self) {
        let _ = self.inner().get_ref().0.set_zero_linger();
    }
}

/// A watched transport.
pub(crate) struct Guarded<I> {
    io: I,
    link: Rc<Link>,
}

impl<I: Transport> Guarded<I> {
    pub(crate) const fn new(io: I, link: Rc<Link>) -> Self {
        Self { io, link }
    }

    pub(crate) fn into_inner(self) -> I {
        self.io
    }

    /// A client that takes nothing of what is written to it holds memory and an upstream connection.
    fn note_write<T>(&self, result: Poll<T>) -> Poll<T> {
        let deadlines = &self.link.deadlines;
        if result.is_pending() {
            deadlines.begin(Late::ClientWrite, self.link.transport.body_timeout);
        } else {
            deadlines.clear(Late::ClientWrite);
        }
        result
    }
}

impl<I: Transport> Read for Guarded<I> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, mut buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        // hyper's cursor shows what was read to nobody without unsafe code. A copy through the core's own buffer costs
        // nothing that can be measured for a head, and little for a body.
        let mut scratch = this.link.core.scratch.borrow_mut();
        let room = buf.remaining().min(scratch.len());
        let mut view = ReadBuf::new(&mut scratch[..room]);
        ready!(Pin::new(&mut this.io).poll_read(cx, view.unfilled()))?;
        if !view.filled().is_empty() {
            this.link.bytes_read(view.filled());
            buf.put_slice(view.filled());
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: Transport> Write for Guarded<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.link.writes_unasked() {
            self.link.swallow(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        let result = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.note_write(result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        self.link.flushed();
        Poll::Ready(Ok(()))
    }

    /// Only flushes: whether and how the connection is closed is decided when hyper has let go of it.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.link.writes_unasked() {
            for bytes in bufs {
                self.link.swallow(bytes);
            }
            return Poll::Ready(Ok(bufs.iter().map(|bytes| bytes.len()).sum()));
        }
        let total: usize = bufs.iter().map(|bytes| bytes.len()).sum();
        let this = &mut *self;
        let result = match bufs {
            [bytes] => Pin::new(&mut this.io).poll_write(cx, bytes),
            // Copying a small answer together costs less than the kernel's way of gathering it.
            _ if total <= GATHERED => {
                let mut scratch = this.link.core.scratch.borrow_mut();
                let mut end = 0;
                for bytes in bufs {
                    scratch[end..end + bytes.len()].copy_from_slice(bytes);
                    end += bytes.len();
                }
                Pin::new(&mut this.io).poll_write(cx, &scratch[..end])
            }
            _ => Pin::new(&mut this.io).poll_write_vectored(cx, bufs),
        };
        self.note_write(result)
    }
}
