//! One order, from the account to the certificate (RFC 8555 §7.1).

use std::time::Duration;

use instant_acme::{
    Account, AuthorizationStatus, CertificateIdentifier, ChallengeType, Error, ExternalAccountKey, Identifier,
    NewAccount, NewOrder, Order, OrderStatus, Problem, RetryPolicy,
};
use portcullis_core::Timestamp;
use zeroize::Zeroizing;

use super::client::Client;
use super::store::{Held, Store};
use super::{AcmePlan, ChallengeKind, Challenges};

/// For one order in all. Whoever verifies us does so within seconds; an authority that looks at orders by hand takes days, and
/// is none for a gate.
const PATIENCE: Duration = Duration::from_secs(180);
/// How long to wait for our proofs to be judged, and for the certificate then.
const POLL: RetryPolicy = RetryPolicy::new().initial_delay(Duration::from_millis(200)).timeout(Duration::from_secs(60));

/// Why there is no certificate.
#[derive(Debug)]
pub(super) struct Failure {
    /// One word for it, stable.
    pub(super) slug: &'static str,
    /// What happened, with what the authority says of it.
    pub(super) message: String,
    /// What to do about it.
    pub(super) hint: String,
    /// Until when the authority does not want to be asked.
    pub(super) stay_away: Option<Duration>,
}

/// What an order needs besides its plan.
pub(super) struct Desk<'a> {
    pub(super) plan: &'a AcmePlan,
    pub(super) store: &'a Store,
    pub(super) challenges: &'a Challenges,
    pub(super) client: Client,
}

/// Takes every answer to a challenge away again, however an order ends.
struct Cleared<'a>(&'a Challenges);

impl Drop for Cleared<'_> {
    fn drop(&mut self) {
        self.0.clear();
    }
}

