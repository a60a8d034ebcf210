//! Short texts on the way of every request.

use std::fmt;

use smallvec::SmallVec;

/// A text that is mostly short, written without an allocation.
#[derive(Default)]
pub(crate) struct Text(SmallVec<[u8; 64]>);

impl Text {
    pub(crate) fn as_str(&self) -> &str {
        // Only whole strings are ever written.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}
