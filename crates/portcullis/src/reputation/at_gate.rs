//! What the gate makes of reputation: which requests are judged by it, and what raises it.

use std::net::IpAddr;

use http::{HeaderMap, StatusCode};
use ipnet::IpNet;
use portcullis_auth::credential::{self, Presented};
use portcullis_core::{ClientAddress, Event, EventKind, Facts, Reason, RequestId, Timestamp};

use super::{Class, KnownAddress, Offence, ReputationFigures, Repute};
use crate::case::Case;
use crate::gate::{Gate, Outcome};
use crate::limits::{Covering, QuotaChoice};
use crate::policy::{Policy, Target};

impl Gate {
    /// What is thought of an address at the moment.
    #[must_use]
    pub fn repute(&self, address: IpAddr, now: Timestamp) -> Repute {
        let policy = self.policy();
        self.repute_by(&policy, ClientAddress::new(address), now)
    }

    /// The addresses of which the worst is known, the worst first.
    #[must_use]
    pub fn worst_addresses(&self, most: usize, now: Timestamp) -> Vec<KnownAddress> {
        self.reputation().worst(most, &self.policy().reputation, now)
    }

    /// What an address is judged as one with: itself, or its network of IPv6.
    #[must_use]
    pub fn network_of(&self, address: IpAddr) -> IpNet {
        let prefix = self.policy().ipv6_prefix;
        let first = ClientAddress::new(address).key(prefix).ip();
        let length = if first.is_ipv4() { 32 } else { prefix.min(128) };
        IpNet::new(first, length).unwrap_or_else(|_| IpNet::from(first))
    }

    /// How many addresses are remembered.
    #[must_use]
    pub fn reputation_figures(&self, now: Timestamp) -> ReputationFigures {
        self.reputation().figures(&self.policy().reputation, now)
    }

    /// Forgets all that is known of an address, or of its network; `true` if there was something.
    pub fn forget_address(&self, address: IpAddr) -> bool {
        let prefix = self.policy().ipv6_prefix;
        self.reputation().forget(ClientAddress::new(address).key(prefix))
    }

    /// Notes that an address was asked to prove something, and so is held to the rate of the challenged for a while. Its
    /// score does not change.
    pub fn note_challenged(&self, address: IpAddr, now: Timestamp) {
        let policy = self.policy();
        if policy.limits.goes_by_reputation() {
            self.raise(&policy, ClientAddress::new(address), 0, true, None, now);
        }
    }

    /// Notes that a connection of this peer was closed for a flood of this kind: an event for its address, and an offence of
    /// it. A trusted hop is not its clients, so none is noted against it.
    pub fn note_flood(&self, peer: IpAddr, kind: &'static str, now: Timestamp) {
        let policy = self.policy();
        let client = ClientAddress::new(peer);
        let event = Event::new(now, EventKind::Http2Flood);
        self.record(Event { client: Some(client.ip()), reason: Some(kind), ..event });
        if policy.limits.goes_by_reputation() && !policy.trusted_hops.trusts(client.ip()) {
            self.note(&policy, client, Offence::Hostile, None, now);
        }
    }

    /// The repute that a request's limits go by: that of nobody in particular, unless it proves no identity and a limit
    /// that covers it asks. A request that only lets go on what was proven before is not held up by its neighbours either.
    pub(crate) fn repute_of(&self, policy: &Policy, covering: &Covering, case: &Case, now: Timestamp) -> Repute {
        if !policy.limits.any_by_reputation(covering) || is_above(policy, case) {
            return Repute::default();
        }
        self.repute_by(policy, case.client, now)
    }

    /// Notes what a refused request says of its address.
    pub(crate) fn note_refusal(&self, facts: &Facts<'_>, case: &Case, reason: &Reason) {
        let policy = &case.policy;
        if !policy.limits.goes_by_reputation() || is_above(policy, case) {
            return;
        }
        let offence = match reason {
            // A browser sends a cookie by itself: after a change of keys, that of everybody behind an address at once.
            Reason::InvalidToken(_) if is_sent_unasked(policy, facts) => Offence::Unproven,
            Reason::InvalidToken(_) => Offence::Denied,
            Reason::Malformed(_) | Reason::AmbiguousPath(_) | Reason::MethodRefused => Offence::Hostile,
            Reason::NotFound => Offence::Missing,
            Reason::Blocked => Offence::Refused,
            Reason::AuthenticationRequired => Offence::Unproven,
            // Where the credential was not looked at any more, it may have been good; and being held to less than others is
            // no offence of its own, or a bad name would feed on itself.
            Reason::LimitReached(_) if !presents(policy, facts) && !was_lowered(policy, case) => Offence::Refused,
            _ => return,
        };
        // What is refused before the credential is judged may be the doing of somebody who has proven who they are.
        let unjudged = matches!(offence, Offence::Hostile | Offence::Missing | Offence::Refused);
        if unjudged && self.brings_what_is_good(policy, facts) {
            return;
        }
        self.note(policy, case.client, as_of(case, offence), Some(facts.id), facts.now);
    }

