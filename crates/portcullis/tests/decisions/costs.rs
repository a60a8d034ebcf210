//! What requests cost, what of it stays counted, and what the client is told of it (L6, L7).

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use portcullis::{Cost, Count, KeyPart, LimitRule, Mode, Outcome, Pass, Statuses, Verdict, Whom};

use crate::house::*;

/// A public API with something dear in it.
fn shop() -> Vec<portcullis::RouteRule> {
    use portcullis_auth::access::Requirement::{Authenticated, Public};
    vec![
        route("/export", Public),
        route("/items/{id}", Public),
        route("/health", Public),
        route("/mine", Authenticated),
    ]
}

fn open(limits: Vec<LimitRule>) -> House {
    house_with(shop(), limits, portcullis::Otherwise::Refuse)
}

fn told_by(header: &'static str, at_most: u64, otherwise: u64) -> Cost {
    Cost::Told { header: HeaderName::from_static(header), at_most, otherwise }
}

fn by_request(requests: &[(&str, u64)], otherwise: u64) -> Cost {
    let requests = requests.iter().map(|(pattern, cost)| (pattern.parse().unwrap(), *cost)).collect();
    Cost::ByRequest { requests, otherwise }
}

fn statuses(codes: &[(u16, u16)]) -> Statuses {
    let mut set = Statuses::default();
    codes.iter().for_each(|(first, last)| set.insert(*first, *last));
    set
}

fn rows(values: &[&str]) -> HeaderMap {
    values.iter().map(|value| (HeaderName::from_static("x-rows"), HeaderValue::from_str(value).unwrap())).collect()
}

/// How much a limit has left for the address that all here come from.
fn left(house: &House, limit: &str) -> u64 {
    let whom = Whom { address: Some("192.0.2.1".parse().unwrap()), ..Whom::default() };
    futures_executor(house.gate.limit_standing(limit, &whom, NOW)).unwrap().unwrap().remaining
}

fn answer(house: &House, pass: &mut Pass, status: u16, headers: &HeaderMap) -> HeaderMap {
    let outcome = Outcome::Answered(StatusCode::from_u16(status).unwrap());
    house.gate.settle_answer(pass, outcome, headers, NOW);
    let mut headers = HeaderMap::new();
    pass.shape_response(StatusCode::OK, &mut headers);
    headers
}

#[test]
fn l6_a_request_costs_what_the_most_specific_pattern_says() {
    let cost = by_request(&[("GET /export", 10), ("/items/**", 2), ("/items/cheap", 1), ("/health", 0)], 3);
    let house = open(vec![LimitRule { cost, ..limit("units", "/**", KeyPart::Address, "100 per minute") }]);
    let mut expected = 100;
    for (request, cost) in [
        ("GET /export", 10),
        ("HEAD /export", 10),
        ("POST /export", 3),
        ("GET /items/7", 2),
        ("DELETE /items/cheap", 1),
        ("GET /health", 0),
        ("GET /export?x=/health", 10),
        ("GET //export", 10),
    ] {
        assert_eq!(house.status(request, &[]), 200, "{request}");
        expected -= cost;
        assert_eq!(left(&house, "units"), expected, "{request}");
    }
    // What would not fit is refused whole; what costs less still passes, and what costs nothing always does.
    while left(&house, "units") >= 10 {
        assert_eq!(house.status("GET /export", &[]), 200);
    }
    assert_eq!(house.status("GET /export", &[]), 429);
    while left(&house, "units") > 0 {
        assert_eq!(house.status("GET /items/cheap", &[]), 200);
    }
    assert_eq!([house.status("GET /items/cheap", &[]), house.status("GET /health", &[])], [429, 200]);
}

