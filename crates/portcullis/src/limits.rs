//! Which limits apply to a request, and under which keys they count it.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, Method, StatusCode};
use ipnet::IpNet;
use portcullis_core::{ClientAddress, Principal, Scheme};
use portcullis_limit::{Ask, Key, Outage, Rate};
use smallvec::SmallVec;

use crate::candidate::{self, Candidate};
use crate::cost::{Cost, CostTable};
use crate::count::Count;
use crate::gate::Outcome;
use crate::pattern::Pattern;
use crate::reputation::{ByRepute, Repute};
use crate::table::PatternTable;

/// One limit, as the configuration means it.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitRule {
    /// Its name: in records, metrics and store keys.
    pub name: Arc<str>,
    /// The requests it counts.
    pub patterns: Vec<Pattern>,
    /// What a request is counted under. A part that a request lacks is replaced by its address, never left out.
    pub key: Vec<KeyPart>,
    /// How much is allowed.
    pub quota: QuotaChoice,
    /// Which requests stay counted once their outcome is known.
    pub count: Count,
    /// What a request costs.
    pub cost: Cost,
    /// Roles that are held to `ceiling` instead.
    pub exempt: Vec<Box<str>>,
    /// Networks whose requests are held to `ceiling` instead, in cells of their own.
    pub exempt_addresses: Vec<IpNet>,
    /// What is exempt is held to this; `None` exempts it altogether.
    pub ceiling: Option<Rate>,
    /// What it does with a request that is over the quota.
    pub mode: Mode,
    /// Whom it counts.
    pub scope: Scope,
    /// What it does while its shared store is away. At our own identity endpoints it never opens.
    pub outage: Outage,
    /// Whether it is decided out of portions of the quota that are taken from the shared store (L11).
    pub lease: bool,
    /// What the client is told; `{minutes}` and `{seconds}` stand for the wait, rounded up.
    pub message: Option<Box<str>>,
    /// The limit in whose place it is judged while it only reports ([`LimitRule::can_replace`]).
    pub replaces: Option<Arc<str>>,
}

/// A part of a limit's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyPart {
    /// The client's address, IPv6 by prefix.
    Address,
    /// The proven user.
    User,
    /// The API key by which the user was proven.
    ApiKey,
    /// The session that the credential belongs to.
    Session,
    /// The plan that the credential names.
    Plan,
    /// The roles that the credential names.
    Role,
    /// The route's pattern.
    Route,
    /// A request header's value. A client chooses it freely: only together with another part does it bound anything.
    Header(HeaderName),
    /// A claim of the credential that the configuration keeps.
    Claim(Box<str>),
}

impl KeyPart {
    /// Whether the part is known before anyone is authenticated.
    const fn is_known_early(&self) -> bool {
        matches!(self, Self::Address | Self::Route | Self::Header(_))
    }
}

impl fmt::Display for KeyPart {
    /// As a configuration spells it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address => f.write_str("address"),
            Self::User => f.write_str("user"),
            Self::ApiKey => f.write_str("api-key"),
            Self::Session => f.write_str("session"),
            Self::Plan => f.write_str("plan"),
            Self::Role => f.write_str("role"),
            Self::Route => f.write_str("route"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Claim(name) => write!(f, "claim:{name}"),
        }
    }
}

/// A quota for everyone, or one by plan or by reputation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QuotaChoice {
    /// The same for everyone.
    Fixed(Rate),
    /// By the plan that the credential names.
    ByPlan {
        /// The plans and their rates.
        plans: HashMap<Box<str>, Rate>,
        /// For no plan or one that is not listed.
        otherwise: Rate,
    },
    /// By what is thought of the address, for requests that prove no identity. Not for [`Scope::Verification`], which does
    /// not know yet who proves one: there everybody is `good`.
    ByReputation(Box<ByRepute>),
}

/// What a limit does with a request that is over its quota.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// It refuses.
    #[default]
    Enforce,
    /// It lets it pass, and reports (L9).
    Report,
    /// It lets it pass after a wait of at most [`portcullis_limit::MAX_DELAY`] (L12).
    Delay(Duration),
}

/// Whom a limit counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// Every request that a pattern covers.
    #[default]
    Everyone,
    /// Only requests that prove no identity, so that it never eats a user's allowance.
    Anonymous,
    /// Only requests whose token must really be verified; shields signature checks.
    Verification,
}

