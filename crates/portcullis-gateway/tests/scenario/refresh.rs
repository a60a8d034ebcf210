//! Refresh tokens: they rotate, forgive two tabs, and a replay ends the family (T4, T5).

use std::collections::BTreeSet;
use std::sync::Barrier;
use std::time::Duration;

use serde_json::{Value, json};

use crate::projects;
use crate::support::client::{Client, Reply};
use crate::support::origin::Origin;
use crate::support::process::{Gateway, Setup};
use crate::support::{PASSWORD, PROJECT_ROUTES, claims, eventually};

fn refresh(gateway: &Gateway, token: &str) -> Reply {
    gateway.client().post("/auth/refresh").json(&json!({ "refreshToken": token })).send()
}

/// The successor of a refresh token.
fn successor(gateway: &Gateway, token: &str) -> String {
    let reply = refresh(gateway, token).expect(200);
    assert!(reply.header("cache-control").unwrap().contains("no-store"));
    reply.json()["refreshToken"].as_str().unwrap().to_owned()
}

#[test]
fn t4_refresh_rotates_and_yields_a_token_that_works() {
    let (_origin, gateway) = projects();
    gateway.create_user("a@example.com", "viewer");
    let (_, first) = gateway.login("a@example.com");
    let pair = refresh(&gateway, &first).expect(200).json();
    let second = pair["refreshToken"].as_str().unwrap();
    assert_ne!(first, second);
    assert_eq!(second.len(), 64);
    gateway.client().get("/projects").bearer(pair["accessToken"].as_str().unwrap()).send().expect(200);
    assert_ne!(successor(&gateway, second), second);
}

#[test]
fn t4_refresh_token_reuse_after_the_grace_window_revokes_the_whole_family() {
    let (_origin, gateway) = projects();
    gateway.create_user("b@example.com", "viewer");
    let (access, first) = gateway.login("b@example.com");
    let (other_access, other) = gateway.login("b@example.com");
    let second = successor(&gateway, &first);
    gateway.operator().advance("11s");

    refresh(&gateway, &first).refused(401, "Invalid refresh token");
    refresh(&gateway, &second).refused(401, "Invalid refresh token");
    let refused = eventually("the family's access token is revoked", Duration::from_secs(2), || {
        let reply = gateway.client().get("/projects").bearer(&access).send();
        (reply.status != 200).then_some(reply)
    });
    refused.refused(401, "Token has been revoked");

    // Two devices of one user are two families.
    gateway.client().get("/projects").bearer(&other_access).send().expect(200);
    successor(&gateway, &other);
}

#[test]
fn t4_a_refresh_token_ends_after_seven_days() {
    let (_origin, gateway) = projects();
    gateway.create_user("c@example.com", "viewer");
    let (_, early) = gateway.login("c@example.com");
    let (_, late) = gateway.login("c@example.com");
    gateway.operator().advance("167h");
    successor(&gateway, &early);
    gateway.operator().advance("2h");
    refresh(&gateway, &late).refused(401, "Invalid refresh token");
}

#[test]
fn t4_what_is_no_refresh_token_is_told_like_a_dead_one() {
    let (_origin, gateway) = projects();
    for token in ["", "x", &"0".repeat(64), &"f".repeat(65), &"g".repeat(64)] {
        refresh(&gateway, token).refused(401, "Invalid refresh token");
    }
}

#[test]
fn t5_two_tabs_refreshing_get_the_same_successor_for_as_long_as_the_window_lasts() {
    let (_origin, gateway) = projects();
    gateway.create_user("d@example.com", "viewer");
    let (_, first) = gateway.login("d@example.com");
    let second = successor(&gateway, &first);
    gateway.operator().advance("5s");
    assert_eq!(successor(&gateway, &first), second);
    assert_ne!(successor(&gateway, &second), second);
}

/// Uses one token fifty times at the same moment, at both gateways in turn.
fn at_once(gateways: [&Gateway; 2], token: &str) -> Vec<Reply> {
    const USES: usize = 50;
    let start = Barrier::new(USES);
    std::thread::scope(|scope| {
        let uses: Vec<_> = (0..USES)
            .map(|turn| {
                let start = &start;
                scope.spawn(move || {
                    let client = gateways[turn % 2].client();
                    let request = client.post("/auth/refresh").json(&json!({ "refreshToken": token }));
                    start.wait();
                    request.send()
                })
            })
            .collect();
        uses.into_iter().map(|used| used.join().unwrap()).collect()
    })
}

fn text(reply: &Reply, member: &str) -> String {
    reply.json()[member].as_str().unwrap_or_else(|| panic!("no {member} in {}", reply.text())).to_owned()
}

