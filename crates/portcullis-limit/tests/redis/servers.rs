//! Real servers on free ports, in directories of their own, stopped by their process.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use portcullis_core::Secret;
use portcullis_limit::RedisOptions;
use tempfile::TempDir;

/// A server that lives as long as this.
pub(crate) struct Server {
    pub(crate) port: u16,
    child: Option<Child>,
    directory: TempDir,
    program: &'static str,
    options: Vec<String>,
}

/// A port that was free a moment ago, and that no outgoing connection takes meanwhile: those have higher ones, and so has
/// the port ten thousand above, on which nodes of a cluster speak to each other.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let next = std::process::id().wrapping_mul(97).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = 10_500 + u16::try_from(next % 11_000).expect("it is below");
        let is_free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        if is_free(port) && is_free(port + 10_000) {
            return port;
        }
    }
}

impl Server {
    /// A `redis-server` with these options more.
    pub(crate) fn start(options: &[&str]) -> Self {
        let port = free_port();
        let listen = ["--port", &port.to_string()].map(str::to_owned);
        Self::on(
            port,
            "redis-server",
            listen.into_iter().chain(options.iter().map(|text| (*text).to_owned())).collect(),
        )
    }

    /// A server whose options say which port it listens on.
    pub(crate) fn on(port: u16, program: &'static str, options: Vec<String>) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut server = Self { port, child: None, directory, program, options };
        server.run();
        server
    }

