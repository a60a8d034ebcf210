//! What a client is told of its limits, in every form, admitted and refused (L7, L8).

use portcullis_core::Timestamp;
use serde_json::json;

use crate::support::PROJECT_ROUTES;
use crate::support::client::Reply;
use crate::support::origin::Origin;
use crate::support::process::{Gateway, Setup};

const LEGACY: [&str; 3] = ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"];
const DRAFT: [&str; 2] = ["ratelimit-policy", "ratelimit"];

fn gate(origin: &Origin, headers: &str, limits: &str) -> Gateway {
    let limits = format!("[limits]\nheaders = \"{headers}\"\n\n{limits}");
    let gateway = Setup::before(origin).with(PROJECT_ROUTES).with(&limits).start();
    gateway.operator().stop_clock();
    gateway
}

fn limit(name: &str, quota: &str, rest: &str) -> String {
    format!(
        "[[limit]]\nname = \"{name}\"\nmatch = \"GET /public/**\"\nkey = \"address\"\nquota = \"{quota}\"\n\
         algorithm = \"sliding-window-log\"\n{rest}\n\n"
    )
}

/// Fails unless the answer carries the headers of this form and no other, and they say so.
#[track_caller]
fn tells(reply: &Reply, form: &str, (name, limit, remaining): (&str, u64, u64), reset: u64) {
    let expected = [limit.to_string(), remaining.to_string()];
    if matches!(form, "legacy" | "both") {
        assert_eq!(
            [LEGACY[0], LEGACY[1]].map(|name| reply.header(name).map(str::to_owned)),
            expected.map(Some),
            "{form}"
        );
        assert!(reply.header(LEGACY[2]).is_some_and(|at| at.parse::<u64>().is_ok()), "{form}: {:?}", reply.headers);
    } else {
        assert!(LEGACY.iter().all(|name| reply.headers(name).is_empty()), "{form}: {:?}", reply.headers);
    }
    if matches!(form, "draft" | "both") {
        let policy = format!("\"{name}\";q={limit};w=3600");
        let state = format!("\"{name}\";r={remaining};t={reset}");
        assert_eq!(DRAFT.map(|name| reply.header(name)), [Some(&*policy), Some(&*state)], "{form}");
    } else {
        assert!(DRAFT.iter().all(|name| reply.headers(name).is_empty()), "{form}: {:?}", reply.headers);
    }
}

#[test]
fn l7_each_form_tells_the_limit_closest_to_refusal_to_get_and_to_head_alike() {
    let origin = Origin::echo();
    let limits = [
        limit("wide", "6 per hour", ""),
        limit("narrow", "3 per hour", "match = \"GET /public/a\"").replacen("match = \"GET /public/**\"\n", "", 1),
        limit("watched", "1 per hour", "mode = \"report\""),
        limit("slow", "1 per hour", "mode = \"delay\"\ndelay = \"1ms\""),
    ];
    for form in ["legacy", "draft", "both", "none"] {
        let gateway = gate(&origin, form, &limits.concat());
        let client = gateway.client();
        let ask = |method: &str, path: &str| client.request(method, path).send();
        for (method, path, name, quota, left) in [
            ("GET", "/public/a", "narrow", 3, 2),
            ("HEAD", "/public/a", "narrow", 3, 1),
            ("GET", "/public/b", "wide", 6, 3),
            ("GET", "/public/a", "narrow", 3, 0),
            ("HEAD", "/public/b", "wide", 6, 1),
        ] {
            let reply = ask(method, path).expect(200);
            tells(&reply, form, (name, quota, left), 3_600);
            assert_eq!(reply.header("retry-after"), None, "{form}");
        }
        // Both refuse in the end; until then only the narrow one does.
        gateway.operator().step(std::time::Duration::from_secs(60));
        for method in ["GET", "HEAD"] {
            let reply = ask(method, "/public/a").expect(429);
            tells(&reply, form, ("narrow", 3, 0), 3_540);
            assert_eq!(reply.header("retry-after"), Some("3540"), "{form}: a refusal says when, in every form");
            assert_eq!(reply.body.is_empty(), method == "HEAD", "{form}");
        }
        tells(&ask("GET", "/public/b").expect(200), form, ("wide", 6, 0), 3_600);
        let reply = ask("HEAD", "/public/b").expect(429);
        tells(&reply, form, ("wide", 6, 0), 3_540);
        assert_eq!(reply.header("retry-after"), Some("3540"), "{form}");
    }
}

#[test]
fn l7_what_only_reports_or_slows_down_is_never_told() {
    let origin = Origin::echo();
    for rest in ["mode = \"report\"", "mode = \"delay\"\ndelay = \"1ms\""] {
        let gateway = gate(&origin, "both", &limit("quiet", "1 per hour", rest));
        let client = gateway.client();
        for _ in 0..3 {
            let reply = client.get("/public/a").send().expect(200);
            let told = LEGACY.iter().chain(&DRAFT).chain(&["retry-after"]);
            assert_eq!(told.filter(|name| !reply.headers(name).is_empty()).count(), 0, "{rest}: {:?}", reply.headers);
        }
    }
}

