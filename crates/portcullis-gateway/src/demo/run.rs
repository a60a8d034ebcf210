//! Runs the demo: the sample API, the ordinary gateway in front of it, three accounts, and the tour.

use std::net::SocketAddr;
use std::path::PathBuf;

use portcullis_identity::{Identity, IdentityError, NewAccount, Origin};
use tokio::net::TcpListener;

use super::{ADMIN, Accounts, CONFIG, GATEWAY, STATE_DIR, Tour, UPSTREAM, upstream};
use crate::admin::OperatorToken;
use crate::cli::Failure;
use crate::config::Source;
use crate::serve::{self, Running, Signals};

/// Where the parts of the demo are.
#[derive(Clone, Debug)]
pub struct Places {
    state_dir: PathBuf,
    gateway: SocketAddr,
    admin: SocketAddr,
    upstream: SocketAddr,
}

impl Places {
    /// The given places, and the demo's own choice for the rest.
    #[must_use]
    pub fn new(
        state_dir: Option<PathBuf>,
        gateway: Option<SocketAddr>,
        admin: Option<SocketAddr>,
        upstream: Option<SocketAddr>,
    ) -> Self {
        Self {
            state_dir: state_dir.unwrap_or_else(|| STATE_DIR.into()),
            gateway: gateway.unwrap_or(GATEWAY),
            admin: admin.unwrap_or(ADMIN),
            upstream: upstream.unwrap_or(UPSTREAM),
        }
    }

    /// The demo's configuration with these places in it.
    fn source(&self) -> Source {
        let text = CONFIG
            .replace(&GATEWAY.to_string(), &self.gateway.to_string())
            .replace(&ADMIN.to_string(), &self.admin.to_string())
            .replace(&UPSTREAM.to_string(), &self.upstream.to_string());
        Source::text("demo", text).keeping_state_in(self.state_dir.clone()).catching_mail()
    }
}

/// Runs the whole demo until it is told to stop.
///
/// # Errors
/// A [`Failure`] in one line that says why it cannot start.
pub fn whole(places: Places) -> Result<(), Failure> {
    serve::log_lines();
    let source = places.source();
    let mut settings = source.load()?.settings;
    settings.log.access = true;
    let runtime = serve::service_runtime().map_err(Failure::run)?;
    runtime.block_on(async {
        let mut signals = Signals::new().map_err(Failure::run)?;
        let api = bind(places.upstream).await?;
        let token = settings.admin.clone();
        let running = Running::start(settings).await.map_err(Failure::run)?;
        let accounts = Accounts::load_or_create(&places.state_dir).map_err(Failure::run)?;
        if let Some(identity) = running.identity() {
            provide(identity, &accounts).await.map_err(Failure::run)?;
        }
        let sample = tokio::spawn(upstream::serve(api, std::future::pending()));
        let tour = Tour {
            gateway: format!("http://{}", places.gateway),
            admin: format!("http://{}", places.admin),
            upstream: format!("http://{}", places.upstream),
            state_dir: places.state_dir.clone(),
            accounts,
            token: OperatorToken::resolve(&token, &places.state_dir).map_err(Failure::run)?,
        };
        println!("{}", tour.banner());
        let ended = signals.serve(&source, running).await;
        sample.abort();
        ended
    })
}

/// Runs the sample API alone until Ctrl-C.
///
/// # Errors
/// A [`Failure`] where its address is taken.
pub fn sample_api(address: SocketAddr) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::run)?;
    runtime.block_on(async {
        let listener = bind(address).await?;
        println!("The sample API listens on http://{address}. Stop it with Ctrl-C.");
        let stop = async {
            // Without a handler for Ctrl-C the system's own one ends the process, which is as good here.
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        upstream::serve(listener, stop).await.map_err(Failure::run)
    })
}

async fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|error| Failure::run(format_args!("the sample API cannot listen on {address}: {error}")))
}

/// Makes the accounts, or gives those that exist the printed passwords again, because the file with the passwords may
/// have been removed.
async fn provide(identity: &Identity, accounts: &Accounts) -> Result<(), IdentityError> {
    for account in accounts.iter() {
        let new = NewAccount {
            email: account.email.to_owned(),
            password: account.password.clone(),
            name: None,
            role: account.role.to_owned(),
            plan: None,
        };
        match identity.create_account(new, Origin::default()).await {
            Ok(_) => {}
            Err(IdentityError::Exists) => {
                identity.set_password(account.email, &account.password, Origin::default()).await?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
