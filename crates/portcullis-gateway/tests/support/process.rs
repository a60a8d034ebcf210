//! The binary, started with a configuration of the test's own and stopped by its process id.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::client::Client;
use super::database::Accounts;
use super::operator::Operator;
use super::origin::Origin;
use super::{PASSWORD, eventually};

/// The binary's command line, to be completed. A longer run than a test names another binary: the one that is shipped.
pub(crate) fn portcullis() -> Command {
    let shipped = std::env::var_os("PORTCULLIS_BINARY");
    let mut command = Command::new(shipped.as_deref().unwrap_or(env!("CARGO_BIN_EXE_portcullis").as_ref()));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// An address that was free a moment ago, and that nobody takes by chance: it is given out once in this process and lies
/// below the ports that the system hands to outgoing connections.
pub(crate) fn free_address() -> SocketAddr {
    // Above 10,080, which browsers refuse to speak to (the Fetch standard's list of bad ports).
    const FIRST: u32 = 10_100;
    const COUNT: u32 = 22_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let begin = std::process::id().wrapping_mul(97);
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(FIRST + begin.wrapping_add(step) % COUNT).expect("the range lies below 65,536");
        if let Ok(listener) = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, port)) {
            return listener.local_addr().expect("a bound socket has an address");
        }
    }
    panic!("there is no free port");
}

/// A running child process whose output is kept. It is killed when the value goes.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    output: Arc<Mutex<String>>,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.spawn().expect("the binary can be started");
        let output = Arc::<Mutex<String>>::default();
        keep(child.stdout.take(), &output);
        keep(child.stderr.take(), &output);
        Self { child, output }
    }

    /// What it has written so far on both of its streams.
    pub(crate) fn output(&self) -> String {
        self.output.lock().expect("no reader panics").clone()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(id, signal).expect("the process is there");
    }

    pub(crate) fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the child can be waited for")
    }

    /// Waits for its end.
    pub(crate) fn ended(&mut self, within: Duration) -> ExitStatus {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.has_ended() {
                // The readers of its output may be a moment behind.
                std::thread::sleep(Duration::from_millis(50));
                return status;
            }
            assert!(Instant::now() < deadline, "still running after {within:?}:\n{}", self.output());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- what process {} wrote ---\n{}", self.child.id(), self.output());
        }
    }
}

fn keep(stream: Option<impl Read + Send + 'static>, output: &Arc<Mutex<String>>) {
    let Some(stream) = stream else { return };
    let output = Arc::clone(output);
    std::thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            let mut output = output.lock().expect("no reader panics");
            let _ = writeln!(output, "{}", String::from_utf8_lossy(&line));
        }
    });
}

/// What every instance on a server's database is given.
const MASTER_KEY: &str = "8f2c1b7a90de4f53c6a1e8d7b4902f6135ac7e98d0b1f4c28d3e5a7b6c9f0e12";

/// A gateway to be started.
#[derive(Debug)]
pub(crate) struct Setup {
    upstream: String,
    top: String,
    identity: String,
    rest: String,
    public_url: Option<String>,
}

impl Setup {
    /// In front of this origin, with identity endpoints, the mail catcher and open registration.
    pub(crate) fn before(origin: &Origin) -> Self {
        Self::upstream(&format!("http://{}", origin.address))
    }

    pub(crate) fn upstream(url: &str) -> Self {
        Self {
            upstream: url.to_owned(),
            top: String::new(),
            identity: "registration = true\ndanger_mail_catcher = true\n".to_owned(),
            rest: String::new(),
            public_url: None,
        }
    }

    /// Hands its mail to a server instead of catching it: more keys of `[mail]`.
    pub(crate) fn mailing(mut self, keys: &str) -> Self {
        self.identity.clear();
        self.with(&format!("[mail]\nfrom = \"The Gate <gate@example.com>\"\n{keys}"))
    }

    /// A bare proxy: no identity endpoints, no limits, every route open.
    pub(crate) fn open(origin: &Origin) -> Self {
        Self::open_to(&format!("http://{}", origin.address))
    }