#[test]
fn l6_the_most_is_charged_first_and_the_answer_gives_the_rest_back() {
    let cost = told_by("x-rows", 10, 2);
    let house = open(vec![LimitRule { cost, ..limit("rows", "/**", KeyPart::Address, "35 per minute") }]);
    // Three at once reserve thirty; a fourth cannot slip in, however little they will have cost.
    let mut passes: Vec<Pass> = (0..3).map(|_| passed(house.ask("GET /export", &[]))).collect();
    let refusal = refused(house.ask("GET /export", &[])).problem();
    assert_eq!(refusal.status, StatusCode::TOO_MANY_REQUESTS);
    // Five are left, which are no use to it: headers and body say the same.
    assert_eq!(left(&house, "rows"), 5);
    assert_eq!(refusal.headers["x-ratelimit-remaining"], "0");
    assert!(refusal.headers["ratelimit"].to_str().unwrap().starts_with("\"rows\";r=0;t="));
    let body: serde_json::Value = serde_json::from_slice(&refusal.body).unwrap();
    assert_eq!((&body["limit"], &body["remaining"]), (&35.into(), &0.into()));

    for (pass, values, cost) in [(0, &["3"][..], 3), (1, &["9999"], 10), (2, &[], 2)] {
        let before = left(&house, "rows");
        answer(&house, &mut passes[pass], 200, &rows(values));
        assert_eq!(left(&house, "rows"), before + 10 - cost, "{values:?}");
        // A second settlement changes nothing.
        answer(&house, &mut passes[pass], 200, &rows(&["0"]));
        house.gate.settle(&mut passes[pass], Outcome::NotForwarded, NOW);
        assert_eq!(left(&house, "rows"), before + 10 - cost, "{values:?}");
    }
    assert_eq!(left(&house, "rows"), 35 - 3 - 10 - 2);
}

#[test]
fn l6_what_nobody_answers_costs_the_most_and_what_we_fail_costs_nothing() {
    let cost = told_by("x-rows", 10, 2);
    let house = open(vec![LimitRule { cost, ..limit("rows", "/**", KeyPart::Address, "100 per minute") }]);
    // The client has gone, and its pass with it.
    drop(house.ask("GET /export", &[]));
    assert_eq!(left(&house, "rows"), 90);
    // The upstream was asked and never answered: how dear it was, nobody says.
    house.gate.settle(&mut passed(house.ask("GET /export", &[])), Outcome::Answered(StatusCode::GATEWAY_TIMEOUT), NOW);
    assert_eq!(left(&house, "rows"), 80);
    house.gate.settle(&mut passed(house.ask("GET /export", &[])), Outcome::NotForwarded, NOW);
    assert_eq!(left(&house, "rows"), 80);
    // What we refuse ourselves has cost the upstream nothing.
    assert_eq!(house.status("GET /mine", &[]), 401);
    assert_eq!(left(&house, "rows"), 78);
}

#[test]
fn l6_a_request_that_we_refuse_is_counted_by_its_outcome_too() {
    let of = |name: &str, count| LimitRule { count, ..limit(name, "/**", KeyPart::Address, "100 per minute") };
    let limits = vec![
        of("successes", Count::Successes),
        of("failures", Count::Failures),
        of("denials", Count::Denials),
        of("forbidden", Count::Statuses(statuses(&[(403, 403)]))),
        of("all", Count::All),
    ];
    let house = house(limits);
    let lefts = |house: &House| ["successes", "failures", "denials", "forbidden", "all"].map(|name| left(house, name));
    assert_eq!(house.status("GET /projects", &[]), 401);
    assert_eq!(lefts(&house), [100, 99, 99, 100, 99]);
    assert_eq!(house.status("GET /analytics", &[house.bearer("viewer")]), 403);
    assert_eq!(lefts(&house), [100, 98, 98, 99, 98]);
    // That the record of revocations is too old is nobody's failure but ours.
    let stale = [("authorization", format!("Bearer {}", house.token("u", "viewer", "free", "stale")))];
    assert_eq!(house.status("GET /projects", &stale), 503);
    assert_eq!(lefts(&house), [100, 98, 98, 99, 98]);
}

