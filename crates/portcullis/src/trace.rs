//! What the gate thought at each stage, for `explain`.

/// The stages of the pipeline, in the order in which they decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The path in its one spelling.
    Path,
    /// The client's address.
    Client,
    /// The list of blocked addresses.
    Blocklist,
    /// The route.
    Route,
    /// Limits that are charged before anyone is authenticated.
    LimitsBefore,
    /// Who it is.
    Authenticate,
    /// Limits by identity, or for nobody.
    LimitsAfter,
    /// What that one may do.
    Permit,
    /// The rules for body and response.
    Shape,
}

impl Stage {
    /// The stage in a word or two.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Client => "client",
            Self::Blocklist => "blocklist",
            Self::Route => "route",
            Self::LimitsBefore => "limits before login",
            Self::Authenticate => "authenticate",
            Self::LimitsAfter => "limits",
            Self::Permit => "permit",
            Self::Shape => "shape",
        }
    }
}

/// Listens to the gate while it decides. The gate is generic over it, so that nobody listening costs nothing.
pub trait Trace {
    /// Takes one remark; the text is only made when somebody listens.
    fn remark(&mut self, stage: Stage, text: impl FnOnce() -> String);
}

/// Nobody listens.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Trace for Silent {
    #[inline]
    fn remark(&mut self, _: Stage, _: impl FnOnce() -> String) {}
}

/// Collects the remarks in order.
impl Trace for Vec<(Stage, String)> {
    fn remark(&mut self, stage: Stage, text: impl FnOnce() -> String) {
        self.push((stage, text()));
    }
}
