//! What a person types: `serve`, `check`, `init`, `schema`, `users`, `keys`, `api-keys`, `tokens`, `limits`, `explain`,
//! `demo`.
//!
//! This module parses, loads the configuration and turns failures into one line and an exit code: 2 where the command line
//! or the configuration is wrong, 1 where something fails while it runs. What the commands do is behind [`Commands`].

mod api_keys;
mod args;
mod check;
mod explain;
mod init;
mod keys;
mod limits;
mod operator;
mod process;
mod question;
mod reputation;
mod tokens;
mod users;

use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use portcullis_core::Secret;

use crate::config::{LoadError, Loaded, Report, Settings, Source, json_schema};
pub use api_keys::{ApiKeyAction, ApiKeyTask};
use args::{Cli, Command, Deployment, ExplainArgs, ServeArgs};
pub use explain::{explain, gate_for_questions};
pub use limits::LimitTask;
pub use process::Process;
pub use question::Question;
pub use reputation::ReputationTask;
pub use users::{ImportTask, UserTask};

/// What the commands do that need more than the configuration.
pub trait Commands {
    /// Serves until it is told to stop. The source is loaded again at SIGHUP.
    ///
    /// # Errors
    /// A [`Failure`] that says why it cannot start or had to stop.
    fn serve(&self, source: Source, settings: Settings) -> Result<(), Failure>;

    /// Runs the demo until it is told to stop.
    ///
    /// # Errors
    /// A [`Failure`] that says why it cannot start.
    fn demo(&self, demo: Demo) -> Result<(), Failure>;

    /// Creates an account; returns what to print.
    ///
    /// # Errors
    /// A [`Failure`] that says why there is none.
    fn create_user(&self, settings: Settings, user: NewUser) -> Result<String, Failure>;

    /// Lists the accounts, each as a line that is handed over at once: there may be more than memory should hold.
    ///
    /// # Errors
    /// A [`Failure`] that says why they cannot be read.
    fn list_users(&self, settings: Settings, show: &mut dyn FnMut(&str)) -> Result<(), Failure>;

    /// Imports, exports, shows or changes accounts; returns what to print.
    ///
    /// # Errors
    /// A [`Failure`] that says what was not done, also where some rows of an import were refused.
    fn manage_users(&self, settings: Settings, task: UserTask) -> Result<String, Failure>;

    /// Lists the signing keys as text.
    ///
    /// # Errors
    /// A [`Failure`] that says why they cannot be read.
    fn list_keys(&self, settings: Settings) -> Result<String, Failure>;

    /// Rotates the signing key; returns what to print.
    ///
    /// # Errors
    /// A [`Failure`] that says why it was not rotated.
    fn rotate_keys(&self, settings: Settings) -> Result<String, Failure>;

    /// Takes a private key in PEM as the signing key; returns what to print.
    ///
    /// # Errors
    /// A [`Failure`] that says why it does not sign.
    fn import_key(&self, settings: Settings, pem: Secret<String>) -> Result<String, Failure>;

    /// The public keys as a JWK Set, or as PEM.
    ///
    /// # Errors
    /// A [`Failure`] that says why they cannot be read.
    fn public_keys(&self, settings: Settings, pem: bool) -> Result<String, Failure>;

    /// Manages the API keys of an account; returns what to print.
    ///
    /// # Errors
    /// A [`Failure`] that says why that did not succeed.
    fn manage_api_keys(&self, settings: Settings, task: ApiKeyTask) -> Result<String, Failure>;

    /// Revokes one access token by its `jti`; returns what to print.
    ///
    /// # Errors
    /// A [`Failure`] that says why that did not succeed.
    fn revoke_token(&self, settings: Settings, jti: &str) -> Result<String, Failure>;

    /// Ends every session of everybody; returns what to print.
    ///
    /// # Errors
    /// A [`Failure`] that says why none has ended.
    fn revoke_everybody(&self, settings: Settings) -> Result<String, Failure>;

