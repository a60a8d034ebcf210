//! A client of HTTP/2 that sends any frames it likes, and tells which came back.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// SETTINGS_INITIAL_WINDOW_SIZE.
pub(crate) const INITIAL_WINDOW: u16 = 4;

/// The code by which a client is told to calm down.
pub(crate) const CALM: u32 = 11;

/// What every request needs.
pub(crate) const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "api.example")];

/// Fields that are about one connection of HTTP/1.1 (RFC 9113 section 8.2.2): an upstream would obey them.
pub(crate) const OF_THE_CONNECTION: [(&str, &str); 8] = [
    ("transfer-encoding", "chunked"),
    ("connection", "close"),
    ("connection", "x-user-id"),
    ("keep-alive", "timeout=5"),
    ("proxy-connection", "keep-alive"),
    ("upgrade", "websocket"),
    ("te", "gzip"),
    ("te", "trailers, deflate"),
];

/// Fields that would be other ones, or other lines, to whoever reads them as HTTP/1.1, beside a good `:authority` of `a`.
pub(crate) const UNREADABLE: [(&str, &str); 21] = [
    ("x-a", "b\r\nTransfer-Encoding: chunked"),
    ("x-a", "b\nc"),
    ("x-a", "b\rc"),
    ("x-a", "b\0c"),
    ("x-a: b\r\ntransfer-encoding", "chunked"),
    ("transfer-encoding: chunked\r\nx", "y"),
    ("X-Upper", "y"),
    ("x a", "y"),
    ("x:a", "y"),
    ("", "y"),
    (":unknown", "y"),
    (":status", "200"),
    (":protocol", "websocket"),
    ("x-a", " padded"),
    ("x-a", "padded\t"),
    ("host", "other"),
    ("host", "a\r\nX: y"),
    ("content-length", "3, 3"),
    ("content-length", "+3"),
    ("content-length", "-1"),
    ("content-length", ""),
];

/// Heads whose pseudo-header fields would be another request.
pub(crate) const UNREADABLE_PSEUDO: [[(&str, &str); 4]; 18] = [
    [(":method", "GET / HTTP/1.1\r\nHost: b\r\n\r\nGET"), GET[1], GET[2], GET[3]],
    [(":method", "GET /admin"), GET[1], GET[2], GET[3]],
    [(":method", ""), GET[1], GET[2], GET[3]],
    [GET[0], (":scheme", "http://b/admin?"), GET[2], GET[3]],
    [GET[0], (":scheme", "gopher"), GET[2], GET[3]],
    [GET[0], GET[1], (":path", "/ HTTP/1.1\r\nHost: b\r\n\r\nGET /admin"), GET[3]],
    [GET[0], GET[1], (":path", "/a b"), GET[3]],
    [GET[0], GET[1], (":path", "*"), GET[3]],
    [GET[0], GET[1], (":path", "admin"), GET[3]],
    [GET[0], GET[1], (":path", "http://b/admin"), GET[3]],
    [GET[0], GET[1], (":path", ""), GET[3]],
    [GET[0], GET[1], GET[2], (":authority", "a\r\nX: y")],
    [GET[0], GET[1], GET[2], (":authority", "user@a")],
    [GET[0], GET[1], GET[2], (":authority", "a/admin")],
    [GET[0], GET[1], GET[2], (":authority", "")],
    [GET[0], GET[1], GET[2], GET[2]],
    [GET[0], GET[1], GET[1], GET[3]],
    [("x-first", "y"), GET[0], GET[1], GET[2]],
];

/// One frame as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// The error code of a RST_STREAM or GOAWAY.
    pub(crate) fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().expect("four bytes"))
    }
}

/// A connection of raw frames.
#[derive(Debug)]
pub(crate) struct Raw<S = TcpStream> {
    pub(crate) stream: S,
    read: Vec<u8>,
}

