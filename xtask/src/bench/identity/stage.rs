//! A gateway with very many accounts, on a file or on a server's database.

use std::fs;
use std::io::{BufWriter, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::bench::client::Client;
use crate::process::{Process, free_port};

/// Accounts in every database.
pub(super) const ACCOUNTS: usize = 100_000;

/// The password of all of them.
pub(super) const PASSWORD: &str = "Walks-the-wall-4711";

const MASTER_KEY: &str = "8f2c1b7a90de4f53c6a1e8d7b4902f6135ac7e98d0b1f4c28d3e5a7b6c9f0e12";

/// The address of an account.
pub(super) fn email(index: usize) -> String {
    format!("user{index}@example.com")
}

/// What logs an account in.
pub(super) fn login(index: usize) -> Value {
    json!({ "email": email(index), "password": PASSWORD, "delivery": "body" })
}

/// A running gateway with its accounts.
pub(super) struct Stage {
    pub(super) listen: SocketAddr,
    pub(super) gateway: Process,
}

impl Stage {
    /// Makes the accounts and starts the gateway. Limits are off: they would answer instead of what is measured.
    pub(super) fn set(
        binary: &Path,
        directory: &Path,
        upstream: SocketAddr,
        database: Option<&str>,
    ) -> Result<Self, String> {
        if directory.exists() {
            fs::remove_dir_all(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
        }
        fs::create_dir_all(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
        let (listen, admin) = (free_port()?, free_port()?);
        let config = directory.join("portcullis.toml");
        let given = database.map(|url| {
            let key = directory.join("master.key");
            (format!("master_key_file = \"{}\"\n", key.display()), format!("database = \"{url}\"\n"), key)
        });
        if let Some((_, _, key)) = &given {
            write(key, MASTER_KEY)?;
        }
        let (key, database) = given.map_or_else(Default::default, |(key, database, _)| (key, database));
        // What is measured is what passwords cost; an account that takes five wrong ones would cost nothing.
        let text = format!(
            "listen = \"{listen}\"\nupstream = \"http://{upstream}\"\npublic_url = \"http://{listen}\"\nstate_dir = \"{}\"\n{key}\n\
             [admin]\nlisten = \"{admin}\"\n\n[identity]\nregistration = false\n{database}\n\
             [identity.lockout]\nenabled = false\n\n[limits]\npreset = \"none\"\n\n\
             [[route]]\nmatch = \"/api/**\"\naccess = \"authenticated\"\n",
            directory.join("state").display(),
        );
        write(&config, &text)?;
        fill(binary, directory, &config)?;
        let mut command = Command::new(binary);
        command.args(["serve", "--config"]).arg(&config);
        let mut gateway = Process::start(command, &directory.join("gateway.log"))?;
        gateway.await_port(listen)?;
        Ok(Self { listen, gateway })
    }

    /// Logs accounts in; their access and refresh tokens.
    pub(super) fn sessions(&self, accounts: std::ops::Range<usize>) -> Result<Vec<(String, String)>, String> {
        let mut client = Client::new(self.listen);
        let mut one = |index| {
            let pair = client.post("/auth/login", &login(index))?;
            Ok((pair.member("accessToken")?, pair.member("refreshToken")?))
        };
        accounts.map(&mut one).collect()
    }
}

/// Imports the accounts with the hash of one that was made here, so that their logins cost what everybody's do.
fn fill(binary: &Path, directory: &Path, config: &Path) -> Result<(), String> {
    let password = directory.join("password");
    write(&password, PASSWORD)?;
    let run = |arguments: &[&str], file: Option<&PathBuf>| -> Result<Vec<u8>, String> {
        let mut command = Command::new(binary);
        command.args(arguments).args(file).arg("--config").arg(config);
        let output = command.output().map_err(|error| format!("{}: {error}", binary.display()))?;
        let failed = || format!("{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        if output.status.success() { Ok(output.stdout) } else { Err(failed()) }
    };
    run(&["users", "create", "--email", "model@example.com", "--role", "viewer", "--password-file"], Some(&password))?;
    let exported = directory.join("exported.jsonl");
    run(&["users", "export", "--with-hashes"], Some(&exported))?;
    let exported = fs::read_to_string(&exported).map_err(|error| format!("the export: {error}"))?;
    let model: Value = serde_json::from_str(exported.lines().next().unwrap_or_default())
        .map_err(|error| format!("the export is not JSON lines: {error}"))?;
    let hash = &model["password_hash"];
    let users = directory.join("users.jsonl");
    let failed = |error: std::io::Error| format!("{}: {error}", users.display());
    let mut file = BufWriter::new(fs::File::create(&users).map_err(failed)?);
    for index in 0..ACCOUNTS {
        let row = json!({ "email": email(index), "verified": true, "password_hash": hash, "role": "viewer" });
        writeln!(file, "{row}").map_err(failed)?;
    }
    file.into_inner().map_err(|error| failed(error.into_error()))?;
    run(&["users", "import"], Some(&users)).map(drop)
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt as _;
    let failed = |error| format!("{}: {error}", path.display());
    fs::write(path, text).map_err(failed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(failed)
}
