//! The gate: the order of its checks is the security property, so all of them stand in one function body.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::Method;
use http::uri::PathAndQuery;
use portcullis_auth::OpaqueVerifier;
use portcullis_auth::access;
use portcullis_core::ports::{Blocklist, Holders, Nobody, Revocations, Standing as Validity};
use portcullis_core::{
    Event, EventKind, EventSink, Facts, Limited, NormalizedPath, Principal, Reason, RequestId, Timestamp,
};
use portcullis_limit::{Ask, Limiter, Patience, Receipts, Refused, Standing, StoreError};
use portcullis_shield::{Nonce, Preflight, origin_of};

use crate::answer::Answer;
use crate::body::BodyRule;
use crate::case::Case;
use crate::delay::{Delay, WaitingRoom};
use crate::forgery;
use crate::limits::{self, Covering, KeyFacts, Mode, Phase};
use crate::pass::Pass;
use crate::policy::{Policy, Route, Target};
use crate::refusal::Refusal;
use crate::reputation::{Reputation, Repute, is_of_another_site};
use crate::trace::{Silent, Stage, Trace};

/// What the gate answers.
#[derive(Debug)]
pub enum Verdict {
    /// It may go on, with this proof.
    Pass(Pass),
    /// It may not.
    Refuse(Refusal),
    /// It is answered here, and goes nowhere.
    Answer(Answer),
}

/// How an admitted request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered with this status code.
    Answered(http::StatusCode),
    /// It was answered with this status code because a password, a link or another credential in it was wrong, which the
    /// code alone need not say.
    Denied(http::StatusCode),
    /// We failed before it was forwarded: nothing of it is the client's fault.
    NotForwarded,
}

/// How often the record of revocations is asked about a tunnel or a stream. With the record's own delay it makes less than
/// the second within which a revocation is seen everywhere.
const ASKED_AGAIN: Duration = Duration::from_millis(500);

/// How often anything that goes on is asked about.
const ASKED_AGAIN_AT_LEAST: Duration = Duration::from_secs(3_600);

/// Decides which requests may pass. One value serves all doors and all cores.
pub struct Gate {
    policy: ArcSwap<Policy>,
    limiter: Arc<Limiter>,
    reputation: Reputation,
    waiting: WaitingRoom,
    revocations: Arc<dyn Revocations>,
    opaque: OpaqueVerifier,
    blocklist: Arc<dyn Blocklist>,
    events: Arc<dyn EventSink>,
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate").finish_non_exhaustive()
    }
}

impl Gate {
    /// A gate with its policy and the ports it asks. Nobody has API keys or sessions at first.
    #[must_use]
    pub fn new(
        policy: Policy,
        limiter: Arc<Limiter>,
        revocations: Arc<dyn Revocations>,
        blocklist: Arc<dyn Blocklist>,
        events: Arc<dyn EventSink>,
    ) -> Self {
        let opaque = OpaqueVerifier::new(Arc::new(Nobody));
        let (policy, waiting) = (ArcSwap::from_pointee(policy), WaitingRoom::default());
        let reputation = Reputation::default();
        Self { policy, limiter, reputation, waiting, revocations, opaque, blocklist, events }
    }

    /// The same gate with a keeper of API keys and sessions.
    #[must_use]
    pub fn with_holders(self, holders: Arc<dyn Holders>) -> Self {
        Self { opaque: OpaqueVerifier::new(holders), ..self }
    }

    /// Replaces the policy; requests under way keep the one they began with.
    pub fn reload(&self, mut policy: Policy) {
        policy.limits.go_on_comparing(&self.policy.load().limits);
        self.policy.store(Arc::new(policy));
    }

    /// The policy of the moment.
    #[must_use]
    pub fn policy(&self) -> Arc<Policy> {
        self.policy.load_full()
    }

    pub(crate) const fn limiter(&self) -> &Arc<Limiter> {
        &self.limiter
    }

    pub(crate) const fn opaque(&self) -> &OpaqueVerifier {
        &self.opaque
    }

    pub(crate) fn revocations(&self) -> &dyn Revocations {
        &*self.revocations
    }

    pub(crate) const fn reputation(&self) -> &Reputation {
        &self.reputation
    }

    pub(crate) fn record(&self, event: Event) {
        self.events.record(event);
    }

