//! A disk without room: writes are refused and never acknowledged, and service returns with the room.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::support::client::{Client, Reply};
use crate::support::eventually;
use crate::support::origin::Origin;
use crate::support::process::Setup;

/// A small disk in memory, mounted on a directory for as long as it lives.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` where this user may not mount anything, which is said past the tests' capture.
    fn mount(at: &Path) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=12m", "portcullis-test"]).arg(at).stderr(Stdio::null());
        if mount.status().is_ok_and(|status| status.success()) {
            return Some(Self(at.to_owned()));
        }
        std::io::stderr().write_all(b"SKIPPED: a full disk needs the right to mount one\n").unwrap();
        None
    }

    /// Takes all the room that is left.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("filler");
        let mut file = std::fs::File::create(&path).unwrap();
        // Large pieces first, then whatever still fits.
        for piece in [65_536, 4_096, 1] {
            while file.write_all(&vec![0; piece]).is_ok() {}
        }
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily, because a process that is being killed may still have a file of it open.
        let unmounted = Command::new("umount").arg("--lazy").arg(&self.0).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} is still mounted", self.0.display());
        }
    }
}

fn refresh(client: &Client, token: &str) -> Reply {
    client.post("/auth/refresh").json(&json!({ "refreshToken": token })).send()
}

#[test]
fn a_full_disk_refuses_writes_keeps_what_was_acknowledged_and_service_returns_with_the_room() {
    let origin = Origin::echo();
    let mut gateway = Setup::before(&origin).with("[limits]\npreset = \"none\"\n").start();
    gateway.kill();
    let Some(disk) = SmallDisk::mount(&gateway.state) else { return };
    gateway.launch();
    gateway.create_user("ann@example.com", "editor");
    let (access, mut token) = gateway.login("ann@example.com");

    let filler = disk.fill();
    let client = gateway.client();
    let refused = (0..5_000).find_map(|_| {
        let reply = refresh(&client, &token);
        if reply.status != 200 {
            return Some(reply);
        }
        token = reply.json()["refreshToken"].as_str().unwrap().to_owned();
        None
    });
    let refused = refused.expect("the disk is full at some point");
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert_eq!(refused.header("retry-after"), Some("1"));
    for _ in 0..20 {
        assert_eq!(refresh(&client, &token).status, 503);
        let body = json!({ "email": "ann@example.com", "password": crate::support::PASSWORD });
        assert_eq!(client.post("/auth/login").json(&body).send().status, 503);
        let logout = client.post("/auth/logout").json(&json!({ "refreshToken": token })).send();
        assert_eq!(logout.status, 503, "a logout that was not written is not acknowledged: {}", logout.text());
        let body = json!({ "email": "bob@example.com", "password": crate::support::PASSWORD });
        assert_eq!(client.post("/auth/register").json(&body).send().status, 503);
        gateway.client().get("/any").bearer(&access).send().expect(200);
    }

    std::fs::remove_file(filler).unwrap();
    token = eventually("writes succeed again", Duration::from_secs(5), || {
        let reply = refresh(&client, &token);
        (reply.status == 200).then(|| reply.json()["refreshToken"].as_str().unwrap().to_owned())
    });
    gateway.client().get("/any").bearer(&access).send().expect(200);
    assert!(gateway.operator().mails("bob@example.com").is_empty(), "what was refused has no consequence");
    let body = json!({ "email": "bob@example.com", "password": crate::support::PASSWORD });
    gateway.client().post("/auth/register").json(&body).send().expect(202);
    gateway.operator().await_mails("bob@example.com", 1);
    gateway.kill();
    gateway.launch();
    refresh(&gateway.client(), &token).expect(200);
    gateway.kill();
}
