//! What is known of one judged request: for its answer's headers and for the records.

use std::sync::Arc;
use std::time::Duration;

use http::header::SET_COOKIE;
use http::{HeaderMap, HeaderValue, StatusCode};
use portcullis_core::{AddressKey, ClientAddress, Event, EventKind, Principal, Reason, RequestId, Scheme, Timestamp};
use portcullis_limit::{Ask, Patience, Rate, Standing};
use portcullis_shield::csrf::FormToken;
use portcullis_shield::{Check, FromUpstream, Nonce, Preflight};

use crate::forgery::Tokens;
use crate::limits::LimitRule;
use crate::policy::Policy;

/// What is known of one judged request.
#[derive(Debug)]
pub struct Case {
    pub(crate) policy: Arc<Policy>,
    pub(crate) client: ClientAddress,
    pub(crate) route: Option<usize>,
    pub(crate) principal: Option<Arc<Principal>>,
    /// The limit closest to refusal, of those whose charge stays as it is.
    pub(crate) standing: Option<Standing>,
    /// The limits whose charge the outcome decides about.
    pub(crate) unsettled: Vec<Unsettled>,
    /// What slows it down, if anything does.
    pub(crate) slow: Option<Box<Slow>>,
    /// How long it may still wait for the store of the limits.
    pub(crate) patience: Patience,
    /// The cookie that is good no more, by its scheme: it is taken back with the answer (T8).
    pub(crate) stale_cookie: Option<Scheme>,
    /// Whether a browser says that another site's page made it ask; looked at only where a limit goes by reputation.
    pub(crate) cross_site: bool,
    /// The tokens of a session that a cookie proved.
    pub(crate) tokens: Option<Box<Tokens>>,
    /// The origin of the page that asks; looked at only where there are rules for pages of other origins.
    pub(crate) origin: Option<HeaderValue>,
    /// What the upstream is told to put into its page, where the policy of its responses has a place for it.
    pub(crate) nonce: Option<Nonce>,
    /// Whether it asks for a head without content.
    pub(crate) is_head: bool,
}

/// How a limit stands as long as everything that it charged counts.
#[derive(Debug)]
pub(crate) struct Unsettled {
    standing: Standing,
    charged: u64,
    rate: Rate,
}

/// A limit that lets a request pass late.
#[derive(Debug)]
pub(crate) struct Slow {
    pub(crate) wait: Duration,
    pub(crate) standing: Standing,
}

impl Slow {
    /// What is said where too many wait already: come back when the wait would have been over.
    pub(crate) fn refused(&self) -> Standing {
        Standing { would_refuse: true, reset_at: self.standing.at.after(self.wait), ..self.standing.clone() }
    }
}

impl Case {
    /// The client's address.
    #[must_use]
    pub const fn client(&self) -> ClientAddress {
        self.client
    }

    /// The address as what is kept per client counts it: IPv6 by its prefix.
    #[must_use]
    pub fn address_key(&self) -> AddressKey {
        self.client.key(self.policy.ipv6_prefix)
    }

    /// The route's label, where one was found.
    #[must_use]
    pub fn route(&self) -> Option<&Arc<str>> {
        self.route.map(|index| &self.policy.route_at(index).label)
    }

    /// What its route asks of the content.
    pub(crate) fn checks(&self) -> &[Arc<dyn Check>] {
        self.route.map_or(&[], |index| &self.policy.route_at(index).checks)
    }

    /// Whether its route takes a body as gzip where checks look at it.
    pub(crate) fn takes_gzip(&self) -> bool {
        self.route.is_some_and(|index| self.policy.route_at(index).gzip)
    }

    /// The check of a form that must hold a token against forgery, where the head held none.
    pub(crate) fn form(&self) -> Option<&FormToken> {
        self.tokens.as_ref()?.form.as_ref()
    }

    /// Who it is, where that was proven.
    #[must_use]
    pub const fn principal(&self) -> Option<&Arc<Principal>> {
        self.principal.as_ref()
    }

    /// Sets the headers that every answer of our own to this request carries (H1, H3, L7).
    pub(crate) fn shape(&self, headers: &mut HeaderMap) {
        self.policy.headers_of(self.route).apply(headers);
        self.shape_further(headers);
    }

    /// Sets the headers that every answer of the upstream's to this request carries.
    pub(crate) fn shape_upstreams(&self, headers: &mut HeaderMap, status: StatusCode) {
        let has_content = !self.is_head && status != StatusCode::NOT_MODIFIED;
        let answer = FromUpstream { nonce: self.nonce.as_ref(), has_content };
        self.policy.headers_of(self.route).apply_to_upstream(headers, answer);
        self.shape_further(headers);
    }