    /// Lists limits of the running gate, tells how one stands or changes that; returns what to print.
    ///
    /// # Errors
    /// A [`Failure`] that says why that did not succeed.
    fn manage_limits(&self, settings: Settings, task: LimitTask) -> Result<String, Failure>;

    /// Asks the running gate about addresses; returns what to print.
    ///
    /// # Errors
    /// A [`Failure`] that says why that did not succeed.
    fn manage_reputation(&self, settings: Settings, task: ReputationTask) -> Result<String, Failure>;

    /// Tells what the gate would answer, as text. It must charge no limit that requests are counted by.
    ///
    /// # Errors
    /// A [`Failure`] that says why nobody can tell.
    fn explain(&self, settings: Settings, question: Question) -> Result<String, Failure>;
}

/// Which demo to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Demo {
    /// The sample API, the gate and the tour.
    Whole {
        /// Where state is kept; `None` for the demo's own choice.
        state_dir: Option<PathBuf>,
        /// Where the gate listens; `None` for the demo's own choice.
        listen: Option<SocketAddr>,
        /// Where the admin listener is; `None` for the demo's own choice.
        admin: Option<SocketAddr>,
        /// Where the sample API listens; `None` for the demo's own choice.
        upstream: Option<SocketAddr>,
    },
    /// The sample API alone.
    Upstream {
        /// Where it listens; `None` for the demo's own choice.
        listen: Option<SocketAddr>,
    },
}

/// An account to create.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// The e-mail address it logs in with, not yet checked.
    pub email: String,
    /// Its role.
    pub role: String,
    /// Its owner's name.
    pub name: Option<String>,
    /// Its plan; `None` for the configured default.
    pub plan: Option<String>,
    /// Its password; `None` to make one at random and print it.
    pub password: Option<Secret<String>>,
}

/// Why a command failed: one line for a person, and an exit code for a script.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The configuration or the command line is wrong (exit code 2).
    #[error("{0}")]
    Usage(String),
    /// The configuration file has errors; the report says which (exit code 2).
    #[error("{0}")]
    Invalid(Report),
    /// Something failed while it ran (exit code 1).
    #[error("{0}")]
    Run(String),
}

impl Failure {
    /// A failure while it ran, from anything that can say why.
    pub fn run(error: impl std::fmt::Display) -> Self {
        Self::Run(error.to_string())
    }

    const fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Invalid(_) => 2,
            Self::Run(_) => 1,
        }
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Invalid(report) => Self::Invalid(report),
            LoadError::Unreadable { .. } => Self::Usage(error.to_string()),
        }
    }
}

/// Where a command writes. A reader that has gone away is no failure of the command, so errors of writing are dropped.
struct Console<'a> {
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
}

impl Console<'_> {
    fn say(&mut self, text: impl std::fmt::Display) {
        let _ = writeln!(self.out, "{text}");
        let _ = self.out.flush();
    }

    fn warn(&mut self, text: impl std::fmt::Display) {
        let _ = writeln!(self.err, "{text}");
    }
}

/// Runs the process's command line.
#[must_use]
pub fn main(commands: &dyn Commands) -> ExitCode {
    let mut console = Console { out: &mut std::io::stdout(), err: &mut std::io::stderr() };
    ExitCode::from(run(std::env::args_os(), commands, &mut console))
}

/// Runs one command line and returns the exit code.
fn run(args: impl IntoIterator<Item = OsString>, commands: &dyn Commands, console: &mut Console<'_>) -> u8 {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => {
            let _ = write!(console.err, "{}", error.render());
            return 2;
        }
        Err(help) => {
            let _ = write!(console.out, "{}", help.render());
            return 0;
        }
    };
    match dispatch(cli.command, commands, console) {
        Ok(()) => 0,
        Err(failure) => {
            match &failure {
                Failure::Invalid(report) => {
                    let _ = write!(console.err, "{report}\n{}\n", check::summary(report));
                }
                Failure::Usage(line) | Failure::Run(line) => console.warn(format_args!("portcullis: {line}")),
            }
            failure.exit_code()
        }
    }
}

