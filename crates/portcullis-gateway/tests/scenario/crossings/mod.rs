//! What is decided about requests and answers is the same whichever versions of HTTP they come and go by: every question here is
//! asked by HTTP/1.1 and by HTTP/2, of an API that speaks the one and the other, and all of them are told the same.

mod answers;
mod browsers;
mod contents;

use crate::support::client::{Client, Reply};
use crate::support::honest::VERSIONS;
use crate::support::origin::{Origin, Seen};
use crate::support::origin_http2::Http2Origin;
use crate::support::process::{Gateway, Setup};

/// Where the paths of the upstream that speaks HTTP/1.1 begin, and of the one that speaks HTTP/2.
const SIDES: [(&str, &str); 2] = [("/one", "default"), ("/two", "two")];

/// A gate before one API that is asked by both versions.
struct Crossings {
    origin: Origin,
    http2: Http2Origin,
    gateway: Gateway,
}

impl Crossings {
    /// With these routes for each of its sides: `<at>` is where a path begins, and the upstream is written in.
    fn before(origin: Origin, routes: &str, more: &str) -> Self {
        Self::with(origin, routes, more, |setup| setup)
    }

    fn with(origin: Origin, routes: &str, more: &str, change: impl FnOnce(Setup) -> Setup) -> Self {
        let http2 = Http2Origin::before(&origin);
        let sides = SIDES.map(|(at, name)| {
            let upstream = format!("[[route]]\nupstream = \"{name}\"");
            routes.replace("<at>", at).replace("[[route]]", &upstream)
        });
        let two = format!("[[upstreams]]\nname = \"two\"\naddresses = [\"{}\"]\nhttp2 = true\n", http2.address);
        let setup = Setup::before(&origin).with("[client]\nh2c = true\n\n[limits]\npreset = \"none\"\n").with(&two);
        let gateway = change(setup.with(more).with(&sides.concat())).start();
        Self { origin, http2, gateway }
    }

    /// Asks the same question in every way. Returns what all of them were told.
    #[track_caller]
    fn ask(&self, what: &str, question: impl Fn(&Client, &str) -> Reply) -> Reply {
        let mut first: Option<Reply> = None;
        for (at, _) in SIDES {
            for version in VERSIONS {
                let reply = question(&self.gateway.client().by(version), at);
                match &first {
                    None => first = Some(reply),
                    Some(first) => assert_eq!(told(&reply), told(first), "{what}: HTTP/{version:?} to {at}"),
                }
            }
        }
        first.expect("there are four ways")
    }

    /// How many requests have come to the API, by both versions together.
    fn count(&self) -> usize {
        self.origin.requests().len()
    }

    /// What it was asked last by the version of this side.
    fn last(&self, at: &str) -> Seen {
        let requests = if at == "/one" { self.origin.requests() } else { self.http2.requests() };
        requests.into_iter().rev().find(|seen| seen.target.starts_with(at)).expect("the API was asked")
    }
}

/// All that a reply says but what differs between any two, and what is about the way.
fn told(reply: &Reply) -> (u16, Vec<(String, String)>, String) {
    let differs = |name: &str| {
        ["date", "x-request-id", "via", "connection", "keep-alive", "transfer-encoding"].contains(&name)
            || name.starts_with("x-ratelimit-")
    };
    let plain = |text: &str| text.replace("/two", "/one");
    let mut headers: Vec<_> = reply.headers.iter().filter(|(name, _)| !differs(name)).cloned().collect();
    for (name, value) in &mut headers {
        // A new token is another one each time.
        *value =
            if name == "set-cookie" { value.split('=').next().unwrap_or_default().to_owned() } else { plain(value) };
    }
    headers.sort();
    let id = reply.header("x-request-id").unwrap_or("none");
    (reply.status, headers, plain(&reply.text().replace(id, "ID")))
}