impl Desk<'_> {
    /// Orders a certificate; where the order replaces one, the authority is told so (RFC 9773 §5).
    pub(super) async fn obtain(&self, replaced: Option<&Held>, now: Timestamp) -> Result<Held, Failure> {
        let _cleared = Cleared(self.challenges);
        match tokio::time::timeout(PATIENCE, self.order(replaced, now)).await {
            Ok(ordered) => ordered,
            Err(_) => Err(self.failure("acme_timeout", format!("the order took more than {} s", PATIENCE.as_secs()))),
        }
    }

    async fn order(&self, replaced: Option<&Held>, now: Timestamp) -> Result<Held, Failure> {
        let account = self.account().await?;
        let names: Vec<Identifier> =
            self.plan.domains.iter().map(|name| Identifier::Dns(name.as_ref().to_owned())).collect();
        let replaced = replaced.and_then(|held| held.id.as_ref());
        let mut order = self.place(&account, &names, replaced).await?;
        if let Err(failure) = self.prove(&mut order).await {
            // An authority that looks at once may say so in its answer to our word that it can.
            let told = if failure.slug == "acme_refused" { self.unproven(&mut order).await } else { None };
            return Err(told.unwrap_or(failure));
        }
        if !matches!(order.state().status, OrderStatus::Ready) {
            match order.poll_ready(&POLL).await {
                Ok(OrderStatus::Ready) => {}
                // The order may say why it failed; its challenges say it better.
                Ok(_) => {
                    let vague =
                        || self.failure("acme_challenge", "the authority could not verify the names".to_owned());
                    return Err(self.unproven(&mut order).await.unwrap_or_else(vague));
                }
                Err(error @ Error::Api(_)) => {
                    return Err(self.unproven(&mut order).await.unwrap_or_else(|| self.refused(&error)));
                }
                Err(error) => return Err(self.refused(&error)),
            }
        }
        // The key is made here, signs the request for its certificate, and leaves this machine never.
        let key = Zeroizing::new(order.finalize().await.map_err(|error| self.refused(&error))?);
        let chain = order.poll_certificate(&POLL).await.map_err(|error| self.refused(&error))?;
        self.take(&chain, &key, now).await
    }

    /// Keeps what came, if it is what was ordered.
    async fn take(&self, chain: &str, key: &str, now: Timestamp) -> Result<Held, Failure> {
        let text = Zeroizing::new(format!("{}\n{key}", chain.trim_end()));
        let wrong = |why: String| {
            self.failure("acme_unusable", format!("the certificate that came cannot be used, and is not: {why}"))
        };
        let held = Held::read(&text).map_err(wrong)?;
        if !held.fits(&self.plan.domains, now) {
            return Err(wrong("it is not for the names that were asked for, or it has ended".to_owned()));
        }
        self.kept(move |store| store.keep(&text)).await?;
        Ok(held)
    }

    /// Something that is written; never on a thread that others wait for.
    async fn kept<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> std::io::Result<T> + Send + 'static,
    ) -> Result<T, Failure> {
        let store = self.store.clone();
        let done = tokio::task::spawn_blocking(move || work(&store)).await.map_err(std::io::Error::other);
        done.and_then(|done| done).map_err(|error| Failure {
            hint: "the state directory must be writable, with room in it".to_owned(),
            ..self.failure("acme_state", format!("{}: {error}", self.plan.folder.display()))
        })
    }

    /// The account with this authority; the first time it is made. The terms have been agreed to in the configuration.
    pub(super) async fn account(&self) -> Result<Account, Failure> {
        let builder = Account::builder_with_http(Box::new(self.client.clone()));
        if let Some(known) = self.kept(Store::account).await? {
            return builder.from_credentials(known).await.map_err(|error| self.refused(&error));
        }
        let contact: Vec<&str> = self.plan.contact.as_deref().into_iter().collect();
        let wanted = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
        let bound = self.plan.external_account.as_ref();
        let bound = bound.map(|account| ExternalAccountKey::new(account.key_id.to_string(), account.key.expose()));
        let made = builder.create(&wanted, self.plan.directory.to_string(), bound.as_ref()).await;
        let (account, credentials) = made.map_err(|error| self.refused(&error))?;
        self.kept(move |store| store.keep_account(&credentials)).await?;
        tracing::info!("there is an account with {} now", self.plan.directory);
        Ok(account)
    }

    async fn place(
        &self,
        account: &Account,
        names: &[Identifier],
        replaced: Option<&CertificateIdentifier<'static>>,
    ) -> Result<Order, Failure> {
        let plain = NewOrder::new(names);
        let placed = match replaced {
            None => account.new_order(&plain).await,
            Some(id) => match account.new_order(&NewOrder::new(names).replaces(id.clone())).await {
                // The authority knows no renewals, or not this one: then it is an order like any other.
                Err(Error::Unsupported(_) | Error::Other(_)) => account.new_order(&plain).await,
                Err(Error::Api(problem)) if is(&problem, "malformed") || is(&problem, "alreadyReplaced") => {
                    account.new_order(&plain).await
                }
                placed => placed,
            },
        };
        if let Err(Error::Api(problem)) = &placed
            && is(problem, "accountDoesNotExist")
        {
            self.kept(Store::drop_account).await?;
        }
        placed.map_err(|error| self.refused(&error))
    }

    /// Answers the challenge of every name that is not proven yet.
    async fn prove(&self, order: &mut Order) -> Result<(), Failure> {
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.map_err(|error| self.refused(&error))?;
            if authorization.status == AuthorizationStatus::Valid {
                continue;
            }
            let name = authorization.identifier().to_string();
            let wanted = match self.plan.challenge {
                ChallengeKind::Http01 => ChallengeType::Http01,
                ChallengeKind::TlsAlpn01 => ChallengeType::TlsAlpn01,
            };
            let Some(mut challenge) = authorization.challenge(wanted) else {
                let kind = self.plan.challenge.as_str();
                return Err(
                    self.failure("acme_refused", format!("{name} cannot be proven by {kind} to this authority"))
                );
            };
            let proof = challenge.key_authorization();
            match self.plan.challenge {
                ChallengeKind::Http01 => self.challenges.serve(&challenge.token, proof.as_str()),
                ChallengeKind::TlsAlpn01 => {
                    self.challenges
                        .show(&name.to_ascii_lowercase(), proof.digest().as_ref())
                        .map_err(|error| self.failure("acme_challenge", format!("{name}: {error}")))?
                }
            }
            challenge.set_ready().await.map_err(|error| self.refused(&error))?;
        }
        Ok(())
    }

    /// Which names could not be proven, and why; `None` where the authority does not say.
    async fn unproven(&self, order: &mut Order) -> Option<Failure> {
        let mut told = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(Ok(mut authorization)) = authorizations.next().await {
            if authorization.refresh().await.is_err() {
                continue;
            }
            let name = authorization.identifier().to_string();
            let problems = authorization.challenges.iter().filter_map(|challenge| challenge.error.as_ref());
            told.extend(problems.map(|problem| format!("{name}: {}", words(problem))));
        }
        if told.is_empty() {
            return None;
        }
        let mut failure = self.failure("acme_challenge", told.join("; "));
        let first = self.plan.domains.first().map_or("the domain", |name| name);
        failure.hint = match self.plan.challenge {
            ChallengeKind::Http01 => format!(
                "http://{first}/.well-known/acme-challenge/ at port 80 has to lead to an address of [tls] redirect, from \
                 everywhere, and by IPv6 too where the name has such an address"
            ),
            ChallengeKind::TlsAlpn01 => format!(
                "{first}:443 has to lead to the TLS of this gate, from everywhere, with no other TLS in between, and by \
                 IPv6 too where the name has such an address"
            ),
        };
        Some(failure)
    }

    fn failure(&self, slug: &'static str, message: String) -> Failure {
        let hint = "it is tried again by itself".to_owned();
        Failure { slug, message: printable(&message), hint, stay_away: self.client.told_to_wait() }
    }

    /// What an authority, or the way to it, says.
    pub(super) fn refused(&self, error: &Error) -> Failure {
        let (slug, message, hint) = match error {
            Error::Api(problem) if is(problem, "rateLimited") => {
                ("acme_rate_limited", words(problem), "nothing but waiting helps; it is tried again by itself")
            }
            Error::Api(problem) if is(problem, "externalAccountRequired") => {
                ("acme_refused", words(problem), "the authority gives out what [tls.acme.external_account] needs")
            }
            Error::Api(problem) if is(problem, "caa") => {
                ("acme_refused", words(problem), "the CAA records of the domain (DNS) must name this authority")
            }
            Error::Api(problem) if is(problem, "accountDoesNotExist") => {
                ("acme_refused", words(problem), "a new account is made at the next attempt")
            }
            Error::Api(problem) if is(problem, "serverInternal") => {
                ("acme_refused", words(problem), "the fault is the authority's own; it is tried again by itself")
            }
            Error::Api(problem) => (
                "acme_refused",
                words(problem),
                "the authority refuses; the domains, the e-mail and the account are in [tls.acme]",
            ),
            Error::Other(_) => (
                "acme_unreachable",
                error.to_string(),
                "this machine must reach the authority by https; [tls.acme] directory_ca says who vouches for a private one",
            ),
            Error::Json(_) => (
                "acme_unreachable",
                error.to_string(),
                "the address of [tls.acme] directory must be that of an ACME directory",
            ),
            Error::Timeout(_) => ("acme_timeout", error.to_string(), "it is tried again by itself"),
            _ => ("acme_refused", error.to_string(), "it is tried again by itself"),
        };
        Failure { hint: hint.to_owned(), ..self.failure(slug, message) }
    }
}