/// When a limit is charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Before authentication: what is known of a stranger.
    Before,
    /// When a token must be verified.
    Verification,
    /// After authentication.
    After,
}

/// All limits of a policy, ready to be asked.
#[derive(Clone, Debug)]
pub(crate) struct LimitTable {
    rules: Vec<Compiled>,
    by_pattern: PatternTable<u32>,
    /// From the number in a limit's keys to its index.
    by_id: HashMap<u32, u32>,
    /// Those that are judged in another's place; mostly none.
    candidates: Vec<Candidate>,
    /// Whether any of them goes by reputation; otherwise nothing is remembered of addresses.
    by_reputation: bool,
}

impl LimitRule {
    /// A limit of this rate for each address, that counts every request there is and refuses what is over.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, patterns: Vec<Pattern>, rate: Rate) -> Self {
        Self {
            name: name.into(),
            patterns,
            key: vec![KeyPart::Address],
            quota: QuotaChoice::Fixed(rate),
            count: Count::All,
            cost: Cost::Fixed(1),
            exempt: Vec::new(),
            exempt_addresses: Vec::new(),
            ceiling: None,
            mode: Mode::Enforce,
            scope: Scope::Everyone,
            outage: Outage::Local,
            lease: false,
            message: None,
            replaces: None,
        }
    }

    /// Whether requests like this one are refused once enough of them were answered with this status, whatever they bring: a
    /// token, or another value in a header. It is what a login needs against those who guess passwords.
    #[must_use]
    pub fn bounds(&self, method: &Method, path: &str, status: StatusCode) -> bool {
        // An answer of ours does not bear the header.
        let stays_free = matches!(self.cost, Cost::Told { otherwise: 0, .. });
        self.mode == Mode::Enforce
            && self.scope == Scope::Everyone
            && !self.key.iter().any(|part| matches!(part, KeyPart::Header(_)))
            && self.counts(method, path)
            && !stays_free
            && self.count.keeps(Outcome::Answered(status))
    }

    /// When it is charged.
    pub(crate) fn phase(&self) -> Phase {
        phase_of(self)
    }

    /// Whether the outcome of a request decides what stays charged.
    pub(crate) fn settles(&self) -> bool {
        self.count != Count::All || matches!(self.cost, Cost::Told { .. })
    }

    /// The rate of those of whom nothing else is said.
    const fn base_rate(&self) -> &Rate {
        match &self.quota {
            QuotaChoice::Fixed(rate) | QuotaChoice::ByPlan { otherwise: rate, .. } => rate,
            QuotaChoice::ByReputation(rates) => &rates.good,
        }
    }

    /// One of each kind of rates whose counts mean nothing to the base rate's. Those by reputation have one window, and an
    /// address must find no other cell when its class changes.
    fn rates_apart(&self) -> Vec<Rate> {
        let plans = match &self.quota {
            QuotaChoice::ByPlan { plans, .. } => plans.values().collect(),
            QuotaChoice::Fixed(_) | QuotaChoice::ByReputation(_) => Vec::new(),
        };
        // Exempt addresses count in cells of their own anyway, where there is no rate but this one.
        let ceiling = self.ceiling.as_ref().filter(|_| !self.exempt.is_empty());
        let mut apart: Vec<Rate> = Vec::new();
        for rate in plans.into_iter().chain(ceiling) {
            if !std::iter::once(self.base_rate()).chain(&apart).any(|held| held.counts_like(rate)) {
                apart.push(*rate);
            }
        }
        apart
    }

    /// Whether requests from this address are exempt.
    fn exempts(&self, client: ClientAddress) -> bool {
        self.exempt_addresses.iter().any(|network| network.contains(&client.ip()))
    }

    /// The rate that this identity is held to at this address, or an address of this repute that proves none; `None` where
    /// it is exempt.
    pub(crate) fn rate_for(
        &self,
        principal: Option<&Principal>,
        client: ClientAddress,
        repute: &Repute,
    ) -> Option<&Rate> {
        if self.exempts(client)
            || principal.is_some_and(|principal| self.exempt.iter().any(|role| principal.has_role(role)))
        {
            return self.ceiling.as_ref();
        }
        Some(match &self.quota {
            QuotaChoice::Fixed(rate) => rate,
            QuotaChoice::ByPlan { plans, otherwise } => principal
                .and_then(|principal| principal.parts().plan.as_deref())
                .and_then(|plan| plans.get(plan))
                .unwrap_or(otherwise),
            QuotaChoice::ByReputation(rates) if principal.is_some() => &rates.good,
            QuotaChoice::ByReputation(rates) => rates.rate(repute),
        })
    }
}