impl Raw {
    /// Connects and says the preface.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::with(address, &[])
    }

    /// The same with settings of its own.
    pub(crate) fn with(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let stream = TcpStream::connect(address).expect("the gate listens");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket has time-outs");
        stream.set_write_timeout(Some(Duration::from_secs(10))).expect("a socket has time-outs");
        stream.set_nodelay(true).expect("a socket has options");
        Self::over(stream, settings)
    }

    /// Reads to the end, and sends no more once it was told to go. Returns the code of the last GOAWAY that came.
    pub(crate) fn end(&mut self) -> Option<u32> {
        let mut code = None;
        while let Some(frame) = self.next() {
            if frame.kind == GOAWAY {
                code = Some(frame.code());
                // It has said all that it will.
                let _ = self.stream.shutdown(Shutdown::Write);
            }
        }
        code
    }
}

impl<S: Read + Write> Raw<S> {
    /// Says the preface over a connection that there is.
    pub(crate) fn over(stream: S, settings: &[(u16, u32)]) -> Self {
        let mut raw = Self { stream, read: Vec::new() };
        let mut payload = Vec::new();
        for (name, value) in settings {
            payload.extend_from_slice(&name.to_be_bytes());
            payload.extend_from_slice(&value.to_be_bytes());
        }
        raw.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        raw.frame(SETTINGS, 0, 0, &payload);
        raw
    }

    /// Sends bytes; false where nobody takes them any more.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Sends a frame.
    pub(crate) fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        self.send(&frame(kind, flags, stream, payload))
    }

    /// Sends a head.
    pub(crate) fn head(&mut self, stream: u32, fields: &[(&str, &str)], ends: bool) -> bool {
        let flags = END_HEADERS | if ends { END_STREAM } else { 0 };
        self.frame(HEADERS, flags, stream, &block(fields))
    }

    /// The next frame; `None` at the end.
    pub(crate) fn next(&mut self) -> Option<Frame> {
        let mut buffer = [0; 16 * 1024];
        loop {
            if let Some(head) = self.read.first_chunk::<9>() {
                let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
                if self.read.len() >= 9 + length {
                    let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
                    let (kind, flags) = (head[3], head[4]);
                    let rest = self.read.split_off(9 + length);
                    let payload = std::mem::replace(&mut self.read, rest).split_off(9);
                    return Some(Frame { kind, flags, stream, payload });
                }
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(read) => self.read.extend_from_slice(&buffer[..read]),
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof) => {
                    return None;
                }
                Err(error) => panic!("no frame: {error}"),
            }
        }
    }

    /// Reads until there is such a frame.
    pub(crate) fn until(&mut self, what: &str, is_it: impl Fn(&Frame) -> bool) -> Frame {
        let mut seen = Vec::new();
        while let Some(frame) = self.next() {
            if is_it(&frame) {
                return frame;
            }
            seen.push((frame.kind, frame.flags, frame.stream, frame.payload.len()));
        }
        panic!("the end came before {what}: {seen:?}");
    }

    /// Reads until a stream is reset, and tells the code.
    pub(crate) fn reset(&mut self, stream: u32) -> u32 {
        self.until("a reset", |frame| frame.kind == RST_STREAM && frame.stream == stream).code()
    }

    /// Reads until a stream is answered with a head.
    pub(crate) fn answered(&mut self, stream: u32) -> Frame {
        self.until("an answer", |frame| frame.kind == HEADERS && frame.stream == stream)
    }
}

/// A frame as bytes.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a frame is short").to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// A header block that neither indexes nor compresses anything (RFC 7541 section 6.2.2).
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        literal(&mut block, 0, name.as_bytes(), value.as_bytes());
    }
    block
}

/// One field with a name of its own; the first byte says whether it is remembered.
pub(crate) fn literal(block: &mut Vec<u8>, first: u8, name: &[u8], value: &[u8]) {
    block.push(first);
    for text in [name, value] {
        length(block, text.len());
        block.extend_from_slice(text);
    }
}

/// An integer with a prefix of seven bits (RFC 7541 section 5.1).
fn length(block: &mut Vec<u8>, length: usize) {
    let Some(mut rest) = length.checked_sub(127) else {
        block.push(u8::try_from(length).expect("below 127"));
        return;
    };
    block.push(127);
    while rest >= 128 {
        block.push(u8::try_from(rest % 128).expect("below 128") | 128);
        rest /= 128;
    }
    block.push(u8::try_from(rest).expect("below 128"));
}