    /// How many admitted requests are held back at the moment (L12).
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.taken()
    }

    /// May this request pass?
    pub async fn decide(&self, facts: &Facts<'_>) -> Verdict {
        self.decide_traced(facts, &mut Silent).await
    }

    /// The same decision, with a remark for each stage.
    pub async fn decide_traced<T: Trace>(&self, facts: &Facts<'_>, trace: &mut T) -> Verdict {
        // 1. One snapshot: a reload never splits a request.
        let policy = self.policy.load();
        let mut case = Case::new(Arc::clone(&policy), facts);
        match self.judge(&policy, facts, &mut case, trace).await {
            Ok(Judged::Admitted(Admission { target, rewritten, body, receipts, delay })) => {
                Verdict::Pass(Pass { case, target, rewritten, body, receipts, delay })
            }
            Ok(Judged::Asked(preflight)) => Verdict::Answer(Answer { case, preflight }),
            Err(reason) => {
                self.events.record(case.refused(facts.now, &reason, facts.id));
                self.note_refusal(facts, &case, &reason);
                Verdict::Refuse(Refusal { case, reason, id: facts.id })
            }
        }
    }

    /// A refusal for what a door found wrong before it could ask: the head breaks HTTP's rules.
    #[must_use]
    pub fn refuse(&self, facts: &Facts<'_>, reason: Reason) -> Refusal {
        let policy = self.policy.load_full();
        let case = Case::new(Arc::clone(&policy), facts);
        self.events.record(case.refused(facts.now, &reason, facts.id));
        self.note_refusal(facts, &case, &reason);
        Refusal { case, reason, id: facts.id }
    }

    /// Forgets the failures that limits count against one of our own users, by the user alone. What is counted by address,
    /// or by the user together with something else, stays.
    ///
    /// # Errors
    /// [`StoreError`] where the shared store still holds some of them.
    pub async fn forget_failures(&self, user: &str) -> Result<(), StoreError> {
        let policy = self.policy();
        for (limit, key) in policy.limits.failures_of(user) {
            self.limiter.reset(limit, &key).await?;
        }
        Ok(())
    }

    /// Records that the upstream failed an admitted request.
    pub fn note_upstream_failure(&self, pass: &Pass, reason: &Reason, id: RequestId, now: Timestamp) {
        let event = pass.case.event(now, EventKind::UpstreamFailed, id);
        self.events.record(Event { reason: Some(reason.slug()), ..event });
    }

    /// Records that a request was refused after it had been admitted: for its body, or for what the upstream answered.
    pub fn note_refused(&self, pass: &Pass, reason: &Reason, id: RequestId, now: Timestamp) {
        self.events.record(pass.case.refused(now, reason, id));
    }

    /// For how long what was once admitted may go on before it is asked about again; `None` where its credential was
    /// revoked, or nobody can say any more, or, unless it `outlives` that, where it has expired (T13).
    #[must_use]
    pub fn goes_on_for(&self, principal: &Principal, outlives: bool, now: Timestamp) -> Option<Duration> {
        let left = if outlives { ASKED_AGAIN_AT_LEAST } else { principal.parts().expires.since(now) };
        if left.is_zero() {
            return None;
        }
        if !principal.is_local() {
            return Some(left);
        }
        (self.revocations.standing(principal, now) == Validity::Good).then(|| left.min(ASKED_AGAIN))
    }

    /// Stages 2 to 10 of the pipeline, in the order that makes them safe.
    async fn judge<T: Trace>(
        &self,
        policy: &Arc<Policy>,
        facts: &Facts<'_>,
        case: &mut Case,
        trace: &mut T,
    ) -> Result<Judged, Reason> {
        // 2. The path in one spelling: what is matched is what is forwarded.
        let path = NormalizedPath::parse(facts.target.path()).map_err(Reason::AmbiguousPath)?;
        trace.remark(Stage::Path, || path.to_string());

        // 3. The client's address from trusted hops, right to left. The case had it from the start, because the refusal of a
        // path is held against its client, not against the proxy before us.
        trace.remark(Stage::Client, || case.client.ip().to_string());

        // 4. The blocklist.
        if let Some(until) = self.blocklist.blocked_until(case.client.ip(), facts.now) {
            trace.remark(Stage::Blocklist, || format!("blocked until {until}"));
            return Err(Reason::Blocked);
        }
        trace.remark(Stage::Blocklist, || "not blocked".to_owned());

        // 4, second half. A browser that asks whether a page may ask: it has no credential to show, and to be told who may
        // ask costs neither a limit nor a record, so that a flood of it is as cheap as it can be.
        if policy.has_cors
            && let Some(asked) = Preflight::of(facts.method, facts.headers)
        {
            let route = policy.route(&asked.method, &path);
            if route.is_some() && policy.cors_of(route).is_some() {
                case.route = route;
                trace.remark(Stage::Route, || {
                    format!("a preflight, answered for {}", case.route().map_or("", |label| label))
                });
                return Ok(Judged::Asked(asked));
            }
        }

        // 5. The route; no route, no entry.
        case.route = policy.route(facts.method, &path);
        let Some(route) = case.route.map(|index| policy.route_at(index)) else {
            trace.remark(Stage::Route, || "no route covers it".to_owned());
            return Err(Reason::NotFound);
        };
        trace.remark(Stage::Route, || format!("{} ({:?}, to {:?})", route.label, route.access, route.target));

        // 6. The limits that shield what is expensive: password hashing here, signature checks below. A store over a network
        // is asked for them with those that come next, so that a request whose token is known asks it once.
        let covering = policy.limits.covering(facts.method, path.as_str());
        let mut limits = Limits { covering, before: None, looked_up: false };
        if self.limiter.shared_works() != Some(true) {
            limits.before = Some(self.charge(policy, &[Phase::Before], &limits.covering, facts, case, trace).await?);
        }

        // 7. Who is it? Nothing presented, valid and invalid are three different answers.
        let identity = self.authenticate(policy, route, &mut limits, facts, case, trace).await;
        match &identity {
            Ok(principal) => case.principal.clone_from(principal),
            // A limit that shields the look-up refused, and was compared with its candidate: no limit judges a request twice.
            Err(reason @ (Reason::LimitReached(_) | Reason::LimitsUnavailable)) => {
                let held = limits.before.take().unwrap_or_default();
                self.settle_refused(&held, case, reason, facts.now);
                return Err(reason.clone());
            }
            Err(_) => {}
        }

        // 8. The limits by identity, or for nobody. A refusal gives back what was taken before from whoever is who
        // they say.
        let phases: &[Phase] = if limits.before.is_some() { &[Phase::After] } else { &[Phase::Before, Phase::After] };
        let mut receipts = limits.before.take().unwrap_or_default();
        match self.charge(policy, phases, &limits.covering, facts, case, trace).await {
            Ok(after) => receipts.extend(after),
            Err(reason) => {
                // What was looked up in vain stays counted: a later limit that refuses must not make guessing free.
                match &identity {
                    Err(wrong) => self.settle_refused(&receipts, case, wrong, facts.now),
                    Ok(None) if limits.looked_up => self.settle_limited(policy, &receipts, facts.now),
                    Ok(_) => receipts.iter().for_each(|receipt| self.limiter.give_back(receipt, facts.now)),
                }
                return Err(reason);
            }
        }
        let permitted = identity.and_then(|_| {
            // 9. May that one do this, and do they mean to?
            permit(policy, route, &path, facts, case, trace)?;
            trace.remark(Stage::Permit, || "permitted".to_owned());

            // 10. What the body has to satisfy.
            trace.remark(Stage::Shape, || format!("a body of at most {} bytes", route.body.max));
            for check in &route.checks {
                trace.remark(Stage::Shape, || check.describe(facts.method, path.as_str()));
            }
            for shape in route.response.iter().flat_map(|rules| &rules.shapes) {
                trace.remark(Stage::Shape, || format!("of answers: {}", shape.describe()));
            }
            if let Some(watch) = route.response.as_ref().and_then(|rules| rules.watch.as_ref()) {
                trace.remark(Stage::Shape, || format!("of answers: {}", watch.describe()));
            }
            rewrite(facts, &path)
        });
        let rewritten = match permitted {
            Ok(rewritten) => rewritten,
            Err(reason) => {
                self.settle_refused(&receipts, case, &reason, facts.now);
                return Err(reason);
            }
        };
        let delay = match &case.slow {
            None => None,
            Some(_) => self.hold_back(policy, &receipts, facts, case)?,
        };
        if route.target != Target::Identity && policy.headers_of(case.route).takes_nonce() {
            case.nonce = Some(Nonce::draw());
        }
        Ok(Judged::Admitted(Admission { target: route.target, rewritten, body: route.body, receipts, delay }))
    }

    /// Finds the request a place among those that wait. Where there is none it is refused and told to come back after the
    /// wait, and gets back what it was charged.
    fn hold_back(
        &self,
        policy: &Policy,
        receipts: &Receipts,
        facts: &Facts<'_>,
        case: &mut Case,
    ) -> Result<Option<Delay>, Reason> {
        let Some(slow) = case.slow.take() else { return Ok(None) };
        if let Some(delay) = self.waiting.enter(slow.wait) {
            return Ok(Some(delay));
        }
        for receipt in receipts {
            self.limiter.give_back(receipt, facts.now);
        }
        let reason = limited(policy, &slow.refused(), slow.wait);
        case.refused_by(slow.refused());
        Err(reason)
    }

    /// Charges what shields the dear way of finding out whose a credential is; and what is charged before, where that was
    /// put off until something dear comes.
    pub(crate) async fn shield<T: Trace>(
        &self,
        policy: &Policy,
        limits: &mut Limits,
        facts: &Facts<'_>,
        case: &mut Case,
        trace: &mut T,
    ) -> Result<(), Reason> {
        let both = [Phase::Verification, Phase::Before];
        let phases = if limits.before.is_some() { &both[..1] } else { &both };
        let mut receipts = self.charge(policy, phases, &limits.covering, facts, case, trace).await?;
        // A verification that was made is never given back.
        receipts.retain(|receipt| policy.limits.phase(receipt.limit()) == Phase::Before);
        limits.before.get_or_insert(receipts);
        limits.looked_up = true;
        Ok(())
    }

    /// Charges the limits of some phases, all or none.
    async fn charge<T: Trace>(
        &self,
        policy: &Policy,
        phases: &[Phase],
        covering: &Covering,
        facts: &Facts<'_>,
        case: &mut Case,
        trace: &mut T,
    ) -> Result<Receipts, Reason> {
        if covering.is_empty() {
            return Ok(Receipts::new());
        }
        let stage = |phase| if phase == Phase::After { Stage::LimitsAfter } else { Stage::LimitsBefore };
        // Before it is known who it is, a bad name must not stop who is about to prove that it is not theirs.
        let repute = if phases.contains(&Phase::After) {
            self.repute_of(policy, covering, case, facts.now)
        } else {
            Repute::default()
        };
        if repute != Repute::default() {
            let challenged = if repute.challenged_until.is_some() { ", challenged" } else { "" };
            trace.remark(Stage::LimitsAfter, || {
                format!("the address is {} ({:.0}{challenged})", repute.class.as_str(), repute.score)
            });
        }
        let asks = {
            let key_facts = KeyFacts {
                client: case.client,
                ipv6_prefix: policy.ipv6_prefix,
                headers: facts.headers,
                route: case.route().map_or("", |label| label),
                principal: case.principal.as_deref(),
                identity: case.route.is_some_and(|route| policy.route_at(route).target == Target::Identity),
            };
            policy.limits.asks(phases, covering, &key_facts, &repute)
        };
        if asks.is_empty() {
            return Ok(Receipts::new());
        }
        match self.limiter.charge(&asks, facts.now, &mut case.patience).await {
            Ok(charge) => {
                self.compare_admitted(policy, &asks, &charge, facts, case);
                for standing in charge.standings() {
                    let (rule, phase) = (policy.limits.rule(standing.limit), policy.limits.phase(standing.limit));
                    trace.remark(stage(phase), || {
                        format!("{}: {} of {} left", rule.name, standing.remaining, standing.quota)
                    });
                    let over = standing.would_refuse;
                    let kind = match rule.mode {
                        Mode::Report if over => EventKind::LimitWouldHit,
                        Mode::Delay(wait) if over => {
                            case.slow_down(wait, standing);
                            EventKind::LimitSlowed
                        }
                        Mode::Enforce => {
                            if phase != Phase::Verification {
                                let of_it = |ask: &&Ask<'_>| ask.key.limit() == standing.limit;
                                let settled = if rule.settles() { asks.iter().find(of_it) } else { None };
                                case.note_standing(standing, settled);
                            }
                            if standing.delay.is_zero() {
                                continue;
                            }
                            case.slow_down(standing.delay, standing);
                            EventKind::LimitSlowed
                        }
                        _ => continue,
                    };
                    let event = case.event(facts.now, kind, facts.id);
                    self.events.record(Event { limit: Some(rule.name.clone()), ..event });
                }
                Ok(charge.into_receipts())
            }
            Err(Refused::Unavailable(limit)) => {
                let stage = stage(policy.limits.phase(limit));
                trace.remark(stage, || format!("{}: its store is away", policy.limits.rule(limit).name));
                Err(Reason::LimitsUnavailable)
            }
            Err(Refused::Denied(denied)) => {
                if !policy.limits.candidates().is_empty() {
                    // Apart, so that requests which are compared with nothing carry nothing of it.
                    Box::pin(self.compare_refused(policy, &asks, &denied, facts, case)).await;
                }
                let rule = policy.limits.rule(denied.standing.limit);
                let stage = stage(policy.limits.phase(denied.standing.limit));
                trace.remark(stage, || format!("{}: refused, wait {:?}", rule.name, denied.retry_after));
                let reason = limited(policy, &denied.standing, denied.retry_after);
                case.refused_by(denied.standing);
                Err(reason)
            }
        }
    }
}