    /// Notes what an answered request says of its address.
    pub(crate) fn note_outcome(&self, case: &Case, target: Target, outcome: Outcome, now: Timestamp) {
        let policy = &case.policy;
        if !policy.limits.goes_by_reputation() || is_above(policy, case) {
            return;
        }
        let offence = match (outcome, target) {
            (Outcome::Denied(_), _) | (Outcome::Answered(StatusCode::UNAUTHORIZED), Target::Identity) => {
                Offence::Denied
            }
            (Outcome::Answered(StatusCode::NOT_FOUND), _) => Offence::Missing,
            _ => return,
        };
        self.note(policy, case.client, as_of(case, offence), None, now);
    }

    fn repute_by(&self, policy: &Policy, client: ClientAddress, now: Timestamp) -> Repute {
        if policy.reputation.trusts(client.ip()) {
            return Repute::default();
        }
        self.reputation().of(client.key(policy.ipv6_prefix), &policy.reputation, now)
    }

    fn note(&self, policy: &Policy, client: ClientAddress, offence: Offence, id: Option<RequestId>, now: Timestamp) {
        // Whoever presents a wrong credential is asked for a better one.
        let challenged = offence == Offence::Denied;
        self.raise(policy, client, policy.reputation.weights.of(offence), challenged, id, now);
    }

    fn raise(
        &self,
        policy: &Policy,
        client: ClientAddress,
        by: u16,
        challenged: bool,
        id: Option<RequestId>,
        now: Timestamp,
    ) {
        let rules = &policy.reputation;
        let until = (challenged && !rules.challenged_for.is_zero()).then(|| now.after(rules.challenged_for));
        if (by == 0 && until.is_none()) || rules.trusts(client.ip()) {
            return;
        }
        let change = self.reputation().raise(client.key(policy.ipv6_prefix), f32::from(by), until, rules, now);
        if change.after <= change.before {
            return;
        }
        let kind = if change.after == Class::Bad { EventKind::AddressBad } else { EventKind::AddressSuspect };
        self.record(Event { client: Some(client.ip()), request_id: id, ..Event::new(now, kind) });
    }
}

/// Whether what a request does is not its address's doing: it proves who it is, or renews what was proven; an old browser
/// tab that comes back with a session that has ended is nobody's offence.
fn is_above(policy: &Policy, case: &Case) -> bool {
    case.principal.is_some() || case.route.is_some_and(|route| policy.route_at(route).renews)
}

/// What an offence weighs as. A page of another site can have each of its visitors ask for anything; whoever counted that in
/// full would let it spoil the name of every address that people look at it from. A wrong credential it cannot guess for them,
/// and who claims to be such a visitor to guess better gains nothing.
fn as_of(case: &Case, offence: Offence) -> Offence {
    match offence {
        Offence::Hostile | Offence::Missing if case.cross_site => Offence::Unproven,
        offence => offence,
    }
}

/// Whether a browser says that another site's page made it send a request.
pub(crate) fn is_of_another_site(policy: &Policy, headers: &HeaderMap) -> bool {
    policy.limits.goes_by_reputation() && headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site")
}

fn is_sent_unasked(policy: &Policy, facts: &Facts<'_>) -> bool {
    match credential::presented(facts.headers, &policy.cookies) {
        Presented::Token { scheme, .. } | Presented::Malformed { scheme, .. } => scheme.is_ambient(),
        Presented::Nothing => false,
    }
}

fn presents(policy: &Policy, facts: &Facts<'_>) -> bool {
    !matches!(credential::presented(facts.headers, &policy.cookies), Presented::Nothing)
}

/// Whether the limit that refused held the address to less than others.
fn was_lowered(policy: &Policy, case: &Case) -> bool {
    case.standing.as_ref().is_some_and(|standing| match &policy.limits.rule(standing.limit).quota {
        QuotaChoice::ByReputation(rates) => standing.quota < rates.good.capacity(),
        QuotaChoice::Fixed(_) | QuotaChoice::ByPlan { .. } => false,
    })
}
