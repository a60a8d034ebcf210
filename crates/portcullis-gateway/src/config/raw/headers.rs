//! `[headers]` and `[route.headers]`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{At, DurationText, HeaderText, OneOrMany, ShortOrLong, Text};

/// What can be said of response headers, for all of them or for those of a route: one list for both tables.
macro_rules! response_headers {
    ($(#[$doc:meta])* $name:ident { $($(#[$further_doc:meta])* $further:ident: $kind:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
        #[serde(default, deny_unknown_fields)]
        pub(crate) struct $name {
            /// The security headers to begin with. Default: `web`; for a route what stands in `[headers]`.
            pub(crate) preset: Option<At<HeadersPreset>>,
            /// `Content-Security-Policy`. `'nonce-{nonce}'` in it is another nonce for each answer, which the upstream is
            /// told in a request header. `off` leaves it to the upstream.
            pub(crate) csp: Option<At<Text>>,
            /// Whose policy holds where the upstream sends one, too. Default: `upstream`.
            pub(crate) csp_from: Option<At<CspFromName>>,
            /// `Strict-Transport-Security`, sent where `public_url` is https: a table, or `off`. Default: a year,
            /// subdomains included.
            pub(crate) hsts: Option<At<ShortOrLong<Text, HstsTable>>>,
            /// `X-Frame-Options`: `DENY`, `SAMEORIGIN` or `off`. The preset's policy says the same as `frame-ancestors`.
            pub(crate) frame_options: Option<At<Text>>,
            /// `X-Content-Type-Options`: `nosniff` or `off`.
            pub(crate) content_type_options: Option<At<Text>>,
            /// `Referrer-Policy`, or `off`. Default: `strict-origin-when-cross-origin`.
            pub(crate) referrer_policy: Option<At<Text>>,
            /// `Permissions-Policy`, or `off`. Default: `camera=(), microphone=(), geolocation=()`.
            pub(crate) permissions_policy: Option<At<Text>>,
            /// `Cross-Origin-Opener-Policy`, or `off`. Default: `same-origin`.
            pub(crate) opener_policy: Option<At<Text>>,
            /// `Cross-Origin-Resource-Policy`, or `off`. Default: `same-origin`.
            pub(crate) resource_policy: Option<At<Text>>,
            /// `Cross-Origin-Embedder-Policy`, such as `require-corp`. Default: `off`.
            pub(crate) embedder_policy: Option<At<Text>>,
            /// `X-XSS-Protection`: `0` or `off`.
            pub(crate) xss_protection: Option<At<Text>>,
            /// Further headers that every response carries, whatever the upstream sends.
            pub(crate) set: Option<BTreeMap<String, At<Text>>>,
            /// Headers of the upstream's that are removed, besides those that name its software.
            pub(crate) remove: Option<OneOrMany<HeaderText>>,
            $($(#[$further_doc])* pub(crate) $further: $kind,)*
        }
    };
}

response_headers! {
    /// The response headers of a route, where they are others than `[headers]` says.
    RouteHeadersTable {}
}

response_headers! {
    /// Response headers, and the headers in which the upstream believes this gate.
    HeadersTable {
        /// The request header that tells the upstream the nonce of its page. A client's own is removed. Default:
        /// `X-CSP-Nonce`.
        nonce_header: Option<At<HeaderText>>,
        /// The header that carries the verified user's id. Default: `X-User-Id`.
        user: Option<At<HeaderText>>,
        /// The header that carries the verified roles. Default: `X-User-Role`.
        role: Option<At<HeaderText>>,
        /// The header that carries the verified plan. Default: `X-User-Plan`.
        plan: Option<At<HeaderText>>,
        /// Whether the upstream receives the credential that this gate consumed. Default: false.
        forward_credentials: Option<At<bool>>,
    }
}

impl HeadersTable {
    /// The part that routes can say, too.
    pub(crate) fn of_responses(&self) -> RouteHeadersTable {
        let Self { preset, csp, csp_from, hsts, frame_options, content_type_options, referrer_policy, .. } =
            self.clone();
        let Self { permissions_policy, opener_policy, resource_policy, embedder_policy, xss_protection, .. } =
            self.clone();
        let (set, remove) = (self.set.clone(), self.remove.clone());
        RouteHeadersTable {
            preset,
            csp,
            csp_from,
            hsts,
            frame_options,
            content_type_options,
            referrer_policy,
            permissions_policy,
            opener_policy,
            resource_policy,
            embedder_policy,
            xss_protection,
            set,
            remove,
        }
    }
}

/// A named set of response headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum HeadersPreset {
    /// For answers that a browser may show.
    Web,
    /// For answers that no browser shows as a page.
    Api,
    /// None: for an upstream that sets all of them itself.
    DangerOff,
}

/// Whose Content-Security-Policy holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum CspFromName {
    /// The upstream's, and this gate's where it sends none.
    Upstream,
    /// Both: a browser allows only what both allow.
    Merge,
    /// This gate's.
    Replace,
}

/// For how long browsers speak to this host by https only.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct HstsTable {
    /// How long they remember; `0` makes them forget. Default: `365d`.
    pub(crate) max_age: Option<At<DurationText>>,
    /// Whether for every host below this one, too. Default: true.
    pub(crate) include_subdomains: Option<At<bool>>,
    /// Whether browsers may be shipped with it, which nobody can take back quickly. Needs a year and the subdomains.
    /// Default: false.
    pub(crate) preload: Option<At<bool>>,
}