    pub(crate) fn open_to(url: &str) -> Self {
        let mut setup = Self::upstream(url);
        setup.identity = "enabled = false\n".to_owned();
        setup.with("[limits]\npreset = \"none\"\n\n[[route]]\nmatch = \"/**\"\naccess = \"public\"\n")
    }

    /// More tables of the file.
    pub(crate) fn with(mut self, tables: &str) -> Self {
        self.rest.push('\n');
        self.rest.push_str(tables);
        self
    }

    /// More keys before the first table.
    pub(crate) fn top(mut self, keys: &str) -> Self {
        self.top.push_str(keys);
        self.top.push('\n');
        self
    }

    /// More keys of `[identity]`.
    pub(crate) fn identity(mut self, keys: &str) -> Self {
        self.identity.push_str(keys);
        self.identity.push('\n');
        self
    }

    pub(crate) fn public_url(mut self, url: &str) -> Self {
        self.public_url = Some(url.to_owned());
        self
    }

    /// With its accounts in this database of a server.
    pub(crate) fn on(self, database: &str) -> Self {
        self.identity(&format!("database = \"{database}\""))
    }

    /// Writes the file and starts the binary.
    pub(crate) fn start(mut self) -> Gateway {
        if !self.identity.contains("enabled = false")
            && !self.identity.contains("database = ")
            && let Some(database) = super::database()
        {
            self = self.on(&database);
        }
        let directory = tempfile::tempdir().expect("a temporary directory");
        if self.identity.contains("database = ") {
            let key = directory.path().join("given.key");
            std::fs::write(&key, MASTER_KEY).expect("the key can be written");
            self = self.top(&format!("master_key_file = \"{}\"", key.display()));
        }
        let mut gateway = Gateway {
            listen: free_address(),
            admin: free_address(),
            config: directory.path().join("portcullis.toml"),
            state: directory.path().join("state"),
            setup: self,
            directory,
            running: None,
        };
        gateway.write_config("");
        gateway.launch();
        gateway
    }
}

/// A running gateway with its files.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) listen: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) config: PathBuf,
    pub(crate) state: PathBuf,
    setup: Setup,
    directory: TempDir,
    running: Option<Running>,
}

impl Gateway {
    /// Writes the configuration as it was set up, with more tables at its end.
    pub(crate) fn write_config(&self, more: &str) {
        std::fs::write(&self.config, self.config_text() + more).expect("the configuration can be written");
    }

    /// The configuration as it was set up.
    pub(crate) fn config_text(&self) -> String {
        let public_url = self.setup.public_url.clone().unwrap_or_else(|| format!("http://{}", self.listen));
        format!(
            "listen = \"{}\"\nupstream = \"{}\"\nstate_dir = \"{}\"\npublic_url = \"{public_url}\"\n{}\n\
             [admin]\nlisten = \"{}\"\n\n[identity]\n{}\n{}\n",
            self.listen,
            self.setup.upstream,
            self.state.display(),
            self.setup.top,
            self.admin,
            self.setup.identity,
            self.setup.rest,
        )
    }

    /// Starts the binary and waits until it is ready.
    pub(crate) fn launch(&mut self) {
        self.launch_by(portcullis());
    }

    /// The same by a command of the test's own, which is given the arguments.
    pub(crate) fn launch_by(&mut self, mut command: Command) {
        let mut running = Running::start(command.arg("serve").arg("--config").arg(&self.config));
        let (listen, admin) = (self.listen, self.admin);
        eventually("the gateway is ready", Duration::from_secs(20), || {
            if let Some(status) = running.has_ended() {
                panic!("the gateway ended at its start ({status}):\n{}", running.output());
            }
            let ready = TcpStream::connect(listen).is_ok()
                && TcpStream::connect(admin).is_ok()
                && Client::at(admin, std::net::Ipv4Addr::LOCALHOST).get("/readyz").try_send().ok()?.status == 200;
            ready.then_some(())
        });
        self.running = Some(running);
    }

    pub(crate) fn process(&mut self) -> &mut Running {
        self.running.as_mut().expect("the gateway runs")
    }

