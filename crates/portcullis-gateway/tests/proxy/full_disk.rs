//! A disk without room, or a limit in its place: writes are refused and never acknowledged, and service returns with the room.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use serde_json::json;

use crate::support::client::{Client, Reply};
use crate::support::eventually;
use crate::support::origin::Origin;
use crate::support::process::{Gateway, Setup, portcullis};

/// Something that leaves no room to write, and gives it back.
trait Disk {
    /// Takes all the room that is left to this process.
    fn fill(&self, gateway: &Gateway);
    /// Gives it back.
    fn make_room(&self, gateway: &Gateway);
}

/// A small disk in memory, mounted on a directory for as long as it lives.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` where this user may not mount anything, which is said past the tests' capture. The other test needs no right.
    fn mount(at: &Path) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=12m", "portcullis-test"]).arg(at).stderr(Stdio::null());
        if mount.status().is_ok_and(|status| status.success()) {
            return Some(Self(at.to_owned()));
        }
        std::io::stderr()
            .write_all(b"a full disk is tried by a limit of files only: nothing can be mounted here\n")
            .unwrap();
        None
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }
}

impl Disk for SmallDisk {
    fn fill(&self, _: &Gateway) {
        let mut file = std::fs::File::create(self.filler()).unwrap();
        // Large pieces first, then whatever still fits.
        for piece in [65_536, 4_096, 1] {
            while file.write_all(&vec![0; piece]).is_ok() {}
        }
    }

    fn make_room(&self, _: &Gateway) {
        std::fs::remove_file(self.filler()).unwrap();
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

/// A limit of how large a file of the process may become, which every user may set for what is his.
struct LimitOfFiles;

impl LimitOfFiles {
    /// The binary, told to hear of the limit by a failure of the write and not to die of it: who writes beyond it is sent a
    /// signal that ends a process unless it was started without regard for it.
    fn command() -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]).arg(portcullis().get_program());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn set(gateway: &Gateway, bytes: Option<u64>) {
        let id = Pid::from_raw(i32::try_from(gateway.id()).unwrap());
        let maximum = getrlimit(Resource::Fsize).maximum;
        prlimit(id, Resource::Fsize, Rlimit { current: bytes.or(maximum), maximum }).unwrap();
    }
}

impl Disk for LimitOfFiles {
    fn fill(&self, gateway: &Gateway) {
        // Some commits more fit into the log, and less than would make the engine begin it anew.
        let log = std::fs::metadata(gateway.state.join("portcullis.db-wal")).unwrap().len();
        Self::set(gateway, Some(log + 100_000));
    }

    fn make_room(&self, gateway: &Gateway) {
        Self::set(gateway, None);
    }
}

fn refresh(client: &Client, token: &str) -> Reply {
    client.post("/auth/refresh").json(&json!({ "refreshToken": token })).send()
}

#[test]
fn a_full_disk_refuses_writes_keeps_what_was_acknowledged_and_service_returns_with_the_room() {
    let origin = Origin::echo();
    let mut gateway = before(&origin);
    let Some(disk) = SmallDisk::mount(&gateway.state) else { return };
    gateway.launch();
    survives(&mut gateway, &disk);
}

#[test]
fn a_log_that_may_not_grow_refuses_writes_keeps_what_was_acknowledged_and_service_returns_with_the_room() {
    let origin = Origin::echo();
    let mut gateway = before(&origin);
    gateway.launch_by(LimitOfFiles::command());
    survives(&mut gateway, &LimitOfFiles);
}

/// A gateway that is to be launched.
fn before(origin: &Origin) -> Gateway {
    let mut gateway = Setup::before(origin).with("[limits]\npreset = \"none\"\n").start();
    gateway.kill();
    gateway
}

fn survives(gateway: &mut Gateway, disk: &dyn Disk) {
    gateway.create_user("ann@example.com", "editor");
    let (access, mut token) = gateway.login("ann@example.com");

    disk.fill(gateway);
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

    disk.make_room(gateway);
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