    /// Starts it (again), and waits until it listens.
    pub(crate) fn run(&mut self) {
        let mut command = Command::new(self.program);
        if self.program == "redis-server" && !self.options.iter().any(|option| option == "--sentinel") {
            command.args(["--save", "", "--bind", "127.0.0.1", "--daemonize", "no"]);
        }
        let log = fs::File::create(self.path("log")).expect("a log");
        command.args(&self.options).current_dir(self.directory.path()).stdin(Stdio::null());
        let child = command.stdout(log.try_clone().expect("a log")).stderr(log).spawn();
        self.child = Some(child.unwrap_or_else(|error| panic!("{}: {error}; install it", self.program)));
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            assert!(Instant::now() < deadline, "{} does not listen: {}", self.program, self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// More options, for when it is started again.
    pub(crate) fn options_for_next_run(&mut self, options: &[&str]) {
        self.options.extend(options.iter().map(|text| (*text).to_owned()));
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Kills it (SIGKILL).
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it is ours");
            child.wait().expect("it is ours");
        }
    }

    /// Sends it a signal. One that stops it has stopped all its threads when this returns: each of them goes on until its
    /// own turn on a processor comes.
    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.as_ref().expect("it runs").id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().expect("kill").success());
        let is_stopped = |task: fs::DirEntry| {
            let state = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            state.rsplit_once(") ").is_none_or(|(_, state)| state.starts_with('T'))
        };
        while signal == "-STOP"
            && !fs::read_dir(format!("/proc/{pid}/task")).expect("it runs").flatten().all(is_stopped)
        {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Runs `redis-cli` on it, and tells what it prints.
    pub(crate) fn cli(&self, words: &[&str]) -> String {
        let port = self.port.to_string();
        let output = Command::new("redis-cli").args(["-h", "127.0.0.1", "-p", &port]).args(words).output();
        let output = output.expect("redis-cli runs");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A certificate authority and a certificate for 127.0.0.1: `ca.pem`, `cert.pem` and `key.pem`.
pub(crate) fn certificates(directory: &Path) {
    let openssl = |words: &str| {
        let output = Command::new("openssl").args(words.split(' ')).current_dir(directory).output().expect("openssl");
        assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let ec = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    openssl(&format!("req -x509 {ec} -keyout ca.key -out ca.pem -days 2 -subj /CN=test-ca"));
    openssl(&format!("req {ec} -keyout key.pem -out cert.csr -subj /CN=redis"));
    fs::write(directory.join("names"), "subjectAltName=IP:127.0.0.1").expect("a file");
    openssl("x509 -req -in cert.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out cert.pem -days 2 -extfile names");
}

/// Three masters that share the slots, and after them so many replicas of each.
pub(crate) fn cluster(replicas: usize) -> Vec<Server> {
    let options = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000"];
    let nodes: Vec<Server> = (0..3 + 3 * replicas).map(|_| Server::start(&options)).collect();
    let addresses: Vec<String> = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
    let mut words = vec!["--cluster", "create"];
    words.extend(addresses.iter().map(String::as_str));
    let replicas = replicas.to_string();
    words.extend(["--cluster-replicas", &replicas, "--cluster-yes"]);
    let made = Command::new("redis-cli").args(&words).output().expect("redis-cli runs");
    assert!(made.status.success(), "{made:?}: {}", nodes[0].log());
    let all = |node: &Server| node.cli(&["cluster", "info"]).contains("cluster_state:ok");
    wait_until("the cluster is whole", || nodes.iter().all(all));
    nodes
}

/// Three Sentinels that watch a master and its replica as `mymaster`.
pub(crate) struct Watched {
    pub(crate) master: Server,
    pub(crate) replica: Server,
    pub(crate) sentinels: Vec<Server>,
    password: Option<&'static str>,
}

impl Watched {
    pub(crate) fn url(&self) -> String {
        let hosts: Vec<String> = self.sentinels.iter().map(|server| format!("127.0.0.1:{}", server.port)).collect();
        format!("redis-sentinel://{}/mymaster", hosts.join(","))
    }

    pub(crate) fn options(&self) -> RedisOptions {
        let options = RedisOptions::parse(&self.url()).expect("a URL");
        match self.password {
            Some(password) => options.sentinel_login(None, Secret::new(password.to_owned())),
            None => options,
        }
    }
}

/// `password` is that of the Sentinels, which is not that of the servers.
pub(crate) fn watched(password: Option<&'static str>) -> Watched {
    // Without it a master waits five seconds for more replicas before it sends its data.
    let at_once = ["--repl-diskless-sync-delay", "0"];
    let master = Server::start(&at_once);
    let replica = Server::start(&at_once);
    replica.cli(&["replicaof", "127.0.0.1", &master.port.to_string()]);
    let sentinels: Vec<Server> = (0..3)
        .map(|_| {
            let port = free_port();
            let directory = tempfile::tempdir().expect("a directory");
            let file = directory.path().join("sentinel.conf");
            let text = format!(
                "port {port}\nbind 127.0.0.1\nsentinel monitor mymaster 127.0.0.1 {} 2\n\
                 sentinel down-after-milliseconds mymaster 400\nsentinel failover-timeout mymaster 2000\n",
                master.port
            );
            let login = password.map(|word| format!("requirepass {word}\nsentinel sentinel-pass {word}\n"));
            let text = text + &login.unwrap_or_default();
            fs::write(&file, text).expect("a file");
            let options = vec![file.display().to_string(), "--sentinel".to_owned()];
            let mut sentinel = Server { port, child: None, directory, program: "redis-server", options };
            sentinel.run();
            sentinel
        })
        .collect();
    let login: Vec<&str> = password.iter().flat_map(|word| ["-a", word]).collect();
    let knows = |sentinel: &Server| {
        let said = sentinel.cli(&[&login[..], &["sentinel", "master", "mymaster"]].concat());
        let value = |name: &str| said.lines().skip_while(|line| *line != name).nth(1).map(str::to_owned);
        value("num-slaves").as_deref() == Some("1") && value("num-other-sentinels").as_deref() == Some("2")
    };
    wait_until("the Sentinels know each other", || sentinels.iter().all(knows));
    wait_until("the replica follows", || replica.cli(&["info", "replication"]).contains("master_link_status:up"));
    Watched { master, replica, sentinels, password }
}

pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
