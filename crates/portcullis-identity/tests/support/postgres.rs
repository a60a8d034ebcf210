//! A PostgreSQL server of the tests' own: in a new directory, on a socket in there, synced to the disk like a real one.
//!
//! It refuses to run as root, so that root lends it another user. A shell holds one end of a pipe and waits: when this
//! process ends, in whatever way, it stops the server and removes the directory.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Where packages put the server's programs, one directory for each version.
const VERSIONS: &str = "/usr/lib/postgresql";

/// Waits for the other end of its standard input to go away, then stops the server and removes what is left of it.
const KEEPER: &str = r#"
read -r _
for signal in INT QUIT; do
    pid=$(head -n 1 "$0/data/postmaster.pid" 2>/dev/null) && kill -s $signal "$pid" 2>/dev/null
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do
        [ -e "$0/data/postmaster.pid" ] || break
        sleep 0.1
    done
done
rm -rf "$0"
"#;

pub(crate) struct Cluster {
    programs: PathBuf,
    directory: PathBuf,
    settings: Vec<String>,
    server: Child,
    /// Closing it stops the server.
    keeper: Option<(Child, ChildStdin)>,
    databases: AtomicU32,
}

/// Whether PostgreSQL is here. Where it is not, that is said once, past the tests' capture; under `CI` it is a failure.
pub(crate) fn is_installed() -> bool {
    static FOUND: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *FOUND.get_or_init(|| {
        let found = programs().is_some();
        assert!(found || std::env::var_os("CI").is_none(), "PostgreSQL is not installed");
        if !found {
            let line = "SKIPPED: PostgreSQL is not installed; \"cargo xtask test\" installs it\n";
            std::io::stderr().write_all(line.as_bytes()).expect("standard error takes a line");
        }
        found
    })
}

/// The programs of the newest version.
pub(crate) fn programs() -> Option<PathBuf> {
    let version = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    let versions = std::fs::read_dir(VERSIONS).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    let found = versions.filter(|path| path.join("bin/initdb").exists()).max_by_key(|path| version(path))?;
    Some(found.join("bin"))
}

impl Cluster {
    /// Makes and starts a server.
    pub(crate) fn start() -> Self {
        Self::start_with(|_| Vec::new())
    }

