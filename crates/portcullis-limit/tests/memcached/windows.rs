//! Windows by the server's own time, which it tells in whole seconds: none is shorter for it, and no wait too short.

use std::time::{Duration, Instant};

use portcullis_limit::{Algorithm, Ask, Period, Quota, Rate, SharedStore as _};

use crate::contract::{ask, rate};
use crate::house::key;
use crate::servers::{Server, wait_until};
use crate::{items, memcached, options, say, store, url};

const DAY: Duration = Duration::from_secs(86_400);

/// The items that a server holds, and when each runs out, in seconds from now.
fn expiries(server: &Server) -> Vec<(String, i64)> {
    let left = |name: &str| {
        let said = say(server, &format!("mg {name} t"));
        said.trim().strip_prefix("HD t").and_then(|secs| secs.parse().ok())
    };
    items(server).into_iter().filter_map(|name| left(&name).map(|secs| (name, secs))).collect()
}

#[test]
fn l3_no_item_is_eternal_or_runs_out_before_its_window() {
    let server = memcached(&[]);
    let (store, runtime) = store(&options(&url(&server)));
    let year = Rate::new(Quota::per(5, Period::Year).expect("a quota"), Algorithm::Calendar, None).expect("a rate");
    let month = Rate::new(Quota::per(5, Period::Month).expect("a quota"), Algorithm::Calendar, None).expect("a rate");
    let windows = [1, 60, 86_400, 86_400 * 30, 86_400 * 31, 86_400 * 366];
    let fixed = windows.map(|secs| rate(Algorithm::FixedWindow, 5, Duration::from_secs(secs)));
    let mut ends = Vec::new();
    for rate in fixed.iter().chain([&year, &month]) {
        let asks = [ask(rate, &key("u"), 1)];
        let charge = runtime.block_on(store.charge(&asks)).expect("it answers").expect("there is room");
        let standing = &charge.standings()[0];
        ends.push(i64::try_from(standing.reset_at.since(standing.at).as_secs()).expect("some seconds"));
        // Counting goes on in the same item.
        let more = runtime.block_on(store.charge(&asks)).expect("it answers");
        assert!(
            more.is_ok() && rate.quota().window() < DAY || more.expect("there is room").standings()[0].remaining == 3
        );
    }
    runtime.block_on(store.ping()).expect("it answers");
    runtime.block_on(store.reset("tested", &key("nobody"))).expect("it answers");
    let mut found = Vec::new();
    wait_until("all items are listed", || {
        found = expiries(&server);
        found.iter().filter(|(name, _)| name.contains("u=u;")).count() >= ends.len() - 1
            && found.iter().filter(|(name, _)| name.starts_with("rl::")).count() == 2
    });
    for (name, left) in &found {
        assert!(*left > 0, "{name} is eternal");
        assert!(name.starts_with("rl:"), "{name}");
    }
    // From the month on; what is shorter may have run out meanwhile.
    for (window, end) in [("86400", ends[2]), ("2592000", ends[3]), ("2678400", ends[4]), ("31622400", ends[5])] {
        let left = found.iter().find(|(name, _)| name.contains(&format!(";fixed-window;{window};"))).expect(window).1;
        assert!((end - 10..=end + 5).contains(&left), "{window}: {left} s for {end} s");
    }
    for (period, end) in [("year", ends[6]), ("month", ends[7])] {
        let left = found.iter().find(|(name, _)| name.contains(&format!(";{period};"))).expect(period).1;
        assert!((end - 10..=end + 5).contains(&left), "{period}: {left} s for {end} s");
    }
}

#[test]
fn l14_whoever_waits_as_long_as_told_is_admitted_by_any_instance() {
    let server = memcached(&[]);
    let (rate, key) = (rate(Algorithm::FixedWindow, 2, Duration::from_secs(2)), key("u"));
    let asks = [ask(&rate, &key, 2)];
    let mut refused = 0;
    // Each round asks instances that have just come, whose notion of the server's time is the worst.
    for round in 0..4 {
        let (one, one_runtime) = store(&options(&url(&server)));
        let (other, other_runtime) = store(&options(&url(&server)));
        let began = Instant::now();
        while let Ok(Ok(_)) = one_runtime.block_on(one.charge(&asks)) {
            assert!(began.elapsed() < Duration::from_secs(5), "round {round}: it never refuses");
        }
        let denied = one_runtime.block_on(one.charge(&asks)).expect("it answers").expect_err("there is no room");
        assert!(denied.retry_after <= Duration::from_secs(3), "{denied:?}");
        assert_eq!(denied.standing.reset_at, denied.standing.at.after(denied.retry_after));
        std::thread::sleep(denied.retry_after);
        refused += 1;
        other_runtime.block_on(other.charge(&asks)).expect("it answers").unwrap_or_else(|again| {
            panic!("round {round}: told {denied:?}, and then {again:?}");
        });
    }
    assert_eq!(refused, 4);
}

#[test]
fn l14_instances_agree_about_the_servers_time_whatever_their_own_clocks_say() {
    let server = memcached(&[]);
    let rate = rate(Algorithm::FixedWindow, 1_000_000, DAY * 100);
    let stores: Vec<_> = (0..4).map(|_| store(&options(&url(&server)))).collect();
    let asks: Vec<Ask<'_>> = vec![ask(&rate, &key("u"), 1)];
    let mut moments = Vec::new();
    for (store, runtime) in &stores {
        // Each pulse tells more; a store pulses by itself too.
        for _ in 0..40 {
            runtime.block_on(store.ping()).expect("it answers");
            std::thread::sleep(Duration::from_millis(13));
        }
        let standing = runtime.block_on(store.peek(&asks[0])).expect("it answers");
        moments.push((standing.at, Instant::now()));
    }
    let (first, began) = moments[0];
    for (at, asked) in moments {
        let (ours, theirs) = (asked.duration_since(began), at.since(first));
        let apart = ours.abs_diff(theirs);
        assert!(apart < Duration::from_secs(1), "{apart:?} apart");
    }
}
