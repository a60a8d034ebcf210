//! The workloads: what is set up, what is asked, and how it must be answered.

use std::fmt::Write as _;
use std::path::Path;

use super::measure::Sample;
use super::peer::Setup;

/// One line of the tables.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    /// The short name, which `--only` takes.
    pub(crate) id: &'static str,
    /// What it measures.
    pub(crate) title: &'static str,
    pub(crate) setup: Setup,
    pub(crate) traffic: Traffic,
    pub(crate) connections: u32,
    /// Whether every round starts the proxy anew, so that it remembers nothing.
    pub(crate) fresh: bool,
    /// Whether `--quick` measures it.
    pub(crate) quick: bool,
    /// What is special about it; only Portcullis is measured then.
    pub(crate) special: Option<Special>,
}

/// A defended setup of ours that differs from what the other proxies are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Special {
    /// A thousand routes.
    Routes,
    /// HMAC tokens of a thousand users, nobody else ever seen; room for a million remembered tokens.
    FewUsers,
    /// The same, after a million users have been seen: each has a counted limit and a remembered token.
    ManyUsers,
}

/// The requests of a workload.
#[derive(Clone, Debug)]
pub(crate) enum Traffic {
    /// `GET /api/item` without a credential.
    Get,
    /// The same, each request on a connection of its own.
    Churn,
    /// `GET /api/large`, 100 KiB.
    Large,
    /// `POST /api/item` with 10 KiB.
    Post,
    /// `POST /auth/login` with a small JSON body.
    Login,
    /// `GET /api/item` with more tokens than `wrk` can hold, from anywhere among them on.
    Many,
    /// The same, from the first of them on.
    Every,
}

impl Work {
    /// All of them, in the order of the tables.
    pub(crate) fn all() -> Vec<Self> {
        let work = |id, title, setup, traffic, connections| Self {
            id,
            title,
            setup,
            traffic,
            connections,
            fresh: false,
            quick: true,
            special: None,
        };
        let (bare, defended) = (Setup::Bare, Setup::Defended);
        let slow = |work: Self| Self { quick: false, ..work };
        let fresh = |work: Self| Self { fresh: true, ..work };
        let special = |special, work: Self| Self { special: Some(special), quick: false, ..work };
        vec![
            work("W1", "bare proxying, GET, 32 connections", bare, Traffic::Get, 32),
            work("W2", "full defence, 1,000 users' tokens, all known (warm)", defended, Traffic::Get, 32),
            fresh(work("W2-cold", "full defence, every token seen once", defended, Traffic::Get, 32)),
            work("W3", "login flood, almost all refused", Setup::Flood, Traffic::Login, 32),
            work("W4-post", "POST 10 KiB, bare", bare, Traffic::Post, 32),
            slow(work("W4-post-def", "POST 10 KiB, full defence", defended, Traffic::Post, 32)),
            work("W4-get", "GET 100 KiB, bare", bare, Traffic::Large, 32),
            slow(work("W4-get-def", "GET 100 KiB, full defence", defended, Traffic::Large, 32)),
            slow(work("W5-1", "full defence, 1 connection", defended, Traffic::Get, 1)),
            slow(work("W5-256", "full defence, 256 connections", defended, Traffic::Get, 256)),
            slow(work("W5-2000", "full defence, 2,000 connections", defended, Traffic::Get, 2_000)),
            slow(work("W5-churn", "full defence, one request per connection", defended, Traffic::Churn, 32)),
            special(Special::Routes, work("W6-routes", "full defence with 1,000 routes", defended, Traffic::Get, 32)),
            special(
                Special::FewUsers,
                work("W6-base", "HMAC tokens, 1,000 users known and active", defended, Traffic::Get, 32),
            ),
            special(
                Special::ManyUsers,
                work("W6-users", "the same 1,000 active among 1 million known", defended, Traffic::Get, 32),
            ),
            special(
                Special::ManyUsers,
                work("W6-active", "1 million known and active (token cache: 1.1 million)", defended, Traffic::Many, 32),
            ),
        ]
    }

    /// A sample as one line of the running report.
    pub(crate) fn line(&self, sample: &Sample) -> String {
        format!(
            "{:>8.1} µs{:>10.0}/s{:>8.0} µs{:>9.0} µs{:>7.0} MiB{:>7}",
            sample.cpu,
            sample.per_second,
            sample.p50,
            sample.p99,
            sample.memory,
            self.unexpected(sample)
        )
    }