#[test]
fn l6_chosen_status_codes_stay_counted_and_no_parallel_request_slips_through() {
    let count = Count::Statuses(statuses(&[(401, 401), (403, 403), (500, 599)]));
    let house = open(vec![LimitRule { count, ..limit("errors", "/**", KeyPart::Address, "4 per minute") }]);
    let mut passes: Vec<Pass> = (0..4).map(|_| passed(house.ask("GET /export", &[]))).collect();
    assert_eq!(house.status("GET /export", &[]), 429, "all four may still fail");
    for (pass, (status, after)) in passes.iter_mut().zip([(200, 1), (404, 2), (401, 2), (503, 2)]) {
        answer(&house, pass, status, &HeaderMap::new());
        assert_eq!(left(&house, "errors"), after, "{status}");
    }
    // A credential that was wrong goes by the code of the answer here.
    house.gate.settle(&mut passed(house.ask("GET /export", &[])), Outcome::Denied(StatusCode::BAD_REQUEST), NOW);
    assert_eq!(left(&house, "errors"), 2);
}

#[test]
fn l7_the_client_is_told_what_is_left_after_the_settlement() {
    let cost = told_by("x-rows", 10, 1);
    let limits = vec![
        LimitRule { cost, ..limit("rows", "/**", KeyPart::Address, "50 per minute") },
        LimitRule { count: Count::Failures, ..limit("failures", "/**", KeyPart::Address, "45 per minute") },
        limit("requests", "/**", KeyPart::Address, "42 per minute"),
    ];
    let house = open(limits);
    let told = |headers: &HeaderMap| headers["ratelimit"].to_str().unwrap().to_owned();
    let mut pass = passed(house.ask("GET /export", &[]));
    let mut unsettled = HeaderMap::new();
    pass.shape_response(StatusCode::OK, &mut unsettled);
    assert_eq!(told(&unsettled), "\"rows\";r=40;t=60", "as long as it is not known");
    // 50 - 3, 45, 41: the one of every request is closest.
    assert_eq!(told(&answer(&house, &mut pass, 200, &rows(&["3"]))), "\"requests\";r=41;t=60");
    let mut pass = passed(house.ask("GET /export", &[]));
    assert_eq!(told(&answer(&house, &mut pass, 200, &rows(&["10"]))), "\"rows\";r=37;t=60");
    for expected in [28, 19] {
        let mut pass = passed(house.ask("GET /export", &[]));
        assert_eq!(told(&answer(&house, &mut pass, 500, &rows(&["9"]))), format!("\"rows\";r={expected};t=60"));
    }
    assert_eq!([left(&house, "rows"), left(&house, "failures"), left(&house, "requests")], [19, 43, 38]);
}

#[test]
fn l7_a_limit_that_counts_failures_does_not_tell_a_success_that_it_was_counted() {
    let house =
        open(vec![LimitRule { count: Count::Failures, ..limit("failures", "/**", KeyPart::Address, "10 per minute") }]);
    for (status, remaining) in [(200, "10"), (404, "9"), (304, "9"), (500, "8")] {
        let mut pass = passed(house.ask("GET /export", &[]));
        assert_eq!(
            answer(&house, &mut pass, status, &HeaderMap::new())["x-ratelimit-remaining"],
            remaining,
            "{status}"
        );
    }
}

#[test]
fn l9_a_limit_that_only_reports_is_settled_and_never_told() {
    let cost = told_by("x-rows", 10, 1);
    let house =
        open(vec![LimitRule { cost, mode: Mode::Report, ..limit("rows", "/**", KeyPart::Address, "15 per minute") }]);
    for _ in 0..5 {
        let headers = answer(&house, &mut passed(house.ask("GET /export", &[])), 200, &rows(&["5"]));
        assert!(!headers.contains_key("x-ratelimit-remaining") && !headers.contains_key("ratelimit"));
    }
    // Two fitted, with room for the most; after them there was none, though each took five.
    assert_eq!(left(&house, "rows"), 5);
}