fn dispatch(command: Command, commands: &dyn Commands, console: &mut Console<'_>) -> Result<(), Failure> {
    match command {
        Command::Check { file } => check::check(&file, console)?,
        Command::Init { path } => init::init(&path, console)?,
        Command::Schema => {
            let _ = console.out.write_all(json_schema().as_bytes());
        }
        Command::Serve(args) => {
            let source = serve_source(args);
            let settings = load(&source, console)?;
            commands.serve(source, settings)?;
        }
        Command::Demo { upstream_only: true, listen, .. } => commands.demo(Demo::Upstream { listen })?,
        Command::Demo { upstream_only: false, state_dir, listen, admin, upstream_listen } => {
            commands.demo(Demo::Whole { state_dir, listen, admin, upstream: upstream_listen })?;
        }
        Command::Users(command) => users::dispatch(command, commands, console)?,
        Command::Keys(command) => keys::dispatch(command, commands, console)?,
        Command::ApiKeys(command) => api_keys::dispatch(command, commands, console)?,
        Command::Tokens(command) => tokens::dispatch(command, commands, console)?,
        Command::Limits(command) => limits::dispatch(command, commands, console)?,
        Command::Reputation(command) => reputation::dispatch(command, commands, console)?,
        Command::Explain(args) => ask(args, commands, console)?,
    }
    Ok(())
}

fn ask(args: ExplainArgs, commands: &dyn Commands, console: &mut Console<'_>) -> Result<(), Failure> {
    let token = match (args.token, args.token_file) {
        (Some(token), _) => Some(Secret::new(token)),
        (None, Some(path)) => Some(read_secret(&path)?),
        (None, None) => None,
    };
    let token = token.as_ref().map(|token| token.expose().as_str());
    let question = Question::parse(&args.request, token, &args.header, args.address).map_err(Failure::Usage)?;
    let source = match args.upstream {
        Some(url) => keeping(Source::upstream(&url), args.state_dir),
        None => deployed(Deployment { config: args.config, state_dir: args.state_dir }),
    };
    let settings = load(&source, console)?;
    console.say(commands.explain(settings, question)?);
    Ok(())
}

fn serve_source(args: ServeArgs) -> Source {
    let source = match (args.config, args.upstream) {
        (Some(path), _) => Source::file(path),
        (None, url) => Source::upstream(&url.unwrap_or_default()),
    };
    keeping(source.listening(args.listen), args.state_dir)
}

/// The deployment that an operator means. Without a file it is the default one, of which no command here asks for the
/// upstream.
fn deployed(deployment: Deployment) -> Source {
    let source = deployment.config.map_or_else(|| Source::upstream("http://127.0.0.1:3000"), Source::file);
    keeping(source, deployment.state_dir)
}

fn keeping(source: Source, state_dir: Option<PathBuf>) -> Source {
    match state_dir {
        Some(directory) => source.keeping_state_in(directory),
        None => source,
    }
}

/// Loads a configuration and shows its warnings.
fn load(source: &Source, console: &mut Console<'_>) -> Result<Settings, Failure> {
    let Loaded { settings, report } = source.load()?;
    if report.warnings() > 0 {
        let _ = writeln!(console.err, "{report}");
    }
    Ok(settings)
}

/// A secret in a file or on standard input, without its line end.
fn read_secret(path: &Path) -> Result<Secret<String>, Failure> {
    /// No password and no token is longer.
    const LONGEST: u64 = 64 << 10;
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(LONGEST).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(LONGEST).read_to_string(&mut text))
    };
    let text = Secret::new(text);
    read.map_err(|error| Failure::Usage(format!("cannot read {}: {error}", path.display())))?;
    let bare = text.expose().trim_end_matches(['\r', '\n']);
    if bare.is_empty() {
        return Err(Failure::Usage(format!("{} is empty", path.display())));
    }
    Ok(Secret::new(bare.to_owned()))
}

#[cfg(test)]
mod tests;
