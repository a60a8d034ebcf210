//! Stage 7: whose credential is it? The cheap ways of finding out come first, and nothing dear is done that no limit shields.

use std::sync::Arc;

use portcullis_auth::access::Requirement;
use portcullis_auth::credential::{self, Presented};
use portcullis_auth::{Lookup, Seen};
use portcullis_core::ports::{OpaqueName, Standing as Validity};
use portcullis_core::{Facts, Principal, Reason, Scheme, Timestamp};

use crate::case::Case;
use crate::gate::{Gate, Limits};
use crate::policy::{Policy, Route};
use crate::trace::{Stage, Trace};

impl Gate {
    /// Who presents what: `Ok(None)` is nobody, `Err` is somebody who is not who they say.
    pub(crate) async fn authenticate<T: Trace>(
        &self,
        policy: &Policy,
        route: &Route,
        limits: &mut Limits,
        facts: &Facts<'_>,
        case: &mut Case,
        trace: &mut T,
    ) -> Result<Option<Arc<Principal>>, Reason> {
        if route.ignores_credentials {
            trace.remark(Stage::Authenticate, || "not asked: this endpoint issues credentials".to_owned());
            return Ok(None);
        }
        let (token, scheme) = match credential::presented(facts.headers, &policy.cookies) {
            // What a request says itself goes before what its connection says, and what is wrong with the one is never made up
            // for by the other.
            Presented::Nothing => return by_certificate(facts, trace),
            // Two cookies of our name may be a neighbouring domain's doing: on a public route that is nobody, too.
            Presented::Malformed { why, scheme } if scheme.is_ambient() && route.access == Requirement::Public => {
                trace.remark(Stage::Authenticate, || why.to_owned());
                case.stale_cookie = Some(scheme);
                return Ok(None);
            }
            Presented::Malformed { why, .. } => {
                trace.remark(Stage::Authenticate, || why.to_owned());
                return Err(Reason::InvalidToken(why));
            }
            Presented::Token { token, scheme } => (token, scheme),
        };
        let judged = match scheme {
            Scheme::Bearer | Scheme::Cookie => match policy.verifier.lookup(token, scheme, facts.now) {
                Lookup::Known(judged) => judged,
                Lookup::Unknown(digest) => {
                    self.shield(policy, limits, facts, case, trace).await?;
                    policy.verifier.verify(token, digest, scheme, facts.now)
                }
            }
            .and_then(|principal| self.still_good(principal, facts.now)),
            // No header presents one.
            Scheme::Certificate => Err(Reason::Internal),
            Scheme::ApiKey | Scheme::Session => {
                // One that stands is the rule and costs no more than a token; the way of any other is long, and what it
                // needs to remember is kept out of everybody else's request.
                match self.opaque().lookup(token, scheme, facts.now) {
                    Seen::Malformed(why) => Err(Reason::InvalidToken(why)),
                    Seen::Known(principal, name) => match self.still_good(Arc::clone(&principal), facts.now) {
                        // A change of its owner's role or password speaks against what was known of a key, not against
                        // the key: its keeper says what holds now.
                        Err(Reason::TokenRevoked) => {
                            self.shield(policy, limits, facts, case, trace).await?;
                            Box::pin(self.ask_keeper(name, Some(&principal), facts.now)).await
                        }
                        judged => judged,
                    },
                    Seen::Unknown(name) => {
                        self.shield(policy, limits, facts, case, trace).await?;
                        Box::pin(self.ask_keeper(name, None, facts.now)).await
                    }
                }
            }
        };
        match judged {
            Ok(principal) => {
                trace.remark(Stage::Authenticate, || {
                    format!("{} with roles [{}]", principal.subject(), principal.parts().roles.join(", "))
                });
                Ok(Some(principal))
            }
            // A browser sends a stale cookie by itself: on a public route that is nobody, and the cookie goes.
            Err(reason) if scheme.is_ambient() && route.access == Requirement::Public => {
                trace.remark(Stage::Authenticate, || format!("a stale cookie: {}", reason.error()));
                case.stale_cookie = (reason != Reason::RevocationsStale).then_some(scheme);
                Ok(None)
            }
            Err(reason) => {
                trace.remark(Stage::Authenticate, || reason.error().to_owned());
                Err(reason)
            }
        }
    }

    /// Whether a request brings a credential that is known to be good. Nothing is verified for that, and nobody asked: where it
    /// is not known, that says nothing.
    pub(crate) fn brings_what_is_good(&self, policy: &Policy, facts: &Facts<'_>) -> bool {
        let Presented::Token { token, scheme } = credential::presented(facts.headers, &policy.cookies) else {
            return matches!(facts.certificate, Some(Ok(principal)) if principal.parts().expires > facts.now);
        };
        let known = match scheme {
            Scheme::Bearer | Scheme::Cookie => policy.verifier.recall(token, scheme, facts.now),
            Scheme::ApiKey | Scheme::Session => match self.opaque().lookup(token, scheme, facts.now) {
                Seen::Known(principal, _) => Some(principal),
                Seen::Malformed(_) | Seen::Unknown(_) => None,
            },
            Scheme::Certificate => None,
        };
        known.is_some_and(|principal| self.still_good(principal, facts.now).is_ok())
    }

    /// Asks the keeper of API keys and sessions, and then the record of revocations about what it said.
    async fn ask_keeper(
        &self,
        name: OpaqueName,
        distrusted: Option<&Arc<Principal>>,
        now: Timestamp,
    ) -> Result<Arc<Principal>, Reason> {
        let principal = self.opaque().ask(name, distrusted, now).await?;
        self.still_good(principal, now)
    }

    /// Asks the record of revocations about one of our own tokens; other issuers' tokens live until they expire.
    fn still_good(&self, principal: Arc<Principal>, now: Timestamp) -> Result<Arc<Principal>, Reason> {
        if !principal.is_local() {
            return Ok(principal);
        }
        match self.revocations().standing(&principal, now) {
            Validity::Good => Ok(principal),
            Validity::Revoked => Err(Reason::TokenRevoked),
            Validity::Unknown => Err(Reason::RevocationsStale),
        }
    }
}

/// Whoever presents nothing else is whose certificate it is. One that is not good (any more) is refused on public routes
/// too: nobody sends it by mistake.
fn by_certificate<T: Trace>(facts: &Facts<'_>, trace: &mut T) -> Result<Option<Arc<Principal>>, Reason> {
    match facts.certificate {
        None => {
            trace.remark(Stage::Authenticate, || "nothing presented".to_owned());
            Ok(None)
        }
        Some(Ok(principal)) if principal.parts().expires > facts.now => {
            trace.remark(Stage::Authenticate, || {
                format!("{} by certificate with roles [{}]", principal.subject(), principal.parts().roles.join(", "))
            });
            Ok(Some(Arc::clone(principal)))
        }
        Some(Ok(_)) => {
            trace.remark(Stage::Authenticate, || "the client certificate has expired".to_owned());
            Err(Reason::TokenExpired)
        }
        Some(Err(why)) => {
            trace.remark(Stage::Authenticate, || (*why).to_owned());
            Err(Reason::InvalidToken(why))
        }
    }
}