/// The limits of a request on its way.
pub(crate) struct Limits {
    covering: Covering,
    /// What those before authentication were charged; `None` while that is put off.
    before: Option<Receipts>,
    /// Whether something dear was admitted to find out whose the credential is.
    looked_up: bool,
}

/// Where a request leaves the pipeline.
#[expect(
    clippy::large_enum_variant,
    reason = "it is taken apart where it is returned, and nearly always the large one"
)]
enum Judged {
    /// At its end.
    Admitted(Admission),
    /// As soon as it is known what it asks.
    Asked(Preflight),
}

/// What stands at the end of the pipeline.
struct Admission {
    target: Target,
    rewritten: Option<PathAndQuery>,
    body: BodyRule,
    receipts: Receipts,
    delay: Option<Delay>,
}

/// The refusal of a limit.
fn limited(policy: &Policy, standing: &Standing, retry_after: Duration) -> Reason {
    let rule = policy.limits.rule(standing.limit);
    Reason::LimitReached(Limited {
        limit: rule.name.clone(),
        quota: standing.quota,
        reset_at: standing.reset_at,
        retry_after,
        message: limits::message(rule, retry_after),
    })
}

impl Case {
    fn new(policy: Arc<Policy>, facts: &Facts<'_>) -> Self {
        let client = policy.trusted_hops.client(facts.peer, facts.headers);
        let cross_site = is_of_another_site(&policy, facts.headers);
        let origin = if policy.has_cors { origin_of(facts.headers).cloned() } else { None };
        Self {
            policy,
            client,
            route: None,
            principal: None,
            standing: None,
            unsettled: Vec::new(),
            slow: None,
            patience: Patience::default(),
            stale_cookie: None,
            cross_site,
            tokens: None,
            origin,
            nonce: None,
            is_head: *facts.method == Method::HEAD,
        }
    }
}

/// Role and permission and whose it is; and for a credential that a browser sends by itself, who made the browser send it.
fn permit<T: Trace>(
    policy: &Policy,
    route: &Route,
    path: &NormalizedPath<'_>,
    facts: &Facts<'_>,
    case: &mut Case,
    trace: &mut T,
) -> Result<(), Reason> {
    forgery::refuse(policy, route, facts, case, trace)?;
    let principal = case.principal.as_deref();
    access::permits(&route.access, principal, &policy.roles)?;
    match &route.owner {
        None => Ok(()),
        Some(owner) => {
            trace.remark(Stage::Permit, || owner.describe());
            owner.judge(path, principal, &policy.roles)
        }
    }
}

/// The target to forward, where normalising changed the path.
fn rewrite(facts: &Facts<'_>, path: &NormalizedPath<'_>) -> Result<Option<PathAndQuery>, Reason> {
    if path.is_unchanged() {
        return Ok(None);
    }
    let text = match facts.target.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_string(),
    };
    let target = PathAndQuery::try_from(text).map_err(|_| Reason::Malformed("the request target is not valid"))?;
    Ok(Some(target))
}