    pub(crate) fn output(&self) -> String {
        self.running.as_ref().map(Running::output).unwrap_or_default()
    }

    /// Ends it at once, as a power failure would.
    pub(crate) fn kill(&mut self) {
        let mut running = self.running.take().expect("the gateway runs");
        running.signal(Signal::KILL);
        running.ended(Duration::from_secs(5));
    }

    /// The id of its process.
    pub(crate) fn id(&self) -> u32 {
        self.running.as_ref().expect("the gateway runs").id()
    }

    /// Waits for a process that somebody else has killed.
    pub(crate) fn kill_remains(&mut self) {
        self.running.take().expect("the gateway ran").ended(Duration::from_secs(5));
    }

    /// How much memory it has, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).expect("the process is there");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory is told");
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number of KiB");
        kib * 1024
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Its accounts, past the gate.
    pub(crate) fn accounts(&self) -> Accounts {
        let given = self.setup.identity.split("database = \"").nth(1).and_then(|rest| rest.split('"').next());
        match given {
            Some(url) if !url.starts_with("sqlite:") => Accounts::Server(url.to_owned()),
            Some(file) => Accounts::File(self.state.join(&file["sqlite:".len()..])),
            None => Accounts::File(self.state.join("portcullis.db")),
        }
    }

    /// Every whole line of its records so far.
    pub(crate) fn records(&self) -> Vec<Value> {
        let mut lines = Vec::new();
        let mut waiting = vec![self.state.clone()];
        while let Some(directory) = waiting.pop() {
            for entry in std::fs::read_dir(directory).expect("the state can be listed") {
                let path = entry.expect("the state can be listed").path();
                if path.is_dir() {
                    waiting.push(path);
                } else if path.extension().is_some_and(|end| end == "jsonl") {
                    let text = std::fs::read_to_string(&path).expect("records are UTF-8");
                    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
                    lines.extend(whole.lines().map(|line| serde_json::from_str::<Value>(line).expect("a JSON line")));
                }
            }
        }
        lines
    }

    /// A client with an address of its own.
    pub(crate) fn client(&self) -> Client {
        Client::new(self.listen)
    }

    /// The operator's side.
    pub(crate) fn operator(&self) -> Operator {
        Operator::new(self.admin, &self.state)
    }

    /// Runs one of the binary's commands against this configuration.
    pub(crate) fn command(&self, arguments: &[&str]) -> Output {
        portcullis().args(arguments).arg("--config").arg(&self.config).output().expect("the binary can be started")
    }

    /// Makes an account that is ready to log in.
    pub(crate) fn create_user(&self, email: &str, role: &str) {
        let file = self.directory.path().join(format!("password-{role}"));
        std::fs::write(&file, PASSWORD).expect("the password file can be written");
        let file = file.display().to_string();
        let output = self.command(&["users", "create", "--email", email, "--role", role, "--password-file", &file]);
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "users create: {text}");
        assert!(!text.contains(PASSWORD), "a password does not belong into any output: {text}");
    }

    /// Makes an account and logs it in from a new address; its access token.
    pub(crate) fn token(&self, role: &str) -> String {
        let email = format!("{role}@example.com");
        self.create_user(&email, role);
        self.login(&email).0
    }

    /// A token against forgery for whoever holds these cookies (`name=value; …`); an empty one where they are nobody's.
    pub(crate) fn csrf(&self, cookies: &str) -> String {
        let reply = self.client().get("/auth/csrf").header("Cookie", cookies).send();
        reply.json()["csrfToken"].as_str().unwrap_or_default().to_owned()
    }

    /// Logs in from a new address; the access token and the refresh token.
    pub(crate) fn login(&self, email: &str) -> (String, String) {
        let reply = self
            .client()
            .post("/auth/login")
            .json(&json!({ "email": email, "password": PASSWORD, "delivery": "body" }))
            .send()
            .expect(200);
        let pair = reply.json();
        let member = |name: &str| pair[name].as_str().unwrap_or_else(|| panic!("no {name} in {pair}")).to_owned();
        (member("accessToken"), member("refreshToken"))
    }
}
