//! An upstream of HTTP/2 that is made of frames: it says exactly what a test wants, whether or not that is allowed.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// `:status: 200` by its place in the static table (RFC 7541 appendix A).
pub(crate) const OK: &[u8] = &[0x88];

/// One connection of a client.
pub(crate) struct Frames {
    stream: TcpStream,
}

/// One frame.
#[derive(Debug)]
pub(crate) struct FrameOf {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) id: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frames {
    pub(crate) fn send(&mut self, kind: u8, flags: u8, id: u32, payload: &[u8]) -> io::Result<()> {
        let length = u32::try_from(payload.len()).expect("a payload of a frame is short").to_be_bytes();
        let mut bytes = vec![length[1], length[2], length[3], kind, flags];
        bytes.extend_from_slice(&id.to_be_bytes());
        bytes.extend_from_slice(payload);
        self.stream.write_all(&bytes)
    }

    /// A whole answer.
    pub(crate) fn answer(&mut self, id: u32, body: &[u8]) -> io::Result<()> {
        self.send(HEADERS, END_HEADERS, id, OK)?;
        // No frame is longer than the gate allows (RFC 9113 section 4.2).
        for piece in body.chunks(16_384) {
            self.send(DATA, 0, id, piece)?;
        }
        self.send(DATA, END_STREAM, id, &[])
    }

    /// The end of a stream for this reason.
    pub(crate) fn reset(&mut self, id: u32, code: u32) -> io::Result<()> {
        self.send(RST_STREAM, 0, id, &code.to_be_bytes())
    }

    /// The end of the connection: streams up to `last` are still worked on.
    pub(crate) fn go_away(&mut self, last: u32, code: u32) -> io::Result<()> {
        let payload = [last.to_be_bytes(), code.to_be_bytes()].concat();
        self.send(GOAWAY, 0, 0, &payload)
    }

    /// The next frame that is not about the connection itself.
    pub(crate) fn next(&mut self) -> io::Result<FrameOf> {
        loop {
            let frame = self.frame()?;
            if matches!(frame.kind, DATA | HEADERS | RST_STREAM | GOAWAY) {
                return Ok(frame);
            }
        }
    }

    /// The next frame, whatever it is; what is about the connection is answered.
    pub(crate) fn frame(&mut self) -> io::Result<FrameOf> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head)?;
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload)?;
        let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
        let frame = FrameOf { kind: head[3], flags: head[4], id, payload };
        match frame.kind {
            SETTINGS if frame.flags & ACK == 0 => self.send(SETTINGS, ACK, 0, &[])?,
            PING if frame.flags & ACK == 0 => self.send(PING, ACK, 0, &frame.payload)?,
            _ => {}
        }
        Ok(frame)
    }

    /// The next request without a body, if one begins within this time.
    pub(crate) fn request_within(&mut self, patience: Duration) -> io::Result<Option<u32>> {
        let usual = self.stream.read_timeout()?;
        self.stream.set_read_timeout(Some(patience))?;
        let here = self.stream.peek(&mut [0]);
        self.stream.set_read_timeout(usual)?;
        match here {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {
                let frame = self.frame()?;
                Ok((frame.kind == HEADERS).then_some(frame.id))
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The next whole request: its stream and its body.
    pub(crate) fn request(&mut self) -> io::Result<(u32, Vec<u8>)> {
        let mut body = Vec::new();
        loop {
            let frame = self.next()?;
            if frame.kind == DATA && !frame.payload.is_empty() {
                body.extend_from_slice(&frame.payload);
                let room = u32::try_from(frame.payload.len()).expect("a frame is short").to_be_bytes();
                self.send(WINDOW_UPDATE, 0, 0, &room)?;
                self.send(WINDOW_UPDATE, 0, frame.id, &room)?;
            }
            if matches!(frame.kind, DATA | HEADERS) && frame.flags & END_STREAM != 0 {
                return Ok((frame.id, body));
            }
        }
    }
}

/// Starts an upstream that runs this script for each connection, which it numbers from zero.
pub(crate) fn upstream(script: impl Fn(usize, &mut Frames) -> io::Result<()> + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = listener.local_addr().expect("a bound socket has an address");
    let script = Arc::new(script);
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().map_while(Result::ok).enumerate() {
            let script = Arc::clone(&script);
            std::thread::spawn(move || {
                let mut frames = Frames { stream };
                let _ = frames.stream.set_nodelay(true);
                let _ = frames.stream.set_read_timeout(Some(Duration::from_secs(20)));
                let mut preface = [0; 24];
                if frames.stream.read_exact(&mut preface).is_ok() && frames.send(SETTINGS, 0, 0, &[]).is_ok() {
                    // A connection that the gate ends is no failure of the script.
                    let _ = script(number, &mut frames);
                }
            });
        }
    });
    address
}
