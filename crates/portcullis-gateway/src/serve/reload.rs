//! Reload (SIGHUP): a good file replaces the rules between two requests; a bad one changes nothing and says so.

use std::sync::Arc;

use portcullis_core::{Clock as _, Event, EventKind, EventSink as _};

use super::identity::own_issuer;
use super::limits;
use super::policy::build_policy;
use super::running::{Running, proxy_settings};
use crate::clock::ProcessClock;
use crate::config::{Settings, Source, TlsSettings};

/// Loads the source again.
pub(super) fn reload(source: &Source, running: &mut Running) {
    let kind = match try_reload(source, running) {
        Ok(()) => {
            tracing::info!("the configuration was loaded anew");
            EventKind::Reloaded
        }
        Err(why) => {
            tracing::error!("the new configuration is refused, the old one stays:\n{why}");
            EventKind::ReloadRefused
        }
    };
    running.recorder.record(Event::new(ProcessClock.now(), kind));
}

fn try_reload(source: &Source, running: &mut Running) -> Result<(), String> {
    let loaded = source.load().map_err(|error| error.to_string())?;
    if loaded.report.warnings() > 0 {
        tracing::warn!("\n{}", loaded.report);
    }
    let settings = keep_fixed(&running.settings, loaded.settings);
    let own = running.identity.as_ref().map(|identity| own_issuer(&settings, identity));
    let policy = build_policy(&settings, own, running.csrf.with_key(&settings))
        .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?;
    limits::introduce(running.introduced.as_ref(), &settings.gate)?;
    running.shared.reload(proxy_settings(&settings), policy);
    // What was kept as it was has been renewed since: the material of the moment is not older than that of the settings.
    let was = running.settings.tls.as_ref().map(|tls| &tls.material);
    if let Some(tls) = &settings.tls
        && !was.is_some_and(|was| Arc::ptr_eq(was, &tls.material))
    {
        running.shared.use_tls(&tls.material);
    }
    running.planned.send_replace(settings.tls.as_ref().and_then(|tls| tls.acme.clone()));
    if let Some(identity) = &running.identity {
        identity.use_roles(settings.gate.roles.clone());
    }
    running.csrf.introduce(&settings);
    running.settings = settings;
    Ok(())
}

/// The new settings, with what takes effect at the start only as it was; `check` names those keys.
fn keep_fixed(old: &Settings, mut new: Settings) -> Settings {
    let addresses = |tls: &Option<TlsSettings>| tls.as_ref().map(|tls| (tls.listen.clone(), tls.redirect.clone()));
    if addresses(&new.tls) != addresses(&old.tls) {
        tracing::warn!(
            "changes of where TLS is spoken take effect at the next start, and until then all of [tls] stays as it was"
        );
        new.tls.clone_from(&old.tls);
    }
    // Certificates stay where this process holds the lock.
    if new.state_dir != old.state_dir && new.tls.as_ref().is_some_and(|tls| tls.acme.is_some()) {
        new.tls.clone_from(&old.tls);
    }
    if new.listen != old.listen || new.public_url != old.public_url || new.state_dir != old.state_dir {
        tracing::warn!("changes of listen, public_url or state_dir take effect at the next start");
    }
    new.listen.clone_from(&old.listen);
    new.public_url = Arc::clone(&old.public_url);
    new.state_dir.clone_from(&old.state_dir);
    new.identity.clone_from(&old.identity);
    new.admin = old.admin.clone();
    new.log = old.log.clone();
    new.transport.cores = old.transport.cores;
    new.gate.max_limit_keys = old.gate.max_limit_keys;
    new.gate.limit_store.clone_from(&old.gate.limit_store);
    new.gate.remembered_tokens = old.gate.remembered_tokens;
    new
}
