//! The commands of the real process: thin calls into the rooms that do the work.

use std::fmt::Write as _;
use std::sync::Arc;

use portcullis_auth::Issuer;
use portcullis_core::ports::{Holders, Nobody, Revocations};
use portcullis_core::{Clock as _, Event, EventSink, Secret};
use portcullis_identity::{
    Account, AccountFilter, Identity, IdentityError, KeyImportError, MAX_PAGE, NewAccount, Origin,
};
use tokio::runtime::Handle;

use super::{
    ApiKeyTask, Commands, Demo, Failure, LimitTask, NewUser, Question, ReputationTask, UserTask, api_keys, explain,
    gate_for_questions, limits, operator::Operator, reputation, users,
};
use crate::clock::ProcessClock;
use crate::config::{Settings, Source};
use crate::serve::{self, OpenIdentityError};
use crate::{admin, demo};

/// The real process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Process;

impl Commands for Process {
    fn serve(&self, source: Source, settings: Settings) -> Result<(), Failure> {
        serve::run(&source, settings)
    }

    fn demo(&self, demo: Demo) -> Result<(), Failure> {
        match demo {
            Demo::Upstream { listen } => demo::run::sample_api(listen.unwrap_or(demo::UPSTREAM_ALONE)),
            Demo::Whole { state_dir, listen, admin, upstream } => {
                demo::run::whole(demo::run::Places::new(state_dir, listen, admin, upstream))
            }
        }
    }

    fn create_user(&self, settings: Settings, user: NewUser) -> Result<String, Failure> {
        if !users::knows_role(&settings, &user.role) {
            return Err(users::no_role(&settings, &user.role));
        }
        let made = user.password.is_none();
        let password =
            user.password.unwrap_or_else(|| Secret::new(format!("{}-Aa1", hex::encode(&admin::random()[..12]))));
        let new = NewAccount {
            email: user.email,
            password: password.clone(),
            name: user.name,
            role: user.role,
            plan: user.plan,
        };
        with_identity(&settings, async |identity| {
            let account = identity.create_account(new, Origin::default()).await.map_err(in_words)?;
            let mut text = format!("created {} with role {} and plan {}", account.email, account.role, account.plan);
            if made {
                let _ = write!(text, "\npassword: {}", password.expose());
            }
            Ok(text)
        })
    }

    fn list_users(&self, settings: Settings, show: &mut dyn FnMut(&str)) -> Result<(), Failure> {
        with_identity(&settings, async |identity| {
            show(&format!("{:<36}  {:<10} {:<10} {:<8} {}", "id", "role", "plan", "state", "email"));
            let (everybody, mut after) = (AccountFilter::default(), None);
            loop {
                let page = identity.accounts_page(&everybody, after.as_deref(), MAX_PAGE).await.map_err(in_words)?;
                for Account { id, email, role, plan, disabled_at, .. } in page.accounts {
                    let state = if disabled_at.is_some() { "disabled" } else { "active" };
                    show(&format!("{id:<36}  {role:<10} {plan:<10} {state:<8} {email}"));
                }
                after = page.next;
                if after.is_none() {
                    return Ok(());
                }
            }
        })
    }

    fn manage_users(&self, settings: Settings, task: UserTask) -> Result<String, Failure> {
        with_identity(&settings, async |identity| users::run(identity, &settings, task).await)
    }

    fn list_keys(&self, settings: Settings) -> Result<String, Failure> {
        with_identity(&settings, async |identity| {
            let keys = identity.list_keys().await.map_err(in_words)?;
            let now = ProcessClock.now();
            let mut text = format!("{:<43}  {:<6} {:<24}  {}", "kid", "alg", "created", "state");
            for key in keys {
                let state = match key.retired_at {
                    None => "signs".to_owned(),
                    Some(at) if at > now => format!("signs until {at}, when its successor is known everywhere"),
                    Some(at) => format!("retired {at}, verifies until its last token has expired"),
                };
                let created = key.created_at.to_rfc3339();
                let _ = write!(text, "\n{:<43}  {:<6} {created:<24}  {state}", key.kid, key.algorithm);
            }
            Ok(text)
        })
    }

    fn rotate_keys(&self, settings: Settings) -> Result<String, Failure> {
        with_identity(&settings, async |identity| {
            let kid = identity.rotate_keys(Origin::default()).await.map_err(Failure::run)?;
            Ok(format!(
                "tokens are signed with {kid} as soon as every instance knows it; the old key verifies until its last token has expired"
            ))
        })
    }

    fn import_key(&self, settings: Settings, pem: Secret<String>) -> Result<String, Failure> {
        with_identity(&settings, async |identity| {
            let kid = identity.import_key(&pem, Origin::default()).await.map_err(|error| match error {
                KeyImportError::Store(error) => Failure::run(error),
                refused => Failure::Usage(refused.to_string()),
            })?;
            Ok(format!(
                "new tokens are signed with {kid}; the old key verifies until its last token has expired\n\
                 the key is kept under the master key: the file is not needed any more"
            ))
        })
    }

