//! What requests cost, what of it stays counted and who is exempt, through the real binary (L6).

use crate::support::client::{Client, Reply};
use crate::support::origin::Origin;
use crate::support::process::{Gateway, Setup};

/// An API that answers as the target says: `/public/x?status=404&x-rows=7` with that status and that header.
fn obedient() -> Origin {
    Origin::start(|exchange| {
        exchange.read_body()?;
        let target = exchange.seen.target.clone();
        let words: Vec<(&str, &str)> = target
            .split_once('?')
            .map(|(_, query)| query.split('&').filter_map(|pair| pair.split_once('=')).collect())
            .unwrap_or_default();
        let status = words.iter().find(|(name, _)| *name == "status").map_or("200", |(_, status)| status);
        if status == "0" {
            return Err(std::io::ErrorKind::ConnectionAborted.into());
        }
        let headers: String = words
            .iter()
            .filter(|(name, _)| *name != "status")
            .map(|(name, value)| format!("{name}: {}\r\n", value.replace('+', " ")))
            .collect();
        let head = format!("HTTP/1.1 {status} As told\r\n{headers}Content-Length: 0\r\n\r\n");
        exchange.send(head)
    })
}

fn gate(origin: &Origin, limits: &str) -> Gateway {
    let routes = "[[route]]\nmatch = \"/public/**\"\naccess = \"public\"\n\n[[route]]\nmatch = \"/mine\"\n\
                  access = \"authenticated\"\n\n";
    let gateway = Setup::before(origin).with(routes).with(limits).start();
    gateway.operator().stop_clock();
    gateway
}

fn limit(name: &str, rest: &str) -> String {
    format!("[[limit]]\nname = \"{name}\"\nkey = \"address\"\nalgorithm = \"sliding-window-log\"\n{rest}\n\n")
}

fn left(reply: &Reply) -> u64 {
    let left = reply.header("x-ratelimit-remaining").unwrap_or_else(|| panic!("{:?}", reply.headers));
    left.parse().unwrap()
}

/// How much is left as the operator sees it.
fn shown(gateway: &Gateway, limit: &str, client: &Client) -> String {
    let output = gateway.command(&["limits", "show", limit, "--address", &client.address.to_string()]);
    String::from_utf8_lossy(&output.stdout).split(" left").next().unwrap_or_default().to_owned()
}

#[test]
fn l6_a_dear_route_takes_more_of_the_same_quota() {
    let origin = obedient();
    let costs =
        "quota = \"30 per hour\"\ncost = { \"GET /public/export\" = 10, \"/public/health\" = 0, otherwise = 2 }";
    let gateway = gate(&origin, &limit("units", costs));
    let client = gateway.client();
    let ask = |method: &str, path: &str| client.request(method, path).send();
    assert_eq!(left(&ask("GET", "/public/export").expect(200)), 20);
    assert_eq!(left(&ask("POST", "/public/export").expect(200)), 18);
    assert_eq!(left(&ask("HEAD", "/public/export?x").expect(200)), 8);
    assert_eq!(ask("GET", "/public/health").expect(200).header("x-ratelimit-remaining"), None, "it is not counted");
    let refused = ask("GET", "/public/export").refused(429, "Rate limit exceeded");
    assert_eq!(refused.header("retry-after"), Some("3600"));
    for expected in [6, 4, 2, 0] {
        assert_eq!(left(&ask("GET", "/public/a").expect(200)), expected);
    }
    ask("GET", "/public/a").expect(429);
    ask("GET", "/public/health").expect(200);
    assert_eq!(shown(&gateway, "units", &client), "units: 0 of 30");
}

#[test]
fn l6_an_answers_header_tells_what_it_cost() {
    let origin = obedient();
    let costs = "quota = \"100 per hour\"\ncost = { header = \"X-Rows\", at_most = 20, otherwise = 2 }";
    let gateway = gate(&origin, &limit("rows", costs));
    let client = gateway.client();
    let ask = |query: &str| client.get(&format!("/public/x?{query}")).send();
    let mut expected = 100;
    for (query, cost) in [
        ("x-rows=3", 3),
        ("x-rows=0", 0),
        ("status=500&x-rows=5", 5),
        ("status=200", 2),
        ("x-rows=-5", 20),
        ("x-rows=1&x-rows=1", 20),
    ] {
        expected -= cost;
        assert_eq!(left(&ask(query)), expected, "{query}");
    }
    let reply = ask("x-rows=4");
    assert_eq!((left(&reply), reply.header("x-rows")), (46, Some("4")), "the header goes on to the client");
    // An upstream that breaks off says nothing of what it did.
    assert_eq!(left(&ask("status=0").expect(502)), 26);
    // What is refused here has cost it nothing.
    assert_eq!(left(&client.get("/mine").send().expect(401)), 24);
    assert_eq!(shown(&gateway, "rows", &client), "rows: 24 of 100");
    // As long as the most does not fit, nothing is forwarded.
    assert_eq!(left(&ask("x-rows=19")), 5);
    let seen = origin.requests().len();
    ask("x-rows=1").expect(429);
    assert_eq!(origin.requests().len(), seen);
}