/// Fails unless an access token is refused as revoked at both gateways within a second.
fn is_revoked(gateways: [&Gateway; 2], access: &str) {
    for gateway in gateways {
        let refused = eventually("the family's access token is revoked", Duration::from_secs(1), || {
            let reply = gateway.client().get("/projects").bearer(access).send();
            (reply.status != 200).then_some(reply)
        });
        refused.refused(401, "Token has been revoked");
    }
}

/// Fifty uses of one token give one successor and one family, which a later use of the spent token ends. The two gateways may
/// be one.
pub(crate) fn fifty_uses_give_one_successor(gateways: [&Gateway; 2]) {
    gateways[0].create_user("fifty@example.com", "viewer");
    let (before, first) = gateways[0].login("fifty@example.com");
    let (other_access, other) = gateways[1].login("fifty@example.com");
    let pairs = at_once(gateways, &first);
    let distinct = |member: &str| pairs.iter().map(|pair| text(pair, member)).collect::<BTreeSet<_>>();
    for pair in &pairs {
        assert_eq!(pair.status, 200, "{}", pair.text());
    }
    let successors = distinct("refreshToken");
    assert_eq!(successors.len(), 1, "{successors:?}");
    let access = distinct("accessToken");
    assert_eq!(access.len(), pairs.len(), "each is told apart by its jti");
    assert!(access.iter().all(|token| claims(token)["sid"] == claims(&before)["sid"]), "one family");
    for (turn, token) in access.iter().enumerate() {
        gateways[turn % 2].client().get("/projects").bearer(token).send().expect(200);
    }
    let listed = gateways[1].client().get("/auth/sessions").bearer(&other_access).send().expect(200).json();
    assert_eq!(listed["sessions"].as_array().unwrap().len(), 2, "a family for each login: {listed}");

    // The successor is spent as well as its predecessor was, and again by all at once.
    let second = successors.first().unwrap();
    let again = at_once(gateways, second);
    let third: BTreeSet<String> = again.iter().map(|pair| text(pair, "refreshToken")).collect();
    assert_eq!(third.len(), 1, "{third:?}");
    let third = third.first().unwrap();

    gateways.iter().for_each(|gateway| gateway.operator().advance("11s"));
    refresh(gateways[1], second).refused(401, "Invalid refresh token");
    for gateway in gateways {
        for token in [&first, second, third] {
            refresh(gateway, token).refused(401, "Invalid refresh token");
        }
    }
    is_revoked(gateways, &before);
    is_revoked(gateways, access.first().unwrap());
    is_revoked(gateways, &text(&again[0], "accessToken"));
    for gateway in gateways {
        gateway.client().get("/projects").bearer(&other_access).send().expect(200);
    }
    successor(gateways[0], &other);
}

/// Without a window one of fifty wins, the others are thieves, and what was won is void.
pub(crate) fn without_grace_one_of_fifty_uses_wins_and_the_family_ends(gateways: [&Gateway; 2]) {
    gateways[0].create_user("thieves@example.com", "viewer");
    let (_, first) = gateways[0].login("thieves@example.com");
    let (won, lost): (Vec<_>, Vec<_>) = at_once(gateways, &first).into_iter().partition(|reply| reply.status == 200);
    assert_eq!((won.len(), lost.len()), (1, 49));
    for reply in lost {
        reply.refused(401, "Invalid refresh token");
    }
    for gateway in gateways {
        refresh(gateway, &text(&won[0], "refreshToken")).refused(401, "Invalid refresh token");
    }
    is_revoked(gateways, &text(&won[0], "accessToken"));
}

#[test]
fn t5_fifty_parallel_refreshes_of_one_token_give_one_successor_and_later_reuse_ends_the_family() {
    let (_origin, gateway) = projects();
    fifty_uses_give_one_successor([&gateway, &gateway]);
}

#[test]
fn t4_without_grace_one_of_fifty_parallel_refreshes_wins_and_the_family_ends() {
    let origin = Origin::echo();
    let gateway = Setup::before(&origin).with(PROJECT_ROUTES).with("[tokens]\ngrace = \"0s\"\n").start();
    without_grace_one_of_fifty_uses_wins_and_the_family_ends([&gateway, &gateway]);
}