    fn public_keys(&self, settings: Settings, pem: bool) -> Result<String, Failure> {
        with_identity(&settings, async |identity| {
            let keys = identity.keys().load();
            if !pem {
                return Ok(keys.1.public_jwks_json());
            }
            let mut text = String::new();
            for key in keys.1.keys() {
                // Text between the blocks is passed over by whoever reads PEM (RFC 7468 §2).
                if let (Some(kid), Some(pem)) = (key.kid(), key.public_pem()) {
                    let _ = write!(text, "kid {kid} for {}\n{pem}", key.algorithm().as_str());
                }
            }
            match text.strip_suffix('\n') {
                Some(text) => Ok(text.to_owned()),
                None => Err(Failure::run("tokens are signed with a shared secret, which has no public half")),
            }
        })
    }

    fn manage_api_keys(&self, settings: Settings, task: ApiKeyTask) -> Result<String, Failure> {
        with_identity(&settings, async |identity| api_keys::run(identity, task).await)
    }

    fn revoke_token(&self, settings: Settings, jti: &str) -> Result<String, Failure> {
        with_identity(&settings, async |identity| {
            identity.revoke_token(jti, Origin::default()).await.map_err(in_words)?;
            Ok(format!("the access token {jti} is void; its session can still refresh"))
        })
    }

    fn revoke_everybody(&self, settings: Settings) -> Result<String, Failure> {
        with_identity(&settings, async |identity| {
            let ended = identity.revoke_everybody(Origin::default()).await.map_err(in_words)?;
            Ok(format!("{ended} sessions have ended; whoever was logged in has to log in again, API keys go on"))
        })
    }

    fn manage_limits(&self, settings: Settings, task: LimitTask) -> Result<String, Failure> {
        let operator = Operator::of(&settings)?;
        let runtime = serve::service_runtime().map_err(Failure::run)?;
        runtime.block_on(limits::run(&operator, task))
    }

    fn manage_reputation(&self, settings: Settings, task: ReputationTask) -> Result<String, Failure> {
        let operator = Operator::of(&settings)?;
        let runtime = serve::service_runtime().map_err(Failure::run)?;
        runtime.block_on(reputation::run(&operator, task))
    }

    fn explain(&self, settings: Settings, question: Question) -> Result<String, Failure> {
        let runtime = serve::service_runtime().map_err(Failure::run)?;
        runtime.block_on(async {
            type Known = (Option<Issuer>, Secret<Vec<u8>>, Arc<dyn Revocations>, Arc<dyn Holders>);
            let (own, csrf_key, revocations, holders): Known = match open(&settings).await {
                Ok(identity) => {
                    let identity = Arc::new(identity);
                    let holders = serve::AccountHolders::new(Arc::clone(&identity), Handle::current());
                    let own = Some(serve::own_issuer(&settings, &identity));
                    (own, identity.csrf_key(), identity.revocations(), Arc::new(holders))
                }
                Err(OpenIdentityError::Disabled) => {
                    // Nobody signs with the key of a process that only answers a question.
                    let csrf_key = Secret::new(rand::random::<[u8; 32]>().to_vec());
                    (None, csrf_key, Arc::new(Nobody), Arc::new(Nobody))
                }
                Err(error) => return Err(Failure::run(error)),
            };
            let own_routes = if own.is_some() { serve::own_routes() } else { Vec::new() };
            let blocks = Arc::new(Nobody);
            let gate = gate_for_questions(&settings, own, own_routes, &csrf_key, revocations, holders, blocks)?;
            Ok(explain(&gate, &question, settings.is_https(), ProcessClock.now()).await)
        })
    }
}

/// What a command does beside a serving process is in the audit trail; it has no events.
struct Deaf;

impl EventSink for Deaf {
    fn record(&self, _: Event) {}
}

/// Opens the accounts beside a process that may be serving them: the database says who writes.
async fn open(settings: &Settings) -> Result<Identity, OpenIdentityError> {
    serve::StateDir::make(&settings.state_dir)?;
    // A command logs nobody in.
    let attempts = Arc::new(serve::CountedAttempts::default());
    serve::open_identity(settings, Arc::new(Deaf), attempts).await.map(|(identity, _)| identity)
}

fn with_identity<T>(
    settings: &Settings,
    command: impl AsyncFnOnce(&Identity) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let runtime = serve::service_runtime().map_err(Failure::run)?;
    runtime.block_on(async {
        let identity = open(settings).await.map_err(Failure::run)?;
        let outcome = command(&identity).await;
        identity.close().await;
        outcome
    })
}

/// A failure with every broken rule.
pub(super) fn in_words(error: IdentityError) -> Failure {
    match error {
        IdentityError::Invalid(broken) => {
            let rules: Vec<String> = broken.iter().map(|rule| format!("{}: {}", rule.field, rule.message)).collect();
            Failure::Usage(rules.join("; "))
        }
        other => Failure::run(other),
    }
}