#[test]
fn l6_dear_requests_at_once_are_admitted_as_if_each_cost_the_most() {
    let origin = Origin::start(|exchange| {
        exchange.read_body()?;
        std::thread::sleep(std::time::Duration::from_millis(400));
        exchange.send("HTTP/1.1 200 OK\r\nX-Rows: 1\r\nContent-Length: 0\r\n\r\n")
    });
    let costs = "quota = \"40 per hour\"\ncost = { header = \"X-Rows\", at_most = 10 }";
    let gateway = gate(&origin, &limit("rows", costs));
    let address = gateway.client().address;
    let admitted: usize = std::thread::scope(|scope| {
        let crowd: Vec<_> = (0..12)
            .map(|_| {
                let client = Client::at(gateway.listen, address);
                scope.spawn(move || usize::from(client.get("/public/x").send().status == 200))
            })
            .collect();
        crowd.into_iter().map(|one| one.join().unwrap()).sum()
    });
    assert_eq!(admitted, 4);
    let client = Client::at(gateway.listen, address);
    assert_eq!(left(&client.get("/public/x").send().expect(200)), 40 - 4 - 1, "and then each had cost one");
}

#[test]
fn l6_only_the_status_codes_that_are_named_stay_counted() {
    let origin = obedient();
    let both = [
        limit("listed", "quota = \"50 per hour\"\ncount = [401, 403, \"5xx\"]"),
        limit("others", "quota = \"60 per hour\"\ncount = { except = [200, 304, 404] }"),
    ];
    let gateway = gate(&origin, &both.concat());
    let client = gateway.client();
    let (mut listed, mut others) = (50, 60);
    for (status, of_listed, of_others) in
        [(200, 0, 0), (304, 0, 0), (404, 0, 0), (401, 1, 1), (403, 1, 1), (418, 0, 1), (503, 1, 1), (201, 0, 1)]
    {
        let reply = client.get(&format!("/public/x?status={status}")).send().expect(status);
        (listed, others) = (listed - of_listed, others - of_others);
        assert_eq!(left(&reply), listed, "{status}");
    }
    // What the gate refuses by itself goes by its status too.
    client.get("/mine").send().expect(401);
    assert_eq!(shown(&gateway, "listed", &client), format!("listed: {} of 50", listed - 1));
    assert_eq!(shown(&gateway, "others", &client), format!("others: {} of 60", others - 1));
}

#[test]
fn l5_an_exempt_network_is_known_by_trusted_hops_and_has_a_ceiling() {
    let origin = obedient();
    let rest = "quota = \"2 per hour\"\nexempt_addresses = [\"198.51.100.0/24\"]\nceiling = \"4 per hour\"";
    let hops = "[client]\ntrusted_hops = [\"127.0.0.9\"]\n\n";
    let people = format!("[[limit]]\nname = \"people\"\nkey = \"user\"\nmatch = \"GET /mine\"\n{rest}\n");
    let gateway = gate(&origin, &format!("{hops}{}\n{people}", limit("few", rest)));
    let proxy = Client::at(gateway.listen, std::net::Ipv4Addr::new(127, 0, 0, 9));
    let stranger = gateway.client();
    let statuses = |client: &Client, address: &str| -> Vec<u16> {
        (0..5).map(|_| client.get("/public/x").header("X-Forwarded-For", address).send().status).collect()
    };
    assert_eq!(statuses(&proxy, "198.51.100.7"), [200, 200, 200, 200, 429]);
    assert_eq!(statuses(&proxy, "203.0.113.5"), [200, 200, 429, 429, 429]);
    assert_eq!(statuses(&proxy, "198.51.100.8, 203.0.113.6"), [200, 200, 429, 429, 429], "only the last entry counts");
    assert_eq!(statuses(&stranger, "198.51.100.9"), [200, 200, 429, 429, 429], "nobody vouches for a stranger");
    // Of people it is not known where they are, unless it is told.
    gateway.create_user("ann@example.com", "viewer");
    let shown = |further: &[&str]| {
        let output = gateway.command(&[&["limits", "show", "people", "--user", "ann@example.com"], further].concat());
        String::from_utf8(output.stdout).unwrap()
    };
    let (told, office) = (shown(&[]), shown(&["--address", "198.51.100.7"]));
    assert!(told.starts_with("people: 2 of 2 left") && told.contains("(from an address that is not exempt;"), "{told}");
    assert!(office.starts_with("people: 4 of 4 left") && !office.contains('('), "{office}");
}