/// A rule with what was made of it.
#[derive(Clone, Debug)]
pub(crate) struct Compiled {
    rule: LimitRule,
    phase: Phase,
    id: u32,
    costs: Option<CostTable>,
    /// One of each kind of its rates that cannot count in a cell of [`LimitRule::base_rate`]; mostly none.
    apart: Vec<Rate>,
}

/// What a request's keys are made of.
pub(crate) struct KeyFacts<'a> {
    pub(crate) client: ClientAddress,
    pub(crate) ipv6_prefix: u8,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) route: &'a str,
    pub(crate) principal: Option<&'a Principal>,
    /// Whether it goes to our own identity endpoints.
    pub(crate) identity: bool,
}

/// The limits that cover one request, by index; and what it costs those of them that ask the request for it.
pub(crate) struct Covering {
    limits: SmallVec<[u32; 8]>,
    costs: Vec<(u32, u64)>,
}

impl Covering {
    pub(crate) fn is_empty(&self) -> bool {
        self.limits.is_empty()
    }
}

impl LimitTable {
    pub(crate) fn new(rules: Vec<LimitRule>) -> Self {
        // A limit must not be dodged by another letter case or a trailing slash, whatever the routes do.
        let mut by_pattern = PatternTable::new(true);
        for (index, rule) in (0..).zip(&rules) {
            for pattern in &rule.patterns {
                by_pattern.insert(pattern, index);
            }
        }
        let mut by_id = HashMap::new();
        let rules: Vec<Compiled> = (0..)
            .zip(rules)
            .map(|(index, rule)| {
                // Two names of one number are as good as impossible; the later one takes the next that is free.
                let mut id = Key::named(&rule.name).limit();
                while by_id.contains_key(&id) {
                    id = id.wrapping_add(1);
                }
                by_id.insert(id, index);
                let apart = rule.rates_apart();
                Compiled { phase: phase_of(&rule), costs: CostTable::of(&rule.cost), rule, id, apart }
            })
            .collect::<Vec<Compiled>>();
        let by_reputation = rules.iter().any(Compiled::goes_by_reputation);
        let numbered: Vec<_> = rules.iter().map(|compiled| (compiled.id, &compiled.rule)).collect();
        let candidates = candidate::candidates(&numbered);
        Self { rules, by_pattern, by_id, candidates, by_reputation }
    }

    /// Whether any limit goes by reputation.
    pub(crate) const fn goes_by_reputation(&self) -> bool {
        self.by_reputation
    }

    /// Whether any of these does.
    pub(crate) fn any_by_reputation(&self, covering: &Covering) -> bool {
        self.by_reputation && covering.limits.iter().any(|index| self.rules[*index as usize].goes_by_reputation())
    }

