//! Reads along which frames go over a connection, by their nine bytes of head. What they carry is the HTTP library's.

/// The bytes that a client begins with (RFC 9113 section 3.4).
pub(crate) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The kinds of frames by their number (RFC 9113 section 6, RFC 9218 section 7.1).
pub(super) mod kind {
    pub(crate) const DATA: u8 = 0x0;
    pub(crate) const HEADERS: u8 = 0x1;
    pub(crate) const PRIORITY: u8 = 0x2;
    pub(crate) const RST_STREAM: u8 = 0x3;
    pub(crate) const SETTINGS: u8 = 0x4;
    pub(crate) const PUSH_PROMISE: u8 = 0x5;
    pub(crate) const PING: u8 = 0x6;
    pub(crate) const GOAWAY: u8 = 0x7;
    pub(crate) const WINDOW_UPDATE: u8 = 0x8;
    pub(crate) const CONTINUATION: u8 = 0x9;
    pub(crate) const PRIORITY_UPDATE: u8 = 0x10;
}

/// The flags that matter here.
pub(super) mod flag {
    /// On DATA and HEADERS.
    pub(crate) const END_STREAM: u8 = 0x1;
    /// On HEADERS and CONTINUATION.
    pub(crate) const END_HEADERS: u8 = 0x4;
    /// On DATA and HEADERS.
    pub(crate) const PADDED: u8 = 0x8;
}

/// The head of a frame, and of what it carries the first bytes where they say how it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    /// Bytes behind the head.
    pub(super) length: usize,
    /// The first four of them for RST_STREAM; the first one for padded DATA.
    pub(super) start: [u8; 4],
}

impl Frame {
    pub(super) const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Bytes of content in a DATA frame: padding is none (RFC 9113 section 6.1).
    pub(super) const fn content(&self) -> usize {
        if self.has(flag::PADDED) { self.length.saturating_sub(1 + self.start[0] as usize) } else { self.length }
    }

    /// The code of a RST_STREAM frame.
    pub(super) const fn code(&self) -> u32 {
        u32::from_be_bytes(self.start)
    }
}

const HEAD: usize = 9;

/// One direction of a connection.
#[derive(Debug)]
pub(super) struct Frames {
    /// Bytes that belong to no frame or to the rest of one.
    skip: usize,
    /// The head that is being gathered, and the start of what it carries.
    head: [u8; HEAD + 4],
    gathered: usize,
}

impl Frames {
    /// The direction in which the preface goes first.
    pub(super) const fn after_preface() -> Self {
        Self { skip: PREFACE.len(), head: [0; HEAD + 4], gathered: 0 }
    }

    /// The other direction.
    pub(super) const fn new() -> Self {
        Self { skip: 0, head: [0; HEAD + 4], gathered: 0 }
    }

    /// Whether part of a frame has come and part of it has not.
    pub(super) const fn is_partial(&self) -> bool {
        self.skip > 0 || self.gathered > 0
    }

    /// How many bytes of the present frame's start are looked at beside its head.
    fn wanted(&self) -> usize {
        let length = usize::from(self.head[0]) << 16 | usize::from(self.head[1]) << 8 | usize::from(self.head[2]);
        let start = match self.head[3] {
            kind::RST_STREAM => 4,
            kind::DATA if self.head[4] & flag::PADDED != 0 => 1,
            _ => 0,
        };
        start.min(length)
    }

    /// Reads along; every frame is told once its head has gone by.
    pub(super) fn see(&mut self, mut bytes: &[u8], mut tell: impl FnMut(Frame)) {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let step = self.skip.min(bytes.len());
                self.skip -= step;
                bytes = &bytes[step..];
                continue;
            }
            let whole = if self.gathered < HEAD { HEAD } else { HEAD + self.wanted() };
            let step = (whole - self.gathered).min(bytes.len());
            self.head[self.gathered..self.gathered + step].copy_from_slice(&bytes[..step]);
            self.gathered += step;
            bytes = &bytes[step..];
            if self.gathered < HEAD || self.gathered < HEAD + self.wanted() {
                continue;
            }
            let [a, b, c, kind, flags, .., d, e, f, g] = self.head;
            let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
            let start = self.wanted();
            let known = [d, e, f, g].map(|byte| byte);
            let frame = Frame { kind, flags, length, start: if start == 0 { [0; 4] } else { known } };
            self.skip = length - start;
            self.gathered = 0;
            tell(frame);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(pieces: &[&[u8]]) -> Vec<Frame> {
        let mut frames = Frames::after_preface();
        let mut seen = Vec::new();
        for piece in pieces {
            frames.see(piece, |frame| seen.push(frame));
        }
        assert!(!frames.is_partial());
        seen
    }

    #[test]
    fn frames_are_told_the_same_however_the_bytes_are_cut() {
        let mut bytes = PREFACE.to_vec();
        bytes.extend_from_slice(&[0, 0, 0, 4, 0, 0, 0, 0, 0]);
        bytes.extend_from_slice(&[0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 8]);
        bytes.extend_from_slice(&[0, 0, 6, 0, 9, 0, 0, 0, 3, 5, 1, 1, 1, 1, 1]);
        bytes.extend_from_slice(&[0, 0, 3, 0x0c, 0, 0, 0, 0, 0, 9, 9, 9]);
        let whole = seen(&[&bytes]);
        assert_eq!(whole.iter().map(|frame| frame.kind).collect::<Vec<_>>(), [4, 3, 0, 0x0c]);
        assert_eq!(whole[1].code(), 8);
        assert_eq!((whole[2].length, whole[2].content()), (6, 0));
        for cut in 1..bytes.len() {
            assert_eq!(seen(&[&bytes[..cut], &bytes[cut..]]), whole, "{cut}");
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(seen(&single), whole);
    }
}