    /// The answer to a browser that asks whether a page may ask.
    pub(crate) fn shape_preflight(&self, headers: &mut HeaderMap, asked: &Preflight) {
        self.policy.headers_of(self.route).apply(headers);
        if let Some(cors) = self.policy.cors_of(self.route) {
            cors.answer(headers, self.origin.as_ref(), asked);
        }
    }

    /// Who may read it, how the limits stand, and which cookie is good no more. A stale cookie is taken back, unless the
    /// answer brings another one in its place: of two `Set-Cookie` of one name a browser believes the last.
    fn shape_further(&self, headers: &mut HeaderMap) {
        if self.policy.has_cors
            && let Some(cors) = self.policy.cors_of(self.route)
        {
            cors.apply(headers, self.origin.as_ref());
        }
        let unsettled = self.unsettled.iter().map(|unsettled| &unsettled.standing);
        let closest = self.standing.iter().chain(unsettled).reduce(closer_to_refusal);
        if let Some(standing) = closest {
            let name = &self.policy.limits.rule(standing.limit).name;
            self.policy.limit_headers.insert(headers, standing, name);
        }
        if let Some(cookie) = self.stale_cookie.and_then(|scheme| self.policy.cookies.clear(scheme))
            && !headers.get_all(SET_COOKIE).iter().any(|other| cookie_name(other) == cookie_name(&cookie))
        {
            headers.append(SET_COOKIE, cookie);
        }
        if let Some(tokens) = &self.tokens {
            tokens.hand_out(headers);
        }
    }

    /// Keeps the standing that is closest to refusal; and beside it each of a limit that will be settled, with what it was
    /// asked.
    pub(crate) fn note_standing(&mut self, standing: &Standing, settled_later: Option<&Ask<'_>>) {
        match settled_later {
            Some(ask) => {
                self.unsettled.push(Unsettled { standing: standing.clone(), charged: ask.cost, rate: *ask.rate });
            }
            None if self.standing.as_ref().is_none_or(|held| standing.is_closer_to_refusal_than(held)) => {
                self.standing = Some(standing.clone());
            }
            None => {}
        }
    }

    /// Makes the standing of each limit what it is when only so much of its charge stays.
    pub(crate) fn settle(&mut self, kept: impl Fn(&LimitRule, u64) -> u64) {
        for Unsettled { mut standing, charged, rate } in std::mem::take(&mut self.unsettled) {
            let kept = kept(self.policy.limits.rule(standing.limit), charged);
            standing.settle(charged.saturating_sub(kept), &rate);
            self.note_standing(&standing, None);
        }
    }

    /// The limit that refuses is the one to be told of: what others charged is given back.
    pub(crate) fn refused_by(&mut self, standing: Standing) {
        self.standing = Some(standing);
        self.unsettled.clear();
    }

    /// Keeps the longest wait.
    pub(crate) fn slow_down(&mut self, wait: Duration, standing: &Standing) {
        if self.slow.as_ref().is_none_or(|held| held.wait < wait) {
            self.slow = Some(Box::new(Slow { wait, standing: standing.clone() }));
        }
    }

    /// An event about this request.
    pub(crate) fn event(&self, at: Timestamp, kind: EventKind, id: RequestId) -> Event {
        Event {
            client: Some(self.client.ip()),
            user: self.principal.as_ref().map(|principal| principal.subject().into()),
            route: self.route().cloned(),
            request_id: Some(id),
            ..Event::new(at, kind)
        }
    }

    /// The event of a refusal.
    pub(crate) fn refused(&self, at: Timestamp, reason: &Reason, id: RequestId) -> Event {
        let (kind, limit) = match reason {
            Reason::LimitReached(limited) => (EventKind::LimitHit, Some(limited.limit.clone())),
            _ => (EventKind::Refused, None),
        };
        Event { limit, reason: Some(reason.slug()), rule: reason.places(), ..self.event(at, kind, id) }
    }
}

/// Of two standings the one that is closer to refusal.
fn closer_to_refusal<'s>(one: &'s Standing, other: &'s Standing) -> &'s Standing {
    if other.is_closer_to_refusal_than(one) { other } else { one }
}

/// What stands before the `=` of a `Set-Cookie`.
pub(crate) fn cookie_name(set: &HeaderValue) -> &[u8] {
    set.as_bytes().split(|byte| *byte == b'=').next().unwrap_or_default()
}