#[test]
fn t5_two_tabs_of_a_browser_that_refresh_by_cookie_at_once_keep_the_same_cookie() {
    let (_origin, gateway) = projects();
    gateway.create_user("tabs@example.com", "viewer");
    let body = json!({ "email": "tabs@example.com", "password": PASSWORD, "delivery": "cookie" });
    let login = gateway.client().post("/auth/login").json(&body).send().expect(200);
    let pair = |reply: &Reply, name: &str| reply.set_cookie(name).unwrap().split(';').next().unwrap().to_owned();
    let by_cookie = |cookie: &str| {
        let (client, own) = (gateway.client(), format!("http://{}", gateway.listen));
        let request = client.post("/auth/refresh").header("Cookie", cookie).csrf(&gateway.csrf(cookie));
        request.header("Origin", &own).json(&json!({})).send()
    };
    let first = pair(&login, "refresh");
    let tabs: Vec<Reply> = std::thread::scope(|scope| {
        let tabs: Vec<_> = (0..8).map(|_| scope.spawn(|| by_cookie(&first).expect(200))).collect();
        tabs.into_iter().map(|tab| tab.join().unwrap()).collect()
    });
    let second: BTreeSet<String> = tabs.iter().map(|tab| pair(tab, "refresh")).collect();
    assert_eq!(second.len(), 1, "whichever answer a browser takes last, its cookie is the living one: {second:?}");
    for tab in &tabs {
        gateway.client().get("/projects").header("Cookie", &pair(tab, "access")).send().expect(200);
    }
    let third = by_cookie(second.first().unwrap()).expect(200);
    // The cookie of before is a thief's by now, and takes the family along.
    by_cookie(&first).refused(401, "Invalid refresh token");
    by_cookie(&pair(&third, "refresh")).refused(401, "Invalid refresh token");
}

#[test]
fn t5_grace_ends_when_the_successor_has_been_used() {
    let (_origin, gateway) = projects();
    gateway.create_user("e@example.com", "viewer");
    let (_, first) = gateway.login("e@example.com");
    let second = successor(&gateway, &first);
    let third = successor(&gateway, &second);
    refresh(&gateway, &first).refused(401, "Invalid refresh token");
    refresh(&gateway, &third).refused(401, "Invalid refresh token");
}

#[test]
fn t5_a_grace_of_zero_turns_it_off() {
    let origin = Origin::echo();
    let gateway = Setup::before(&origin).with(PROJECT_ROUTES).with("[tokens]\ngrace = \"0s\"\n").start();
    gateway.create_user("f@example.com", "viewer");
    let (_, first) = gateway.login("f@example.com");
    let second = successor(&gateway, &first);
    refresh(&gateway, &first).refused(401, "Invalid refresh token");
    refresh(&gateway, &second).refused(401, "Invalid refresh token");
}

#[test]
fn t8_a_grace_replay_never_revives_a_family_that_logged_out() {
    let (_origin, gateway) = projects();
    gateway.create_user("g@example.com", "viewer");
    let (_, first) = gateway.login("g@example.com");
    let second = successor(&gateway, &first);
    let reply = gateway.client().post("/auth/logout").json(&json!({ "refreshToken": second })).send();
    assert!((200..300).contains(&reply.status), "{}", reply.status);
    refresh(&gateway, &first).refused(401, "Invalid refresh token");
    refresh(&gateway, &second).refused(401, "Invalid refresh token");
}

/// Every line of every record that a gateway keeps.
fn recorded(gateway: &Gateway) -> Vec<Value> {
    let (mut lines, mut waiting) = (Vec::new(), vec![gateway.state.clone()]);
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.extension().is_some_and(|end| end == "jsonl") {
                let text = std::fs::read_to_string(&path).unwrap();
                // The last line may be half written.
                let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
                lines.extend(whole.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()));
            }
        }
    }
    lines
}

#[test]
fn t4_t5_grace_and_reuse_are_recorded_with_whose_token_it_was_and_from_where() {
    let (_origin, gateway) = projects();
    gateway.create_user("h@example.com", "viewer");
    let (access, first) = gateway.login("h@example.com");
    successor(&gateway, &first);
    let from = |client: &Client, status: u16| {
        client.post("/auth/refresh").json(&json!({ "refreshToken": first })).send().expect(status);
    };
    let (tab, thief) = (gateway.client(), gateway.client());
    from(&tab, 200);
    gateway.operator().advance("1m");
    from(&thief, 401);
    let owner = claims(&access)["sub"].clone();
    for (kind, client) in [("refresh_grace", &tab), ("refresh_reuse", &thief)] {
        let line = eventually(&format!("an event {kind}"), Duration::from_secs(5), || {
            recorded(&gateway).into_iter().find(|line| line.to_string().contains(kind))
        });
        assert_eq!(line["user"], owner, "{line}");
        assert!(line.to_string().contains(&format!("\"{}\"", client.address)), "{line}");
        assert!(!line.to_string().contains(&first), "{line}");
    }
}
