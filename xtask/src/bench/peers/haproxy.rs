//! HAProxy of Debian.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use super::{Certified, template};
use crate::bench::peer::{AUDIENCE, FLOOD_BODY, ISSUER, Peer, ROLE, Room, Setup, USER_QUOTA};
use crate::tools::{self, Tool};

const TOOL: Tool = Tool::new("haproxy", "haproxy");

/// HAProxy: one thread; upstream connections shared by all clients and never purged.
pub(crate) struct Haproxy;

impl Peer for Haproxy {
    fn name(&self) -> &'static str {
        "haproxy"
    }

    fn prepare(&self, _room: &Room) -> Result<String, String> {
        tools::ensure(&[TOOL])?;
        let said = template::version(Path::new("haproxy"), "-v")?;
        // "HAProxy version 2.6.12-1+deb12u3 2025/10/01 - https://haproxy.org/"
        Ok(said.split_whitespace().nth(2).unwrap_or(&said).to_owned())
    }

    fn cannot(&self, _setup: Setup) -> Option<&'static str> {
        None
    }

    fn command(&self, setup: Setup, listen: SocketAddr, room: &Room) -> Result<Command, String> {
        let directory = template::directory(room, self.name(), setup, listen)?;
        let (tables, rules) = if setup == Setup::Bare {
            (String::new(), String::new())
        } else {
            let part = |which: &str| {
                template::source(&room.sources, &format!("haproxy/{}-{which}.cfg", template::word(setup)))
            };
            (part("tables")?, part("rules")?)
        };
        let headers =
            template::security_headers(|name, value| format!("    http-after-response set-header {name} \"{value}\""));
        let text = template::render(
            &template::source(&room.sources, "haproxy/haproxy.cfg")?,
            &[
                ("tables", &tables),
                ("rules", &rules),
                ("listen", &listen.to_string()),
                ("upstream", &room.upstream.to_string()),
                ("public_key", &room.public_key.display().to_string()),
                ("issuer", ISSUER),
                ("audience", AUDIENCE),
                ("role", ROLE),
                ("quota", &USER_QUOTA.to_string()),
                ("security_headers", &headers),
                ("unauthorized", template::UNAUTHORIZED_BODY),
                ("forbidden", template::FORBIDDEN_BODY),
                ("flood_body", FLOOD_BODY),
            ],
        )?;
        let file = directory.join("haproxy.cfg");
        template::write(&file, &text)?;
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-f").arg(&file);
        Ok(command)
    }
}

/// The bare setup behind TLS 1.3, with the session tickets that are its default.
pub(super) fn secured(listen: SocketAddr, room: &Room, certified: Certified<'_>) -> Result<Command, String> {
    let directory = template::directory(room, "haproxy-tls", Setup::Bare, listen)?;
    let tls =
        format!("{listen} ssl crt {} ssl-min-ver TLSv1.3 ciphersuites {}", certified.both.display(), certified.suite);
    let text = template::render(
        &template::source(&room.sources, "haproxy/haproxy.cfg")?,
        &[("tables", ""), ("rules", ""), ("listen", &tls), ("upstream", &room.upstream.to_string())],
    )?;
    let file = directory.join("haproxy.cfg");
    template::write(&file, &text)?;
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(&file);
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::peers::template::testing;

    #[test]
    fn the_bare_configuration_asks_for_nothing() {
        let text = testing::configuration(&Haproxy, Setup::Bare, "haproxy.cfg");
        assert!(text.contains("nbthread 1") && !text.contains("stick-table") && !text.contains("http-after-response"));
    }

    #[test]
    fn behind_tls_it_is_as_bare_and_speaks_one_version_and_one_suite() {
        let (_guard, room) = testing::room();
        let listen = SocketAddr::from(([127, 0, 0, 1], 4002));
        let file = Path::new("/nowhere/a.pem");
        secured(listen, &room, Certified { chain: file, key: file, both: file, suite: "TLS_AES_256_GCM_SHA384" })
            .unwrap();
        let directory = template::directory(&room, "haproxy-tls", Setup::Bare, listen).unwrap();
        let text = std::fs::read_to_string(directory.join("haproxy.cfg")).unwrap();
        assert!(text.contains(
            "bind 127.0.0.1:4002 ssl crt /nowhere/a.pem ssl-min-ver TLSv1.3 ciphersuites TLS_AES_256_GCM_SHA384 backlog"
        ));
        let bare = testing::configuration(&Haproxy, Setup::Bare, "haproxy.cfg");
        assert_eq!(text.lines().count(), bare.lines().count());
    }

    #[test]
    fn the_defence_verifies_the_one_algorithm_it_names() {
        let text = testing::configuration(&Haproxy, Setup::Defended, "haproxy.cfg");
        assert!(text.contains("jwt_verify(\"RS256\",") && text.contains("-m str bench-api"));
        assert!(text.contains("http-after-response set-header X-Frame-Options \"DENY\""));
    }

    #[test]
    fn the_flood_is_refused_with_the_body_of_the_bench() {
        let text = testing::configuration(&Haproxy, Setup::Flood, "haproxy.cfg");
        assert!(text.contains(&format!("string '{FLOOD_BODY}'")) && !text.contains("jwt_verify"));
    }
}