    /// The same with more settings, for which a directory of the server's own may be prepared.
    pub(crate) fn start_with(prepare: impl FnOnce(&Path) -> Vec<String>) -> Self {
        let programs = programs().expect("the caller has asked whether it is installed");
        let made = as_owner("mktemp").args(["-d", "--tmpdir", "portcullis-pg-XXXXXX"]).output().expect("it can be run");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let directory = PathBuf::from(String::from_utf8(made.stdout).expect("the name is ASCII").trim());
        let mut keeper = as_owner("sh")
            .args(["-c", KEEPER])
            .arg(&directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("it can be started");
        let stdin = keeper.stdin.take().expect("it was asked for");
        let initdb = as_owner(programs.join("initdb"))
            .args(["--username=portcullis", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"])
            .arg("--pgdata")
            .arg(directory.join("data"))
            .output()
            .expect("it can be run");
        assert!(initdb.status.success(), "{}", String::from_utf8_lossy(&initdb.stderr));
        let settings = prepare(&directory);
        let server = serve(&programs, &directory, &settings);
        let keeper = Some((keeper, stdin));
        let cluster = Self { programs, directory, settings, server, keeper, databases: AtomicU32::new(0) };
        cluster.wait_until_ready();
        cluster
    }

    /// Makes an empty database; gives its URL.
    pub(crate) fn database(&self) -> String {
        let name = format!("d{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let made = self.client("createdb").arg(&name).output().expect("it can be run");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        format!("postgres:///{name}?user=portcullis&host={}", self.directory.display())
    }

    /// Kills the server and everything it has started with a signal that it cannot catch.
    pub(crate) fn kill(&mut self) {
        self.server.kill().expect("it runs");
        self.server.wait().expect("it was started");
    }

    /// Starts it again after [`Self::kill`].
    pub(crate) fn restart(&mut self) {
        // The children of a killed server need a moment to find out; until then a new one refuses to start.
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            self.server = serve(&self.programs, &self.directory, &self.settings);
            std::thread::sleep(Duration::from_millis(100));
            if self.server.try_wait().expect("it was started").is_none() {
                break;
            }
            assert!(Instant::now() < deadline, "{}", self.log());
        }
        self.wait_until_ready();
    }

    /// Changes a setting while the server runs; sessions that are open take it over.
    pub(crate) fn set(&self, name: &str, value: &str) {
        let change = format!("ALTER SYSTEM SET {name} = {value}");
        // The order may itself come from a session that was made to read only.
        let commands = ["SET default_transaction_read_only = off", &change, "SELECT pg_reload_conf()"];
        let mut psql = self.client("psql");
        for command in commands {
            psql.args(["-c", command]);
        }
        let done = psql.output().expect("it can be run");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        std::thread::sleep(Duration::from_millis(200));
    }

    /// Sends a signal to the server and to every process that it has started.
    pub(crate) fn signal(&self, signal: &str) {
        let server = self.server.id().to_string();
        let children = std::fs::read_to_string(format!("/proc/{server}/task/{server}/children"));
        let children = children.expect("the kernel lists a process's children");
        let sent = Command::new("kill").args(["-s", signal, &server]).args(children.split_whitespace()).status();
        assert!(sent.expect("it can be run").success());
    }

    fn wait_until_ready(&self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !self.client("pg_isready").stdout(Stdio::null()).status().expect("it can be run").success() {
            assert!(Instant::now() < deadline, "the server did not start: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn client(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        let port = self.settings.iter().find_map(|setting| setting.strip_prefix("port=")).unwrap_or("5432");
        command
            .env("PGHOST", &self.directory)
            .env("PGPORT", port)
            .env("PGUSER", "portcullis")
            .env("PGDATABASE", "postgres");
        command
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some((mut keeper, pipe)) = self.keeper.take() {
            drop(pipe);
            drop(keeper.wait());
            drop(self.server.wait());
        }
    }
}

fn serve(programs: &Path, directory: &Path, settings: &[String]) -> Child {
    let log =
        std::fs::OpenOptions::new().create(true).append(true).open(directory.join("log")).expect("the log can be made");
    as_owner(programs.join("postgres"))
        .arg("-D")
        .arg(directory.join("data"))
        .arg("-k")
        .arg(directory)
        .args(["-c", "listen_addresses=", "-c", "fsync=on", "-c", "max_connections=300", "-c", "shared_buffers=32MB"])
        .args(settings.iter().flat_map(|setting| ["-c", setting]))
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("it can be started")
}

/// Runs a program as the user that the server runs as.
pub(crate) fn run_as_owner(program: &str, arguments: &[&str], directory: &Path) {
    let done = as_owner(program).args(arguments).current_dir(directory).output().expect("it can be run");
    assert!(done.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// A command as somebody who may run a server: whoever we are, or for root the server's own user or nobody.
fn as_owner(program: impl AsRef<std::ffi::OsStr>) -> Command {
    use std::os::unix::fs::MetadataExt as _;
    let mut command = if std::fs::metadata("/proc/self").expect("every process is there").uid() == 0 {
        let users = std::fs::read_to_string("/etc/passwd").expect("everybody may read it");
        let entry = |name: &str| users.lines().find(|line| line.split(':').next() == Some(name));
        let entry: Vec<&str> =
            entry("postgres").or(entry("nobody")).expect("every machine has a nobody").split(':').collect();
        let mut command = Command::new("setpriv");
        let (user, group) = (format!("--reuid={}", entry[2]), format!("--regid={}", entry[3]));
        command.args([&user, &group, "--clear-groups"]).arg(program.as_ref());
        command
    } else {
        Command::new(program)
    };
    // Not the directory of the tests, which another user may not enter; not the process group of the tests, so that an
    // interruption at the keyboard reaches only us.
    command.current_dir("/").process_group(0).stdin(Stdio::null());
    command
}
