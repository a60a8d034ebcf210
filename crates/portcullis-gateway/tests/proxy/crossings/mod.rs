//! HTTP/2 with the client, with the upstream and with both: what is promised of requests and answers (H7) holds for every
//! crossing.

mod answers;
mod bodies;
mod heads;
mod hostile;

use crate::support::client::Client;
use crate::support::honest::{VERSIONS, Version};
use crate::support::origin::{Origin, Seen};
use crate::support::origin_http2::Http2Origin;
use crate::support::process::{Gateway, Setup};

/// The host that everybody asks for.
const HOST: &str = "api.example";

/// Which version a client speaks with the gate, and the gate with the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Way {
    client: Version,
    upstream: Version,
}

impl Way {
    /// A path of the upstream that it goes to.
    fn path(self, rest: &str) -> String {
        format!("{}{rest}", if self.upstream == Version::One { "/one" } else { "/two" })
    }
}

/// All of them; the first is the one that has no HTTP/2 in it.
fn ways() -> impl Iterator<Item = Way> {
    VERSIONS.into_iter().flat_map(|client| VERSIONS.into_iter().map(move |upstream| Way { client, upstream }))
}

/// A gate before one API that is asked by HTTP/1.1 below `/one` and by HTTP/2 below `/two`.
struct Crossings {
    origin: Origin,
    http2: Http2Origin,
    gateway: Gateway,
}

impl Crossings {
    fn echo() -> Self {
        Self::before(Origin::echo())
    }

    fn before(origin: Origin) -> Self {
        let http2 = Http2Origin::before(&origin);
        let gateway = Setup::upstream(&format!("http://{}", origin.address))
            .identity("enabled = false")
            .with(&format!(
                "[client]\nh2c = true\n\n[limits]\npreset = \"none\"\n\n\
                 [[upstreams]]\nname = \"two\"\naddresses = [\"{0}\"]\nhttp2 = true\n\n\
                 [[upstreams]]\nname = \"renamed\"\naddresses = [\"{0}\"]\nhttp2 = true\nhost = \"internal.example:81\"\nbase_path = \"/base\"\n\n\
                 [[route]]\nmatch = \"/one/**\"\naccess = \"public\"\n\n\
                 [[route]]\nmatch = \"/two/**\"\naccess = \"public\"\nupstream = \"two\"\n\n\
                 [[route]]\nmatch = \"/renamed/**\"\naccess = \"public\"\nupstream = \"renamed\"\n\n\
                 [[route]]\nmatch = [\"/one/small\", \"/two/small\"]\naccess = \"public\"\nbody = {{ max = \"1KiB\" }}\n",
                http2.address
            ))
            .start();
        Self { origin, http2, gateway }
    }

    fn client(&self, way: Way) -> Client {
        self.gateway.client().by(way.client)
    }

    /// What the upstream of this way was asked last.
    fn seen(&self, way: Way) -> Seen {
        if way.upstream == Version::One { self.origin.last() } else { self.http2.last() }
    }

    /// How many requests came through by HTTP/1.1 and by HTTP/2. The API behind the latter sees those twice.
    fn count(&self) -> (usize, usize) {
        let two = self.http2.requests().len();
        (self.origin.requests().len() - two, two)
    }
}
