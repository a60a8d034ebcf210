//! By what a limit counts a request.

use std::fmt;
use std::fmt::Write as _;
use std::sync::Arc;

use http::HeaderName;
use http::request::Parts;
use portcullis_core::AddressKey;

use crate::key::Key;
use crate::text::Text;

/// What a limit counts a request by: a part of its key.
///
/// A request that lacks a part (no such header, nobody logged in) is counted by its client's address in that place, so that
/// leaving something out is never a way around the limit. Its text may be of any length: long ones are hashed.
#[derive(Clone)]
pub struct By(Part);

#[derive(Clone)]
enum Part {
    Everyone,
    Address,
    Header(HeaderName),
    Extension(Writer),
    Function(Reader),
}

/// Writes what an extension of the request says; `None` where it has none.
type Writer = Arc<dyn Fn(&Parts, &mut Text) -> Option<()> + Send + Sync>;
/// Reads a part off the request.
type Reader = Arc<dyn Fn(&Parts) -> Option<String> + Send + Sync>;

impl By {
    /// The client's address: one of IPv4, or one network of IPv6 ([`LimitLayer::ipv6_prefix`](super::LimitLayer::ipv6_prefix)).
    /// What a limit counts by that is told nothing else.
    #[must_use]
    pub const fn address() -> Self {
        Self(Part::Address)
    }

    /// Nothing: all requests are counted together. Whoever spends such a limit spends it for everyone; it shields what is
    /// behind it, and nobody from anybody.
    #[must_use]
    pub const fn everyone() -> Self {
        Self(Part::Everyone)
    }

    /// An extension of the request that tells one caller from another, such as the user's id that the layer which
    /// authenticates has put there (a layer around this one: in axum, one that is added after it). Two values are the same
    /// caller if they are displayed alike.
    #[must_use]
    pub fn extension<T>() -> Self
    where
        T: fmt::Display + Send + Sync + 'static,
    {
        Self(Part::Extension(Arc::new(|request, text| {
            // What cannot display itself is as good as absent.
            write!(text, "{}", request.extensions.get::<T>()?).ok()
        })))
    }

    /// A header's (first) value **that nobody has verified**. Whoever makes up a new value for each request gets a new
    /// allowance with each, so it bounds only those who play by the rules: put a limit by address beside it in the same
    /// layer, or have the key verified first and count by [`By::extension`].
    #[must_use]
    pub const fn unverified_header(name: HeaderName) -> Self {
        Self(Part::Header(name))
    }

    /// Whatever the function reads off the request's head; `None` stands for a request that lacks the part. What is said of
    /// [`By::unverified_header`] goes for everything that a client chooses freely.
    #[must_use]
    pub fn function(read: impl Fn(&Parts) -> Option<String> + Send + Sync + 'static) -> Self {
        Self(Part::Function(Arc::new(read)))
    }

    /// Adds the part to a key. `address` is asked where it is needed; `None` where it is needed and not known.
    pub(super) fn push(
        &self,
        key: &mut Key,
        request: &Parts,
        address: &mut impl FnMut() -> Option<AddressKey>,
    ) -> Option<()> {
        let found = match &self.0 {
            Part::Everyone => Some(()),
            Part::Address => None,
            Part::Header(name) => request.headers.get(name).and_then(|value| {
                key.push_text('h', value.to_str().ok().filter(|text| !text.is_empty())?);
                Some(())
            }),
            Part::Extension(write) => {
                let mut text = Text::default();
                write(request, &mut text).map(|()| key.push_text('e', text.as_str()))
            }
            Part::Function(read) => read(request).map(|text| key.push_text('f', &text)),
        };
        match found {
            Some(()) => Some(()),
            None => address().map(|address| key.push_address(address)),
        }
    }
}

impl fmt::Debug for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Part::Everyone => f.write_str("everyone"),
            Part::Address => f.write_str("address"),
            Part::Header(name) => write!(f, "header:{name}"),
            Part::Extension(_) => f.write_str("extension"),
            Part::Function(_) => f.write_str("function"),
        }
    }
}
