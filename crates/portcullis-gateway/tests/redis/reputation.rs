//! What each gate thinks of an address, and the one place in which they count it (L12).

use crate::servers::Server;
use crate::support::client::Client;
use crate::support::origin::Origin;
use crate::support::process::Gateway;
use crate::{gate, limit, up};

#[test]
fn l12_gates_that_think_differently_of_an_address_count_it_in_one_place() {
    let (origin, redis) = (Origin::echo(), Server::start(&[]));
    let classes = "good = \"40 per day\", bad = \"5 per day\"";
    for algorithm in ["sliding-window-log", "sliding-window-counter", "fixed-window"] {
        let rest = format!("algorithm = \"{algorithm}\"\nquota = {{ by = \"reputation\", {classes} }}");
        let limits = limit(algorithm, "status", &rest);
        let gates: Vec<Gateway> = (0..2).map(|_| gate(&origin, &redis, &limits)).collect();
        gates.iter().for_each(up);
        let client = gates[0].client();
        let there = Client::at(gates[1].listen, client.address);
        // What an address did at one gate is known there only.
        for number in 0..70 {
            client.get(&format!("/backup-{number}.zip")).send().expect(404);
        }
        let (mut here, mut elsewhere) = (0, 0);
        for _ in 0..60 {
            here += usize::from(client.get("/public/status").send().status == 200);
            elsewhere += usize::from(there.get("/public/status").send().status == 200);
        }
        // They take turns: three and two are the five that the first gate allows, and the rest are the other's.
        assert_eq!((here, elsewhere), (3, 37), "{algorithm}");
    }
}
