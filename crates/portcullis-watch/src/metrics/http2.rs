//! What a client of HTTP/2 did too much of.

/// Why a connection of HTTP/2 was closed on a client that asked for more than it was served. The words of
/// [`Http2Flood::as_str`] are stable: they are labels and reasons of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Http2Flood {
    /// Requests that were given up as fast as they were made (CVE-2023-44487).
    RapidReset,
    /// Faults by which the server is made to reset streams (CVE-2025-8671).
    ProvokedReset,
    /// Streams beyond the number that is allowed.
    RefusedStream,
    /// A header block that does not end or is too large (CVE-2024-27316).
    Continuation,
    /// DATA frames without content (CVE-2019-9518).
    EmptyData,
    /// SETTINGS that have to be acknowledged (CVE-2019-9515).
    Settings,
    /// PINGs that have to be answered (CVE-2019-9512).
    Ping,
    /// Priorities that change all the time (CVE-2019-9513).
    Priority,
    /// Windows that are opened byte by byte (CVE-2019-9511).
    WindowUpdate,
    /// Answers for which no room is made in their streams (CVE-2019-9517).
    ZeroWindow,
    /// Frames of a kind that nobody knows.
    UnknownFrame,
    /// GOAWAY again and again.
    Goaway,
    /// What the HTTP library itself found to be too much.
    Library,
}

impl Http2Flood {
    /// Every kind.
    pub const ALL: [Self; 13] = [
        Self::RapidReset,
        Self::ProvokedReset,
        Self::RefusedStream,
        Self::Continuation,
        Self::EmptyData,
        Self::Settings,
        Self::Ping,
        Self::Priority,
        Self::WindowUpdate,
        Self::ZeroWindow,
        Self::UnknownFrame,
        Self::Goaway,
        Self::Library,
    ];

    /// The value of the label `kind`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RapidReset => "rapid_reset",
            Self::ProvokedReset => "provoked_reset",
            Self::RefusedStream => "refused_stream",
            Self::Continuation => "continuation",
            Self::EmptyData => "empty_data",
            Self::Settings => "settings",
            Self::Ping => "ping",
            Self::Priority => "priority",
            Self::WindowUpdate => "window_update",
            Self::ZeroWindow => "zero_window",
            Self::UnknownFrame => "unknown_frame",
            Self::Goaway => "goaway",
            Self::Library => "library",
        }
    }
}