    /// The limits that are judged in another's place.
    pub(crate) fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }

    /// Goes on with the comparisons of the table before a reload, as far as both limits are what they were.
    pub(crate) fn go_on_comparing(&mut self, before: &Self) {
        let mut candidates = std::mem::take(&mut self.candidates);
        for candidate in &mut candidates {
            let held = before.candidates.iter().find(|held| (held.id, held.live) == (candidate.id, candidate.live));
            let same = |id| self.rule(id) == before.rule(id);
            if let Some(held) = held.filter(|held| same(held.id) && same(held.live)) {
                candidate.counts = Arc::clone(&held.counts);
            }
        }
        self.candidates = candidates;
    }

    /// The limits that cover the request; each once, even where several of its patterns do.
    pub(crate) fn covering(&self, method: &Method, path: &str) -> Covering {
        let mut limits = self.by_pattern.find_all(method, path);
        if limits.len() > 1 {
            limits.sort_unstable();
            limits.dedup();
        }
        let costs = limits.iter().filter_map(|index| {
            let costs = self.rules[*index as usize].costs.as_ref()?;
            Some((*index, costs.cost(method, path)))
        });
        Covering { costs: costs.collect(), limits }
    }

    /// The rule whose keys bear this number.
    pub(crate) fn rule(&self, id: u32) -> &LimitRule {
        &self.compiled(id).rule
    }

    /// When the limit whose keys bear this number is charged.
    pub(crate) fn phase(&self, id: u32) -> Phase {
        self.compiled(id).phase
    }

    fn compiled(&self, id: u32) -> &Compiled {
        &self.rules[self.by_id.get(&id).map_or(0, |index| *index as usize)]
    }

    /// The limit of this name.
    pub(crate) fn named(&self, name: &str) -> Option<&Compiled> {
        self.rules.iter().find(|compiled| &*compiled.rule.name == name)
    }

    pub(crate) fn rules(&self) -> impl Iterator<Item = &LimitRule> {
        self.rules.iter().map(|compiled| &compiled.rule)
    }

    /// Under which keys the failures of one of our own users are counted, wherever the user alone is counted.
    pub(crate) fn failures_of(&self, user: &str) -> impl Iterator<Item = (&str, Key)> {
        let counts = |rule: &LimitRule| rule.key == [KeyPart::User] && rule.count.is_of_failures();
        self.rules.iter().filter(move |compiled| counts(&compiled.rule)).flat_map(move |compiled| {
            // Whatever plan they had when they failed, and from wherever they did.
            let held = std::iter::once(Cells::Shared).chain(compiled.apart.iter().map(Cells::Of));
            let exempt = compiled.rule.ceiling.is_some() && !compiled.rule.exempt_addresses.is_empty();
            held.chain(exempt.then_some(Cells::Exempt)).map(move |cells| {
                let mut key = Key::new(compiled.id);
                push_user(&mut key, None, user);
                cells.push(&mut key);
                (&*compiled.rule.name, key)
            })
        })
    }

    /// What to charge in some phases, all at once.
    pub(crate) fn asks<'t>(
        &'t self,
        phases: &[Phase],
        covering: &Covering,
        facts: &KeyFacts<'_>,
        repute: &Repute,
    ) -> SmallVec<[Ask<'t>; 4]> {
        let mut asks = SmallVec::new();
        for index in &covering.limits {
            let compiled = &self.rules[*index as usize];
            let Compiled { rule, phase: charged, .. } = compiled;
            if !phases.contains(charged) || (rule.scope == Scope::Anonymous && facts.principal.is_some()) {
                continue;
            }
            let Some(rate) = rule.rate_for(facts.principal, facts.client, repute) else { continue };
            let cost = match &rule.cost {
                Cost::Fixed(cost) => *cost,
                Cost::Told { at_most, .. } => *at_most,
                Cost::ByRequest { otherwise, .. } => {
                    match covering.costs.iter().find(|(of, _)| of == index).map_or(*otherwise, |(_, cost)| *cost) {
                        0 => continue,
                        cost => cost,
                    }
                }
            };
            let key = compiled.key(facts, Some(rate));
            // What is charged before authentication is given back when a limit after it refuses.
            let refundable = *charged != Phase::After || rule.settles();
            let (limit, enforce) = (&*rule.name, rule.mode == Mode::Enforce);
            // Whoever can make the store fail must not be able to guess passwords without limit by it.
            let outage = match rule.outage {
                Outage::Open if facts.identity => Outage::Local,
                written => written,
            };
            asks.push(Ask { cost, enforce, refundable, outage, lease: rule.lease, ..Ask::new(limit, key, rate) });
        }
        asks
    }
}

/// A limit is charged as early as everything it asks for is known.
fn phase_of(rule: &LimitRule) -> Phase {
    let early = rule.key.iter().all(KeyPart::is_known_early)
        && rule.exempt.is_empty()
        && matches!(rule.quota, QuotaChoice::Fixed(_));
    match rule.scope {
        Scope::Verification => Phase::Verification,
        Scope::Everyone if early => Phase::Before,
        Scope::Everyone | Scope::Anonymous => Phase::After,
    }
}

impl Compiled {
    pub(crate) const fn rule(&self) -> &LimitRule {
        &self.rule
    }

    const fn goes_by_reputation(&self) -> bool {
        matches!(self.rule.quota, QuotaChoice::ByReputation(_))
    }