    /// How many answers were not what the workload is about.
    pub(crate) fn unexpected(&self, sample: &Sample) -> u64 {
        match self.traffic {
            // The quota lets a few logins through, which fail as they should.
            Traffic::Login => sample.broken + (sample.requests - sample.refused.min(sample.requests)),
            // Every answer closes its connection, which `wrk` may count as an error of reading.
            Traffic::Churn => sample.refused,
            _ => sample.broken + sample.refused,
        }
    }
}

/// What makes the requests: a script for `wrk`.
#[derive(Debug)]
pub(crate) struct Script<'a> {
    pub(crate) traffic: &'a Traffic,
    /// The tokens to take in turn, one in a line; none for requests without a credential.
    pub(crate) tokens: Option<&'a Path>,
    pub(crate) host: String,
}

impl Script<'_> {
    /// The path that the traffic asks for.
    pub(crate) fn path(&self) -> &'static str {
        match self.traffic {
            Traffic::Get | Traffic::Churn | Traffic::Post | Traffic::Many | Traffic::Every => "/api/item",
            Traffic::Large => "/api/large",
            Traffic::Login => "/auth/login",
        }
    }

    /// The text of the script. Requests are made before the clock runs, so that making them costs as little as it can.
    pub(crate) fn text(&self) -> String {
        let (method, body, kind) = match self.traffic {
            Traffic::Get | Traffic::Churn | Traffic::Large | Traffic::Many | Traffic::Every => {
                ("GET", String::new(), "")
            }
            Traffic::Post => ("POST", "x".repeat(10 * 1024), "application/octet-stream"),
            Traffic::Login => (
                "POST",
                r#"{"email":"somebody@example.com","password":"Wrong-password-1"}"#.to_owned(),
                "application/json",
            ),
        };
        let mut head = format!("{method} {} HTTP/1.1\\r\\nHost: {}\\r\\n", self.path(), self.host);
        if !body.is_empty() {
            let _ = write!(head, "Content-Type: {kind}\\r\\nContent-Length: {}\\r\\n", body.len());
        }
        if matches!(self.traffic, Traffic::Churn) {
            head.push_str("Connection: close\\r\\n");
        }
        let body = body.replace('"', "\\\"");
        let Some(tokens) = self.tokens else {
            return format!("local text = \"{head}\\r\\n{body}\"\nfunction request() return text end\n{DONE}");
        };
        let source = match self.traffic {
            Traffic::Many => format!("local anywhere = true\n{MANY}"),
            Traffic::Every => format!("local anywhere = false\n{MANY}"),
            _ => FEW.to_owned(),
        };
        format!(
            "local head, tail = \"{head}Authorization: Bearer \", \"\\r\\n\\r\\n{body}\"\nlocal path = \"{}\"\n{source}{DONE}",
            tokens.display(),
        )
    }
}

/// All requests are made at the start.
const FEW: &str = "\
local made, next = {}, 0
function init()
  for line in io.lines(path) do made[#made + 1] = head .. line .. tail end
end
function request()
  next = next % #made + 1
  return made[next]
end
";

/// Tokens are read as the run goes. All lines are equally long, so that a run can begin at any of them.
const MANY: &str = "\
local file
function init()
  file = io.open(path)
  local length = #file:read('*l') + 1
  math.randomseed(os.time())
  local count = file:seek('end') / length
  file:seek('set', anywhere and math.random(0, count - 1) * length or 0)
end
function request()
  local line = file:read('*l')
  if not line then
    file:seek('set')
    line = file:read('*l')
  end
  return head .. line .. tail
end
";

/// Prints what the run counted as one line of JSON: times in microseconds.
pub(crate) const DONE: &str = r#"
function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"requests":%d,"duration":%d,"refused":%d,"broken":%d,"p50":%d,"p99":%d}\n',
    summary.requests, summary.duration, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_holds_one_whole_request() {
        let traffic = Traffic::Login;
        let text = Script { traffic: &traffic, tokens: None, host: "127.0.0.1:1".to_owned() }.text();
        assert!(text.contains(r"POST /auth/login HTTP/1.1\r\nHost: 127.0.0.1:1\r\nContent-Type: application/json\r\n"));
        assert!(text.contains(r#"Content-Length: 62\r\n\r\n{\"email\":\"somebody@example.com\""#), "{text}");
    }

    #[test]
    fn short_names_are_unique() {
        let works = Work::all();
        for (index, work) in works.iter().enumerate() {
            assert!(works[..index].iter().all(|other| other.id != work.id), "{}", work.id);
        }
    }
}
