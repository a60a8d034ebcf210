//! nginx of Debian.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use super::{Certified, template};
use crate::bench::peer::{FLOOD_BODY, Peer, Room, Setup};
use crate::tools::{self, Tool};

const TOOL: Tool = Tool::new("nginx", "nginx");

/// nginx: one process, no master; a pool of idle connections to the upstream that holds one for every client.
pub(crate) struct Nginx;

impl Peer for Nginx {
    fn name(&self) -> &'static str {
        "nginx"
    }

    fn prepare(&self, _room: &Room) -> Result<String, String> {
        tools::ensure(&[TOOL])?;
        let said = template::version(Path::new("nginx"), "-v")?;
        Ok(said.rsplit('/').next().unwrap_or(&said).to_owned())
    }

    fn cannot(&self, setup: Setup) -> Option<&'static str> {
        match setup {
            Setup::Bare | Setup::Flood => None,
            Setup::Defended => Some(
                "no module of nginx in Debian verifies a JWT: auth_jwt is in the commercial build, a script for njs or Lua would be ours",
            ),
        }
    }

    fn command(&self, setup: Setup, listen: SocketAddr, room: &Room) -> Result<Command, String> {
        if let Some(reason) = self.cannot(setup) {
            return Err(reason.to_owned());
        }
        let directory = template::directory(room, self.name(), setup, listen)?;
        let (zone, locations) = if setup == Setup::Flood {
            (
                template::source(&room.sources, "nginx/flood-zone.conf")?,
                template::source(&room.sources, "nginx/flood-locations.conf")?,
            )
        } else {
            (String::new(), String::new())
        };
        let text = template::render(
            &template::source(&room.sources, "nginx/nginx.conf")?,
            &[
                ("limit_zone", &zone),
                ("locations", &locations),
                ("directory", &directory.display().to_string()),
                ("upstream", &room.upstream.to_string()),
                ("listen", &listen.to_string()),
                // nginx ends the word at a quote and reads `$` as a variable; the bench's body has neither.
                ("flood_body", FLOOD_BODY),
            ],
        )?;
        let file = directory.join("nginx.conf");
        template::write(&file, &text)?;
        let mut command = Command::new("nginx");
        command.arg("-p").arg(&directory).arg("-e").arg("stderr").arg("-c").arg(&file);
        Ok(command)
    }
}

/// The bare setup behind TLS 1.3, with the session tickets that are its default.
pub(super) fn secured(listen: SocketAddr, room: &Room, certified: Certified<'_>) -> Result<Command, String> {
    let directory = template::directory(room, "nginx-tls", Setup::Bare, listen)?;
    let tls = format!(
        "    ssl_certificate {};\n    ssl_certificate_key {};\n    ssl_protocols TLSv1.3;\n    ssl_conf_command Ciphersuites {};\n",
        certified.chain.display(),
        certified.key.display(),
        certified.suite
    );
    let text = template::render(
        &template::source(&room.sources, "nginx/nginx.conf")?,
        &[
            ("limit_zone", &tls),
            ("locations", ""),
            ("directory", &directory.display().to_string()),
            ("upstream", &room.upstream.to_string()),
            ("listen", &format!("{listen} ssl")),
        ],
    )?;
    let file = directory.join("nginx.conf");
    template::write(&file, &text)?;
    let mut command = Command::new("nginx");
    command.arg("-p").arg(&directory).arg("-e").arg("stderr").arg("-c").arg(&file);
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::peers::template::testing;

    #[test]
    fn the_bare_configuration_has_one_process_and_no_limit() {
        let text = testing::configuration(&Nginx, Setup::Bare, "nginx.conf");
        assert!(text.contains("master_process off;") && text.contains("server 127.0.0.1:4001 max_fails=0;"));
        assert!(!text.contains("limit_req"));
    }

    #[test]
    fn the_flood_is_refused_with_the_body_of_the_bench() {
        let text = testing::configuration(&Nginx, Setup::Flood, "nginx.conf");
        assert!(text.contains(&format!("return 429 '{FLOOD_BODY}';")));
        assert!(!FLOOD_BODY.contains(['\'', '$']), "nginx would read the body in another way");
    }

    #[test]
    fn behind_tls_it_is_as_bare_and_speaks_one_version_and_one_suite() {
        let (_guard, room) = testing::room();
        let listen = SocketAddr::from(([127, 0, 0, 1], 4002));
        let file = Path::new("/nowhere/a.pem");
        secured(listen, &room, Certified { chain: file, key: file, both: file, suite: "TLS_AES_256_GCM_SHA384" })
            .unwrap();
        let directory = template::directory(&room, "nginx-tls", Setup::Bare, listen).unwrap();
        let text = std::fs::read_to_string(directory.join("nginx.conf")).unwrap();
        let bare = testing::configuration(&Nginx, Setup::Bare, "nginx.conf");
        let added: Vec<&str> = text.lines().filter(|line| line.contains("ssl")).map(str::trim).collect();
        let wanted = [
            "ssl_certificate /nowhere/a.pem;",
            "ssl_certificate_key /nowhere/a.pem;",
            "ssl_protocols TLSv1.3;",
            "ssl_conf_command Ciphersuites TLS_AES_256_GCM_SHA384;",
            "listen 127.0.0.1:4002 ssl backlog=4096;",
        ];
        assert_eq!(added, wanted);
        assert_eq!(text.lines().count(), bare.lines().count() + 4);
    }

    #[test]
    fn what_it_cannot_do_it_does_not_start() {
        let (_guard, room) = testing::room();
        let listen = SocketAddr::from(([127, 0, 0, 1], 4002));
        assert!(Nginx.command(Setup::Defended, listen, &room).unwrap_err().contains("JWT"));
    }
}