    /// Under which key it counts a request that is held to this rate.
    pub(crate) fn key(&self, facts: &KeyFacts<'_>, rate: Option<&Rate>) -> Key {
        let mut key = Key::new(self.id);
        for part in &self.rule.key {
            if push_part(&mut key, part, facts).is_none() {
                key.push_address(facts.client.key(facts.ipv6_prefix));
            }
        }
        let cells = match rate {
            _ if self.rule.exempts(facts.client) => Cells::Exempt,
            Some(rate) if self.is_apart(rate) => Cells::Of(rate),
            _ => Cells::Shared,
        };
        cells.push(&mut key);
        key
    }

    /// Under which keys it counts such requests, whatever rate each is held to; with a rate of each.
    pub(crate) fn keys(&self, facts: &KeyFacts<'_>) -> impl Iterator<Item = (&Rate, Key)> {
        let apart = if self.rule.exempts(facts.client) { &[][..] } else { &self.apart };
        std::iter::once(self.rule.base_rate()).chain(apart).map(|rate| (rate, self.key(facts, Some(rate))))
    }

    /// Whether what is counted by this rate means nothing to the base rate: in one cell each would begin anew when their
    /// turns change, and whoever has users of two plans behind one address would be admitted without end.
    fn is_apart(&self, rate: &Rate) -> bool {
        !self.apart.is_empty() && self.apart.iter().any(|apart| apart.counts_like(rate))
    }

    /// Whether a request says what this part counts by, so that its address need not stand in.
    pub(crate) fn knows(&self, part: &KeyPart, facts: &KeyFacts<'_>) -> bool {
        *part != KeyPart::Address && push_part(&mut Key::new(self.id), part, facts).is_some()
    }
}

/// Which of a limit's cells for one key.
#[derive(Clone, Copy)]
enum Cells<'a> {
    /// Those of the base rate and of all that count like it.
    Shared,
    /// Those of a rate that does not.
    Of(&'a Rate),
    /// Those of exempt addresses: whoever spends a lot at the office must find a whole quota at home.
    Exempt,
}

impl Cells<'_> {
    fn push(self, key: &mut Key) {
        match self {
            Self::Shared => {}
            Self::Of(rate) => key.push_rate(rate),
            Self::Exempt => key.push_text('x', "exempt"),
        }
    }
}

/// Two issuers may use the same subject for two people.
fn push_user(key: &mut Key, issuer: Option<&str>, subject: &str) {
    key.push_text('i', issuer.unwrap_or_default());
    key.push_text('u', subject);
}

/// Adds one part; `None` where the request lacks it.
fn push_part(key: &mut Key, part: &KeyPart, facts: &KeyFacts<'_>) -> Option<()> {
    match part {
        KeyPart::Address => key.push_address(facts.client.key(facts.ipv6_prefix)),
        KeyPart::User => {
            let principal = facts.principal?;
            push_user(key, principal.parts().issuer.as_deref(), principal.subject());
        }
        KeyPart::ApiKey => {
            let parts = facts.principal?.parts();
            key.push_text('k', parts.token_id.as_deref().filter(|_| parts.scheme == Scheme::ApiKey)?);
        }
        KeyPart::Session => {
            let parts = facts.principal?.parts();
            let session = parts.session.as_deref()?;
            // Another issuer may call its sessions what we call ours.
            key.push_text('i', parts.issuer.as_deref().unwrap_or_default());
            key.push_text('s', session);
        }
        KeyPart::Plan => key.push_text('p', facts.principal?.parts().plan.as_deref()?),
        KeyPart::Role => key.push_text('r', facts.principal?.roles_header().to_str().ok()?),
        KeyPart::Route => key.push_text('t', facts.route),
        KeyPart::Header(name) => {
            key.push_text('h', facts.headers.get(name)?.to_str().ok().filter(|text| !text.is_empty())?);
        }
        KeyPart::Claim(name) => key.push_text('c', facts.principal?.parts().claims.get(name)?),
    }
    Some(())
}

/// The limit's message with the wait filled in.
pub(crate) fn message(rule: &LimitRule, wait: Duration) -> Option<Box<str>> {
    let template = rule.message.as_deref()?;
    Some(portcullis_limit::fill_wait(template, wait).into())
}
