//! The commands of the real process: thin calls into the rooms that do the work.

use super::{Commands, Demo, Failure, NewUser, Question};
use crate::config::{Settings, Source};
use crate::demo;

/// The real process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Process;

impl Commands for Process {
    fn serve(&self, _: Source, _: Settings) -> Result<(), Failure> {
        Err(Failure::run("serve is not part of this build"))
    }

    fn demo(&self, demo: Demo) -> Result<(), Failure> {
        match demo {
            Demo::Upstream { listen } => sample_api(listen.unwrap_or(demo::UPSTREAM_ALONE)),
            Demo::Whole { .. } => Err(Failure::run("the whole demo is not part of this build")),
        }
    }

    fn create_user(&self, _: Settings, _: NewUser) -> Result<String, Failure> {
        Err(Failure::run("users create is not part of this build"))
    }

    fn list_users(&self, _: Settings) -> Result<String, Failure> {
        Err(Failure::run("users list is not part of this build"))
    }

    fn list_keys(&self, _: Settings) -> Result<String, Failure> {
        Err(Failure::run("keys list is not part of this build"))
    }

    fn rotate_keys(&self, _: Settings) -> Result<String, Failure> {
        Err(Failure::run("keys rotate is not part of this build"))
    }

    fn explain(&self, _: Settings, _: Question) -> Result<String, Failure> {
        Err(Failure::run("explain is not part of this build"))
    }
}

/// Runs the sample API alone until Ctrl-C.
fn sample_api(address: std::net::SocketAddr) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::run)?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(address).await;
        let listener = listener.map_err(|error| Failure::run(format_args!("cannot listen on {address}: {error}")))?;
        println!("The sample API listens on http://{address}. Stop it with Ctrl-C.");
        let stop = async {
            // Without a handler for Ctrl-C the system's own one ends the process, which is as good here.
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        demo::upstream::serve(listener, stop).await.map_err(Failure::run)
    })
}