/// Whether a problem is of this type of RFC 8555 §6.7.
fn is(problem: &Problem, kind: &str) -> bool {
    problem.r#type.as_deref().and_then(|kind| kind.strip_prefix("urn:ietf:params:acme:error:")) == Some(kind)
}

/// A problem in the authority's words.
fn words(problem: &Problem) -> String {
    let kind = problem.r#type.as_deref().unwrap_or("about:blank");
    let kind = kind.strip_prefix("urn:ietf:params:acme:error:").unwrap_or(kind);
    let mut text = format!("{} ({kind})", problem.detail.as_deref().unwrap_or("no details"));
    for part in &problem.subproblems {
        text.push_str("; ");
        text.push_str(part.detail.as_deref().unwrap_or("no details"));
    }
    text
}

/// Others' words as a line of ours: without what moves a cursor, and not longer than anybody reads.
fn printable(text: &str) -> String {
    const LONGEST: usize = 500;
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authoritys_words_cannot_write_lines_of_ours() {
        let problem: Problem = serde_json::from_value(serde_json::json!({
            "type": "urn:ietf:params:acme:error:caa",
            "detail": "no\r\n2026-01-01 ERROR\u{1b}[2J",
            "subproblems": [{ "type": "x", "detail": "a" }],
        }))
        .unwrap();
        assert!(is(&problem, "caa") && !is(&problem, "malformed"));
        assert_eq!(printable(&words(&problem)), "no  2026-01-01 ERROR [2J (caa); a");
        assert_eq!(printable(&"x".repeat(10_000)).len(), 500);
    }
}