#[test]
fn l5_an_exempt_address_has_a_ceiling_and_cells_of_its_own() {
    let exempt = LimitRule {
        exempt_addresses: vec!["198.51.100.0/24".parse().unwrap(), "2001:db8:1::/48".parse().unwrap()],
        ceiling: Some(rate("5 per minute")),
        ..limit("user", "/**", KeyPart::User, "2 per minute")
    };
    let house = house(vec![exempt]);
    let viewer = [house.bearer("viewer")];
    let from = |address: &str| -> Vec<u16> {
        (0..6).map(|_| status(&house.ask_from(address, "GET /projects", &viewer))).collect()
    };
    // A person's quota at home is whole, whatever they spent at the office; and the office is not unlimited.
    assert_eq!(from("198.51.100.7"), [200, 200, 200, 200, 200, 429]);
    assert_eq!(from("192.0.2.1"), [200, 200, 429, 429, 429, 429]);
    assert_eq!(from("198.51.101.7"), [429; 6], "a neighbour of the network is not in it");
    assert_eq!(from("::ffff:198.51.100.9"), [429; 6], "a mapped address is the same one");
    assert_eq!(from("2001:db8:2::1"), [429; 6]);
    assert_eq!(from("2001:db8:1::1"), [429; 6], "all exempt networks share what the user has there");
}

#[test]
fn l5_an_address_that_is_claimed_is_not_exempt() {
    let exempt = LimitRule {
        exempt_addresses: vec!["198.51.100.0/24".parse().unwrap()],
        ..limit("address", "/**", KeyPart::Address, "1 per minute")
    };
    let house = open(vec![exempt]);
    assert_eq!([house.status("GET /export", &[]), house.status("GET /export", &[])], [200, 429]);
    for header in ["x-forwarded-for", "forwarded", "x-real-ip", "cf-connecting-ip"] {
        let value = if header == "forwarded" { "for=198.51.100.7" } else { "198.51.100.7" };
        assert_eq!(house.status("GET /export", &[(header, value.to_owned())]), 429, "{header}");
    }
    // Without a ceiling it is not counted at all.
    for _ in 0..5 {
        assert_eq!(status(&house.ask_from("198.51.100.7", "GET /export", &[])), 200);
    }
    assert_eq!(exempted(&house, "198.51.100.7"), None);
}

/// How a limit stands towards an exempt address.
fn exempted(house: &House, address: &str) -> Option<portcullis_limit::Standing> {
    let whom = Whom { address: Some(address.parse().unwrap()), ..Whom::default() };
    futures_executor(house.gate.limit_standing("address", &whom, NOW)).unwrap()
}

