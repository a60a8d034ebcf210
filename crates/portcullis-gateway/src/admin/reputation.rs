//! What is known of addresses, for an operator (L12).

use std::net::IpAddr;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use portcullis::{Gate, Repute};
use portcullis_identity::LimitAct;
use schemars::JsonSchema;
use serde::Serialize;

use super::Shared;
use super::caller::{Caller, answered, invalid};
use crate::identity_api::answer::{self, Refused};

/// No list is longer.
const MOST: usize = 100;

/// The addresses of which the worst is known.
#[derive(JsonSchema, Serialize)]
pub(super) struct Addresses {
    /// The worst first, a hundred at most.
    addresses: Vec<Address>,
}

/// What is thought of an address.
#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Address {
    /// The address, or the IPv6 network that is judged as one.
    address: String,
    /// `good`, `suspect` or `bad`.
    class: &'static str,
    /// Its score at the moment.
    score: f32,
    /// Until when it counts as challenged, where it does.
    #[schemars(extend("format" = "date-time"))]
    challenged_until: Option<String>,
}

/// Whether there was something to forget.
#[derive(JsonSchema, Serialize)]
pub(super) struct Forgotten {
    forgotten: bool,
}

impl Address {
    fn new(gate: &Gate, address: IpAddr, repute: &Repute) -> Self {
        let network = gate.network_of(address);
        let single = network.prefix_len() == network.max_prefix_len();
        Self {
            address: if single { network.addr().to_string() } else { network.to_string() },
            class: repute.class.as_str(),
            // A tenth is more than anybody needs.
            score: (repute.score * 10.0).round() / 10.0,
            challenged_until: repute.challenged_until.map(|until| until.to_rfc3339()),
        }
    }
}

type Asked = Result<Path<String>, PathRejection>;

fn address_of(asked: Asked) -> Result<IpAddr, Refused> {
    let address = asked.ok().and_then(|Path(text)| text.parse().ok());
    address.ok_or_else(|| invalid("an address is written 192.0.2.7 or 2001:db8::7"))
}

/// `GET /api/reputation`.
pub(super) async fn list(State(admin): Shared, caller: Caller) -> Response {
    answered(caller, async {
        let gate = admin.gate()?;
        let known = gate.worst_addresses(MOST, admin.clock.now());
        let addresses = known.iter().map(|known| Address::new(gate, known.address, &known.repute)).collect();
        Ok(answer::json(StatusCode::OK, &Addresses { addresses }))
    })
    .await
}

/// `GET /api/reputation/{address}`.
pub(super) async fn show(State(admin): Shared, caller: Caller, asked: Asked) -> Response {
    answered(caller, async {
        let (gate, address) = (admin.gate()?, address_of(asked)?);
        let repute = gate.repute(address, admin.clock.now());
        Ok(answer::json(StatusCode::OK, &Address::new(gate, address, &repute)))
    })
    .await
}

/// `POST /api/reputation/{address}/forget`.
pub(super) async fn forget(State(admin): Shared, caller: Caller, asked: Asked) -> Response {
    answered(caller, async {
        let (gate, address) = (admin.gate()?, address_of(asked)?);
        admin.note(LimitAct::Forget, None, &format!("address {address}"), caller).await?;
        let forgotten = gate.forget_address(address);
        Ok(answer::json(StatusCode::OK, &Forgotten { forgotten }))
    })
    .await
}
