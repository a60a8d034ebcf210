//! Loading a configuration: the way in for the command line, the demo and a reload.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::diagnostic::Report;
use super::document;
use super::outside::{Outside, Process};
use super::resolve::{self, Given};
use super::settings::Settings;

/// Where a configuration comes from. Kept by a serving process, which loads it again when it is told to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    origin: Origin,
    listen: Vec<SocketAddr>,
    state_dir: Option<PathBuf>,
    catches_mail: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Origin {
    File(PathBuf),
    Text { name: String, text: String },
}

/// Settings and what there is to say of them.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// The warnings; printed at the start and by `check`.
    pub report: Report,
}

/// Why there are no settings.
#[derive(Debug)]
pub enum LoadError {
    /// The file cannot be read.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The file has errors.
    Invalid(Report),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, error } => write!(f, "cannot read {}: {error}", path.display()),
            Self::Invalid(report) => report.fmt(f),
        }
    }
}

impl std::error::Error for LoadError {}

impl Source {
    /// A file.
    #[must_use]
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::new(Origin::File(path.into()))
    }

    /// A text with a name for messages; relative paths in it start at the working directory.
    #[must_use]
    pub fn text(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(Origin::Text { name: name.into(), text: text.into() })
    }

    /// No file at all: one upstream by its URL, and the defaults.
    #[must_use]
    pub fn upstream(url: &str) -> Self {
        let url = toml::Value::from(url);
        Self::text("--upstream", format!("upstream = {url}\n"))
    }

    const fn new(origin: Origin) -> Self {
        Self { origin, listen: Vec::new(), state_dir: None, catches_mail: false }
    }

    /// Listens there instead of where the file says.
    #[must_use]
    pub fn listening(mut self, listen: Vec<SocketAddr>) -> Self {
        self.listen = listen;
        self
    }

    /// Keeps state there instead of where the file says.
    #[must_use]
    pub fn keeping_state_in(mut self, directory: impl Into<PathBuf>) -> Self {
        self.state_dir = Some(directory.into());
        self
    }

    /// Catches mail for the admin listener instead of sending it, whatever the file says.
    #[must_use]
    pub const fn catching_mail(mut self) -> Self {
        self.catches_mail = true;
        self
    }

    /// The file, where there is one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match &self.origin {
            Origin::File(path) => Some(path),
            Origin::Text { .. } => None,
        }
    }

    /// Reads and resolves it with the process's environment.
    ///
    /// # Errors
    /// [`LoadError`] where it cannot be read, or with every error there is in it.
    pub fn load(&self) -> Result<Loaded, LoadError> {
        self.load_with(&Process)
    }

    /// Reads and resolves it with an environment of the caller's choice.
    ///
    /// # Errors
    /// [`LoadError`] where it cannot be read, or with every error there is in it.
    pub fn load_with(&self, outside: &dyn Outside) -> Result<Loaded, LoadError> {
        let (name, text, folder) = match &self.origin {
            Origin::Text { name, text } => (name.clone(), text.clone(), Path::new("")),
            Origin::File(path) => {
                let unreadable = |error| LoadError::Unreadable { path: path.clone(), error };
                let bytes = outside.read(path).map_err(unreadable)?;
                let text =
                    String::from_utf8(bytes).map_err(|_| unreadable(std::io::Error::other("it is not UTF-8 text")))?;
                (path.display().to_string(), text, path.parent().unwrap_or(Path::new("")))
            }
        };
        let (document, found) = document::read(&text);
        let Some(document) = document else { return Err(LoadError::Invalid(Report::new(name, text, found))) };
        let given = Given {
            outside,
            folder,
            listen: &self.listen,
            state_dir: self.state_dir.as_deref(),
            catches_mail: self.catches_mail,
        };
        let (settings, found) = resolve::resolve(document, found, &given);
        let report = Report::new(name, text, found);
        if report.errors() > 0 { Err(LoadError::Invalid(report)) } else { Ok(Loaded { settings, report }) }
    }
}
