//! Portcullis as one of the proxies.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use super::peer::{AUDIENCE, ISSUER, Peer, ROLE, Room, Setup, USER_QUOTA};
use super::work::Special;

/// Our own binary, built by `cargo xtask dist`.
#[derive(Debug)]
pub(crate) struct Portcullis {
    pub(crate) binary: PathBuf,
    /// How many routes the defended setup has.
    pub(crate) routes: usize,
    /// Whether the tokens are signed with the bench's secret instead of its key, and a million of them are remembered.
    pub(crate) hmac: bool,
    /// What the defended setup counts, and where.
    pub(crate) counted: Counted,
}

/// The limits of the defended setup, none of which is ever reached.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counted {
    /// Whether there are three (the address, the user, the user under the route) or only the user's.
    pub(crate) three: bool,
    /// The Redis that they are counted in; the gateway's memory where there is none.
    pub(crate) redis: Option<SocketAddr>,
    /// Whether portions of them are leased from it.
    pub(crate) leased: bool,
}

impl Portcullis {
    pub(crate) fn new(binary: PathBuf) -> Self {
        Self { binary, routes: 1, hmac: false, counted: Counted::default() }
    }

    /// The same binary, set up for a workload of our own.
    pub(crate) fn special(binary: PathBuf, special: Special) -> Self {
        match special {
            Special::Routes => Self { routes: 1_000, ..Self::new(binary) },
            Special::FewUsers | Special::ManyUsers => Self { hmac: true, ..Self::new(binary) },
        }
    }

    fn config(&self, setup: Setup, listen: SocketAddr, room: &Room, state: &str) -> String {
        let mut text = format!(
            "listen = \"{listen}\"\npublic_url = \"https://api.example.com\"\nstate_dir = \"{state}\"\ncores = 1\n\n\
             [admin]\nenabled = false\n\n\
             [client]\nmax_connections_per_address = 10000\n\n\
             [[upstreams]]\nname = \"default\"\naddresses = [\"{}\"]\nmax_idle = 4096\n\n",
            room.upstream
        );
        match setup {
            Setup::Bare => text.push_str(
                "[identity]\nenabled = false\n\n[limits]\npreset = \"none\"\n\n[routes]\notherwise = \"public\"\n\n\
                 [headers]\npreset = \"danger-off\"\n",
            ),
            Setup::Defended => {
                let (key, algorithm) = if self.hmac {
                    (format!("secret_file = \"{}\"", room.public_key.with_file_name("secret").display()), "HS256")
                } else {
                    (format!("pem_file = \"{}\"", room.public_key.display()), "RS256")
                };
                let _ = write!(
                    text,
                    "[identity]\nenabled = false\n\n\
                     [[issuer]]\nname = \"bench\"\nissuer = \"{ISSUER}\"\naudience = \"{AUDIENCE}\"\n{key}\n\
                     algorithms = [\"{algorithm}\"]\n\n[issuer.claims]\nroles = \"role\"\n\n\
                     {}\
                     [[route]]\nmatch = \"/api/**\"\nroles = [\"{ROLE}\"]\n",
                    self.counted.limits()
                );
                for route in 1..self.routes {
                    let _ = write!(
                        text,
                        "\n[[route]]\nmatch = \"/service-{route}/{{id}}/items/**\"\nroles = [\"{ROLE}\"]\n"
                    );
                }
                text.push_str("\n[limits]\n");
                if let Some(redis) = self.counted.redis {
                    // The longest wait there is: what falls back to memory would be measured as if it were fast.
                    let _ = writeln!(text, "store = \"redis://{redis}\"\npatience = \"1s\"");
                }
                if self.hmac {
                    text.push_str("max_keys = 2000000\n\n[tokens]\nremembered = 1100000\n");
                }
            }
            // The preset limits and headers, and the identity endpoints behind them: what a new user has.
            Setup::Flood => {}
        }
        text
    }
}

impl Counted {
    /// As the configuration has them.
    fn limits(self) -> String {
        let more = if self.leased { "lease = true\n" } else { "" };
        let limit = |name: &str, key: &str, place: &str| {
            format!(
                "[[limit]]\nname = \"{name}\"\n{place}key = \"{key}\"\nquota = \"{USER_QUOTA} per minute\"\n{more}\n"
            )
        };
        let mut text = limit("user", "user", "");
        if self.three {
            text.push_str(&limit("address", "address", ""));
            text.push_str(&limit("route", "user", "match = \"/api/**\"\n"));
        }
        text
    }
}

impl Peer for Portcullis {
    fn name(&self) -> &'static str {
        "Portcullis"
    }

    fn prepare(&self, _room: &Room) -> Result<String, String> {
        let output = Command::new(&self.binary)
            .arg("--version")
            .output()
            .map_err(|error| format!("{}: {error}", self.binary.display()))?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    fn cannot(&self, _setup: Setup) -> Option<&'static str> {
        None
    }

    fn command(&self, setup: Setup, listen: SocketAddr, room: &Room) -> Result<Command, String> {
        let directory = room.directory.join(format!("portcullis-{}", listen.port()));
        if directory.exists() {
            fs::remove_dir_all(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
        }
        fs::create_dir_all(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
        let state = directory.join("state").display().to_string();
        let file = directory.join("portcullis.toml");
        fs::write(&file, self.config(setup, listen, room, &state))
            .map_err(|error| format!("{}: {error}", file.display()))?;
        let mut command = Command::new(&self.binary);
        command.args(["serve", "--config"]).arg(file);
        Ok(command)
    }
}