#[test]
fn l8_the_body_of_a_refusal_has_exactly_these_members_and_says_what_the_headers_say() {
    let origin = Origin::echo();
    let message = "message = \"Slow down; {seconds} s\"";
    for (rest, error) in [("", "Rate limit exceeded"), (message, "Slow down; 3600 s")] {
        let gateway = gate(&origin, "both", &limit("one", "1 per hour", rest));
        let client = gateway.client();
        client.get("/public/a").send().expect(200);
        let reply = client.get("/public/a").send().refused(429, error);
        let mut body = reply.json();
        let reset_at = body["resetAt"].take();
        let id = body["request_id"].take();
        let known = json!({
            "type": "urn:portcullis:problem:rate_limited", "title": "Too Many Requests", "status": 429, "error": error,
            "limit": 1, "remaining": 0, "resetAt": null, "request_id": null,
        });
        assert_eq!(body, known);
        assert_eq!(reply.header("x-request-id"), id.as_str());
        // ISO 8601 in UTC, to the millisecond; the header is the next whole second of it.
        let reset_at = reset_at.as_str().unwrap();
        let reset: u64 = reply.header("x-ratelimit-reset").unwrap().parse().unwrap();
        let [before, after] = [reset - 1, reset].map(|secs| Timestamp::from_secs(secs).to_rfc3339());
        assert!(&*before < reset_at && reset_at <= &*after, "{before} < {reset_at} <= {after}");
        assert!(reset_at.len() == 24 && reset_at.ends_with('Z') && reset_at.as_bytes()[10] == b'T', "{reset_at}");
        assert_eq!(reply.header("retry-after"), Some("3600"));
        assert_eq!(reply.header("ratelimit"), Some("\"one\";r=0;t=3600"));
        // Whoever waits so long finds it as it was told.
        gateway.operator().step(std::time::Duration::from_secs(3_599));
        let later = client.get("/public/a").send().expect(429);
        assert_eq!((later.header("retry-after"), later.json()["resetAt"].as_str()), (Some("1"), Some(reset_at)));
        gateway.operator().step(std::time::Duration::from_secs(1));
        client.get("/public/a").send().expect(200);
    }
}

/// Numbers from a seed (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

#[test]
fn l7_whoever_waits_exactly_as_long_as_told_is_admitted_by_every_algorithm() {
    let origin = Origin::echo();
    let algorithms = [
        ("token-bucket", "7 per 50s", "burst = 4"),
        ("leaky-bucket", "7 per 50s", "burst = 3"),
        ("fixed-window", "5 per 47s", ""),
        ("sliding-window-counter", "7 per 33s", ""),
        ("sliding-window-log", "7 per 33s", ""),
        ("calendar", "9 per day", "time_zone = \"America/St_Johns\""),
    ];
    let mut limits = String::new();
    for (algorithm, quota, rest) in algorithms {
        let covers = format!("match = [\"/public/{algorithm}\", \"/public/all\"]\nkey = \"header:x-who\"");
        limits += &format!(
            "[[limit]]\nname = \"{algorithm}\"\nalgorithm = \"{algorithm}\"\nquota = \"{quota}\"\n{covers}\n{rest}\n\n"
        );
    }
    // A second one over them all, which is dear for some.
    limits += "[[limit]]\nname = \"over\"\nmatch = \"/public/**\"\nkey = \"header:x-who\"\nquota = \"30 per 2m\"\n\
               algorithm = \"sliding-window-log\"\ncost = { \"/public/all\" = 3, otherwise = 1 }\n\n";
    let gateway = gate(&origin, "legacy", &limits);
    let (client, operator) = (gateway.client(), gateway.operator());
    let mut waited = [0; 7];
    for seed in 1..=3 {
        let mut dice = Dice(seed);
        for step in 0..100 {
            let (which, who) = (dice.below(7) as usize, format!("{seed}-{}", dice.below(2)));
            let path = format!("/public/{}", algorithms.get(which).map_or("all", |(name, ..)| name));
            let ask = || client.get(&path).header("X-Who", &who).send();
            if dice.below(4) == 0 {
                operator.step(std::time::Duration::from_millis(dice.below(9_000)));
            }
            let some = 1 + dice.below(6);
            let Some(refused) = (0..some).map(|_| ask()).find(|reply| reply.status != 200) else { continue };
            waited[which] += 1;
            let context = format!("seed {seed}, step {step}: {path}, {:?}", refused.headers);
            let wait: u64 = refused.expect(429).header("retry-after").unwrap().parse().unwrap();
            assert!((1..=90_000).contains(&wait), "{context}");
            // Nor is it told later than it has to be: rounded up to a second, no more.
            if wait > 1 {
                operator.step(std::time::Duration::from_secs(wait - 1));
                assert_eq!(ask().status, 429, "a second before: {context}");
                operator.step(std::time::Duration::from_secs(1));
            } else {
                operator.step(std::time::Duration::from_secs(wait));
            }
            assert_eq!(ask().status, 200, "{context}");
        }
    }
    assert!(waited.iter().all(|count| *count > 2), "each was met: {waited:?}");
}

#[test]
fn l7_what_costs_nothing_is_not_told_of_that_limit() {
    let origin = Origin::echo();
    let cost = "cost = { \"GET /public/free\" = 0, \"GET /public/both\" = 0, otherwise = 1 }";
    let other = limit("other", "9 per hour", "").replace("/public/**", "/public/both");
    let gateway = gate(&origin, "both", &(limit("budget", "3 per hour", cost) + &other));
    let client = gateway.client();
    for path in ["/public/free", "/public/free"] {
        let reply = client.get(path).send().expect(200);
        assert!(LEGACY.iter().chain(&DRAFT).all(|name| reply.headers(name).is_empty()), "{:?}", reply.headers);
    }
    tells(&client.get("/public/dear").send().expect(200), "both", ("budget", 3, 2), 3600);
    tells(&client.get("/public/both").send().expect(200), "both", ("other", 9, 8), 3600);
    // Not even when it is used up: it does not cover them.
    (0..2).for_each(|_| drop(client.get("/public/dear").send().expect(200)));
    client.get("/public/dear").send().expect(429);
    let reply = client.get("/public/free").send().expect(200);
    assert!(LEGACY.iter().chain(&DRAFT).all(|name| reply.headers(name).is_empty()), "{:?}", reply.headers);
}
