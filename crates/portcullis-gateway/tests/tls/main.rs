//! TLS with clients, through the real binary (H6).

#![expect(clippy::unwrap_used, reason = "a helper that has nothing to work on fails its test")]

#[expect(dead_code, reason = "each test binary uses its own part of what they share")]
#[path = "../support/mod.rs"]
mod support;

mod acme;
mod acme_beside;
mod acme_probe;
mod acme_server;
mod authority;
mod caller;
mod configured;
mod handshakes;
mod http2;
mod mutual;
mod names;
mod outside;
mod protocols;
mod redirect;
mod renewed;

use std::path::Path;

use self::authority::Authority;
use self::caller::Caller;
use self::support::origin::Origin;
use self::support::process::{Gateway, Setup};

/// The host that the tests' gates are known by.
const HOST: &str = "api.example.test";

/// A gate that speaks TLS, with everything that it needs.
struct Scene {
    origin: Origin,
    authority: Authority,
    files: tempfile::TempDir,
    gateway: Gateway,
}

impl Scene {
    /// With a certificate for [`HOST`], and more tables of the file.
    fn new(more: &str) -> Self {
        Self::before(Origin::echo(), more)
    }

    fn before(origin: Origin, more: &str) -> Self {
        let authority = Authority::new();
        let files = tempfile::tempdir().unwrap();
        authority.server(&[HOST]).write(files.path(), "server");
        let gateway = open(&origin, files.path(), &format!("certificates = [{}]\n{more}", pair("server")));
        Self { origin, authority, files, gateway }
    }

    /// A client that believes the authority.
    fn caller(&self) -> Caller {
        Caller::new(&self.authority, self.gateway.listen)
    }

    fn put(&self, name: &str, bytes: &str) {
        std::fs::write(self.files.path().join(name), bytes).unwrap();
    }
}

/// A gate without accounts and limits whose `[tls]` has these keys. `DIR` in them is the directory of the files.
fn open(origin: &Origin, files: &Path, keys: &str) -> Gateway {
    let keys = keys.replace("DIR", &files.display().to_string());
    Setup::open(origin)
        .public_url(&format!("https://{HOST}"))
        .with(&format!("[client]\nhead_timeout = \"1s\"\n\n[tls]\n{keys}"))
        .start()
}

/// A certificate of `[tls] certificates`.
fn pair(name: &str) -> String {
    format!("{{ cert = \"DIR/{name}.pem\", key = \"DIR/{name}.key\" }}")
}