mod model {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Ask(usize),
        Answer { which: usize, status: u16, rows: Option<u64>, heads: bool },
        Fail(usize),
        Drop(usize),
    }

    /// What the model knows of one request under way: what each limit took of it.
    type Taken = Vec<(usize, u64)>;

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0..4_usize).prop_map(Step::Ask),
            4 => (any::<usize>(), prop_oneof![Just(200), Just(304), Just(400), Just(401), Just(404), Just(503)],
                  proptest::option::of(0..14_u64), any::<bool>())
                .prop_map(|(which, status, rows, heads)| Step::Answer { which, status, rows, heads }),
            1 => any::<usize>().prop_map(Step::Fail),
            1 => any::<usize>().prop_map(Step::Drop),
        ]
    }

    fn cost() -> impl Strategy<Value = Cost> {
        prop_oneof![
            (1..5_u64).prop_map(Cost::Fixed),
            (0..9_u64, 0..4_u64, 0..3_u64)
                .prop_map(|(export, items, rest)| by_request(&[("GET /export", export), ("/items/{id}", items)], rest)),
            (1..9_u64, 0..9_u64).prop_map(|(most, rest)| told_by("x-rows", most, rest.min(most))),
        ]
    }

    fn count() -> impl Strategy<Value = Count> {
        prop_oneof![
            Just(Count::All),
            Just(Count::Failures),
            Just(Count::Denials),
            Just(Count::Successes),
            Just(Count::Statuses(statuses(&[(304, 304), (404, 404)]))),
            Just(Count::Statuses(statuses(&[(304, 304), (404, 404)]).complement())),
        ]
    }

    const REQUESTS: [&str; 4] = ["GET /export", "POST /export", "GET /items/7", "GET /health"];

    fn charged(cost: &Cost, request: &str) -> u64 {
        match cost {
            Cost::Fixed(cost) => *cost,
            Cost::Told { at_most, .. } => *at_most,
            Cost::ByRequest { requests, otherwise } => match request {
                "GET /export" => requests[0].1,
                "GET /items/7" => requests[1].1,
                _ => *otherwise,
            },
        }
    }

    /// What of it stays, in other words than the engine's.
    fn stays(rule: &LimitRule, taken: u64, status: u16, rows: Option<u64>, heads: bool) -> u64 {
        let listed = matches!(status, 304 | 404);
        let counts = match rule.count {
            Count::All => true,
            Count::Failures => status > 399,
            Count::Denials => status == 401,
            Count::Successes => status < 400,
            Count::Statuses(set) if set.contains(StatusCode::NOT_FOUND) => listed,
            Count::Statuses(_) => !listed,
        };
        match (&rule.cost, counts) {
            (_, false) => 0,
            (Cost::Told { at_most, otherwise, .. }, true) if heads => rows.unwrap_or(*otherwise).min(*at_most),
            _ => taken,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

        #[test]
        fn l6_whatever_becomes_of_requests_the_units_counted_are_those_of_the_model(
            kinds in proptest::collection::vec((cost(), count(), 9..60_u64, any::<bool>()), 1..4),
            steps in proptest::collection::vec(step(), 1..80),
        ) {
            let rules: Vec<LimitRule> = kinds.into_iter().enumerate().map(|(index, (cost, count, quota, reports))| LimitRule {
                cost,
                count,
                mode: if reports { Mode::Report } else { Mode::Enforce },
                ..limit(&format!("l{index}"), "/**", KeyPart::Address, &format!("{quota} per minute"))
            }).collect();
            let quotas: Vec<u64> = rules.iter().map(|rule| match &rule.quota {
                portcullis::QuotaChoice::Fixed(rate) => rate.capacity(),
                _ => unreachable!("none is made here"),
            }).collect();
            let house = open(rules.clone());
            let mut used = vec![0; rules.len()];
            let mut under_way: Vec<(Pass, Taken)> = Vec::new();
            for step in steps {
                match step {
                    Step::Ask(request) => {
                        let wanted: Vec<u64> = rules.iter().map(|rule| charged(&rule.cost, REQUESTS[request])).collect();
                        let fits = |index: usize| used[index] + wanted[index] <= quotas[index];
                        let admitted = (0..rules.len())
                            .all(|index| wanted[index] == 0 || rules[index].mode == Mode::Report || fits(index));
                        let verdict = house.ask(REQUESTS[request], &[]);
                        prop_assert_eq!(matches!(verdict, Verdict::Pass(_)), admitted);
                        if let Verdict::Pass(pass) = verdict {
                            let taken: Taken =
                                (0..rules.len()).filter(|index| fits(*index)).map(|index| (index, wanted[index])).collect();
                            taken.iter().for_each(|(index, units)| used[*index] += units);
                            under_way.push((pass, taken));
                        }
                    }
                    _ if under_way.is_empty() => {}
                    Step::Answer { which, status, rows: told, heads } => {
                        let (mut pass, taken) = under_way.swap_remove(which % under_way.len());
                        for (index, units) in taken {
                            used[index] -= units - stays(&rules[index], units, status, told, heads);
                        }
                        if heads {
                            let headers = told.map(|told| rows(&[&told.to_string()])).unwrap_or_default();
                            answer(&house, &mut pass, status, &headers);
                        } else {
                            let outcome = Outcome::Answered(StatusCode::from_u16(status).unwrap());
                            house.gate.settle(&mut pass, outcome, NOW);
                        }
                    }
                    Step::Fail(which) => {
                        let (mut pass, taken) = under_way.swap_remove(which % under_way.len());
                        taken.iter().for_each(|(index, units)| used[*index] -= units);
                        house.gate.settle(&mut pass, Outcome::NotForwarded, NOW);
                    }
                    Step::Drop(which) => drop(under_way.swap_remove(which % under_way.len())),
                }
                for (index, used) in used.iter().enumerate() {
                    prop_assert!(*used <= quotas[index]);
                    prop_assert_eq!(left(&house, &format!("l{index}")), quotas[index] - used, "l{}", index);
                }
            }
        }
    }
}
