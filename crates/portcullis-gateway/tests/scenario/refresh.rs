//! Refresh tokens: they rotate, forgive two tabs, and a replay ends the family (T4, T5).

use std::time::Duration;

use serde_json::json;

use crate::projects;
use crate::support::client::Reply;
use crate::support::origin::Origin;
use crate::support::process::{Gateway, Setup};
use crate::support::{PROJECT_ROUTES, eventually};

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
fn t5_two_tabs_refreshing_at_once_get_the_same_successor() {
    let (_origin, gateway) = projects();
    gateway.create_user("d@example.com", "viewer");
    let (_, first) = gateway.login("d@example.com");
    let successors: Vec<String> = std::thread::scope(|scope| {
        let tabs: Vec<_> = (0..16).map(|_| scope.spawn(|| successor(&gateway, &first))).collect();
        tabs.into_iter().map(|tab| tab.join().unwrap()).collect()
    });
    assert!(successors.iter().all(|token| *token == successors[0]), "{successors:?}");
    // Later, but inside the window, it is still the same one.
    gateway.operator().advance("5s");
    assert_eq!(successor(&gateway, &first), successors[0]);
    successor(&gateway, &successors[0]);
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

#[test]
fn t4_reuse_is_recorded() {
    let (_origin, gateway) = projects();
    gateway.create_user("h@example.com", "viewer");
    let (_, first) = gateway.login("h@example.com");
    successor(&gateway, &first);
    gateway.operator().advance("1m");
    refresh(&gateway, &first).refused(401, "Invalid refresh token");
    eventually("an event of the reuse", Duration::from_secs(5), || {
        let mut waiting = vec![gateway.state.clone()];
        while let Some(directory) = waiting.pop() {
            for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
                let path = entry.path();
                if path.is_dir() {
                    waiting.push(path);
                } else if path.extension().is_some_and(|end| end == "jsonl") {
                    let text = std::fs::read_to_string(&path).unwrap();
                    if text.lines().any(|line| line.contains("reuse")) {
                        return Some(());
                    }
                }
            }
        }
        None
    });
}
