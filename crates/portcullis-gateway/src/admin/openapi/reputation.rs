//! Rows of what is known of addresses.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::admin::reputation::{Address, Addresses, Forgotten};
use crate::openapi::{Operation, Parameter, in_path, json, operation};

/// How an address may look.
struct IpAddress;

impl JsonSchema for IpAddress {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "IpAddress".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "type": "string", "format": "ipv4" },
            { "type": "string", "format": "ipv6" },
        ] })
    }
}

const ADDRESS: Parameter = in_path::<IpAddress>("address", "The client's address; of IPv6 its network is meant.");
const NO_ADDRESS: (u16, &str) = (400, "It is no address.");

pub(super) const OPERATIONS: &[Operation] = &[
    operation("GET /api/reputation", "reputations", "The addresses of which the worst is known")
        .about("By this instance alone, since its start.")
        .answers(&[json::<Addresses>(200, "The worst first; empty where no limit goes by reputation.")]),
    operation("GET /api/reputation/{address}", "reputation", "What is thought of an address")
        .with(&[ADDRESS])
        .answers(&[json::<Address>(200, "What is thought of it; `good` with a score of 0 where nothing is known.")])
        .refuses(&[NO_ADDRESS]),
    operation("POST /api/reputation/{address}/forget", "forgetReputation", "Forget what is known of an address")
        .about("It is taken down in the audit trail.")
        .with(&[ADDRESS])
        .answers(&[json::<Forgotten>(200, "Nothing is known of it any more.")])
        .refuses(&[NO_ADDRESS]),
];
