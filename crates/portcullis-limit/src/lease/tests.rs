//! What a leased limit does, case by case. The time is tokio's, which stands still.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use portcullis_core::Timestamp;
use tokio::time::{Instant, sleep};

use super::simulation::{Node, World, key, leased};
use super::{KEYS, Leases, demand};
use crate::limiter::{Ask, Charge, Denied, Refused};
use crate::outage::{Outage, Patience};
use crate::rate::{Algorithm, Rate};

fn rate(quota: &str) -> Rate {
    Rate::new(quota.parse().unwrap(), Algorithm::FixedWindow, None).unwrap()
}

/// Runs in a time that goes on only when everybody waits.
fn in_time(what: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(what);
}

fn denied(answer: Result<Charge, Refused>) -> Denied {
    match answer {
        Err(Refused::Denied(denied)) => denied,
        other => panic!("{other:?}"),
    }
}

async fn admitted(node: &Node, rate: &Rate, times: u64) -> u64 {
    let (key, mut count) = (key(0), 0);
    for _ in 0..times {
        count += u64::from(node.charge(&leased(&key, rate, 1)).await.is_ok());
    }
    count
}

/// Asks once in a millisecond, so that the node learns how much traffic there is.
async fn traffic(node: &Node, rate: &Rate, millis: u64) -> u64 {
    let mut count = 0;
    for _ in 0..millis {
        count += admitted(node, rate, 1).await;
        sleep(Duration::from_millis(1)).await;
    }
    count
}

/// Units that the store has counted.
fn charged(world: &World, rate: &Rate) -> u64 {
    let all = rate.quota().count();
    all - world.cells.peek(&Ask { cost: 0, ..Ask::new("leased", key(0), rate) }, world.now()).remaining
}

#[test]
fn l11_a_node_decides_by_itself_and_asks_the_store_a_few_times_a_second() {
    in_time(async {
        let world = World::new(1, 0);
        let (node, rate) = (Node::new(&world), rate("1000000 per hour"));
        assert_eq!(traffic(&node, &rate, 5_000).await, 5_000);
        let takes = world.takes.swap(0, Ordering::Relaxed);
        assert_eq!(traffic(&node, &rate, 5_000).await, 5_000);
        let warm = world.takes.load(Ordering::Relaxed);
        assert!(takes < 200 && (10..=100).contains(&warm), "{takes}, then {warm} questions for 5,000 requests");
        let figures = node.figures();
        assert!(figures.decided > 9_900 && figures.held > 50 && figures.keys == 1, "{figures:?}");
        assert_eq!(charged(&world, &rate), 10_000 + figures.held, "what is held is charged");
    });
}

#[test]
fn l11_what_a_node_does_not_need_goes_back_within_two_and_a_half_seconds() {
    in_time(async {
        let world = World::new(2, 0);
        let (node, rate) = (Node::new(&world), rate("1000000 per hour"));
        let spent = traffic(&node, &rate, 3_000).await;
        assert!(charged(&world, &rate) > spent + 50);
        sleep(Duration::from_millis(2_500)).await;
        assert_eq!(charged(&world, &rate), spent);
        assert_eq!(node.figures().held, 0);
        // And one that stops gives back at once.
        let spent = spent + traffic(&node, &rate, 1_000).await;
        assert!(charged(&world, &rate) > spent);
        node.limiter.release().await;
        sleep(Duration::from_millis(20)).await;
        assert_eq!(charged(&world, &rate), spent);
    });
}

#[test]
fn l11_whoever_is_refused_finds_at_most_a_sixteenth_unspent_with_each_other_node_and_all_of_it_soon() {
    in_time(async {
        for (nodes, quota) in [(2_u64, 1000_u64), (4, 100), (4, 1000), (8, 4000)] {
            let world = World::new(nodes, 0);
            let rate = rate(&format!("{quota} per hour"));
            let nodes: Vec<Node> = (0..nodes).map(|_| Node::new(&world)).collect();
            let mut sum = 0;
            // All are warm and hold what they may.
            for _ in 0..quota / 4 / nodes.len() as u64 {
                for node in &nodes {
                    sum += admitted(node, &rate, 1).await;
                }
                sleep(Duration::from_millis(1)).await;
            }
            let held: u64 = nodes.iter().map(|node| node.figures().held).sum();
            // Then one takes all that it can get.
            let mut one = 0;
            while admitted(&nodes[0], &rate, 1).await == 1 {
                one += 1;
            }
            let most = (nodes.len() as u64 - 1) * (quota / demand::SHARE);
            let unused = quota - sum - one;
            println!("{} nodes, {quota}: {held} held, then {unused} unused of {most} that may be", nodes.len());
            assert!(unused <= most, "{unused} of {most}");
            sleep(Duration::from_millis(2_500)).await;
            assert_eq!(charged(&world, &rate), sum + one, "what the others hold goes back");
            assert_eq!(admitted(&nodes[0], &rate, quota).await, unused);
        }
    });
}

#[test]
fn l11_a_node_that_dies_takes_with_it_what_it_held_and_no_more() {
    in_time(async {
        let world = World::new(3, 0);
        let rate = rate("1000 per hour");
        let (dies, lives) = (Node::new(&world), Node::new(&world));
        let spent = traffic(&dies, &rate, 300).await;
        let held = dies.figures().held;
        assert!((1..=1000 / demand::SHARE).contains(&held), "{held}");
        drop(dies);
        let mut rest = 0;
        for _ in 0..80 {
            rest += admitted(&lives, &rate, 20).await;
            sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(spent + rest + held, 1000);
    });
}

#[test]
fn l11_a_portion_whose_answer_comes_late_is_not_spent_after_its_window() {
    in_time(async {
        let world = World::new(4, 0);
        let (node, rate) = (Node::new(&world), rate("5000 per 10s"));
        traffic(&node, &rate, 4_000).await;
        // Shortly before the end of the window answers take thirty milliseconds each way, and nothing is left here.
        world.slowest.store(30, Ordering::Relaxed);
        let window = |at: Timestamp| at.as_secs() / 10;
        for _ in 0..20 {
            let present = window(world.now());
            while window(world.now().after(Duration::from_millis(60))) == present {
                sleep(Duration::from_millis(1)).await;
                node.charge(&leased(&key(0), &rate, 2)).await.ok();
            }
            // What is spent in the next window must have been charged there.
            while window(world.now()) == present {
                sleep(Duration::from_millis(1)).await;
                node.charge(&leased(&key(0), &rate, 2)).await.ok();
            }
            for _ in 0..100 {
                let begun = Instant::now();
                if node.charge(&leased(&key(0), &rate, 1)).await.is_ok() && begun.elapsed().is_zero() {
                    assert!(charged(&world, &rate) > 0, "spent here, of the window before");
                }
            }
        }
    });
}

#[test]
fn l11_a_node_that_is_cut_off_spends_what_it_holds_and_then_does_what_the_limit_says() {
    in_time(async {
        let world = World::new(5, 0);
        let (node, rate, key) = (Node::new(&world), rate("4000 per hour"), key(0));
        let spent = traffic(&node, &rate, 1_000).await;
        node.port.0.cut.store(true, Ordering::Relaxed);
        sleep(Duration::from_millis(600)).await;
        let held = node.figures().held;
        assert!(held > 50 && node.limiter.shared_works() == Some(false), "{held}");
        let begun = Instant::now();
        assert_eq!(admitted(&node, &rate, held).await, held);
        assert_eq!(begun.elapsed(), Duration::ZERO, "nobody waits");
        let with = |outage| Ask { outage, ..leased(&key, &rate, 1) };
        assert_eq!(node.charge(&with(Outage::Closed)).await.unwrap_err(), Refused::Unavailable(7));
        assert!(node.charge(&with(Outage::Open)).await.is_ok());
        assert!(node.charge(&with(Outage::Local)).await.is_ok());
        assert_eq!((begun.elapsed(), node.limiter.decided_alone()), (Duration::ZERO, 3));
        node.port.0.cut.store(false, Ordering::Relaxed);
        sleep(Duration::from_secs(2)).await;
        assert!(node.charge(&with(Outage::Closed)).await.is_ok(), "it is back without anybody's doing");
        assert!(charged(&world, &rate) > spent + held);
    });
}

#[test]
fn l11_a_store_that_says_yes_and_lends_nothing_is_as_good_as_none() {
    in_time(async {
        let world = World::new(6, 0);
        let (node, rate, key) = (Node::new(&world), rate("4000 per hour"), key(0));
        node.port.0.hollow.store(true, Ordering::Relaxed);
        let ask = Ask { outage: Outage::Closed, ..leased(&key, &rate, 1) };
        assert_eq!(node.charge(&ask).await.unwrap_err(), Refused::Unavailable(7));
        assert!(world.takes.load(Ordering::Relaxed) <= 2, "it is not asked without end");
    });
}

#[test]
fn l11_the_memory_that_stands_in_has_counted_what_was_spent_out_of_portions() {
    in_time(async {
        let world = World::new(6, 0);
        let (node, rate, key) = (Node::new(&world), rate("100 per hour"), key(0));
        let local = Ask { outage: Outage::Local, ..leased(&key, &rate, 1) };
        let look = Ask { cost: 0, ..local.clone() };
        let mut last = Charge::default();
        for _ in 0..60 {
            last = node.charge(&local).await.unwrap();
        }
        assert_eq!(node.limiter.peek(&look, Timestamp::EPOCH).remaining, 40);
        node.limiter.give_back(&last.receipts()[0], Timestamp::EPOCH);
        assert_eq!((last.receipts().len(), node.limiter.peek(&look, Timestamp::EPOCH).remaining), (1, 41));
    });
}

#[test]
fn l11_a_store_that_lost_its_data_is_closed_until_the_window_is_over_and_retry_after_says_when() {
    in_time(async {
        let world = World::new(7, 0);
        let (node, rate) = (Node::new(&world), rate("1000 per minute"));
        let before = traffic(&node, &rate, 500).await;
        sleep(Duration::from_secs(1)).await;
        world.flush(&[key(0)]);
        // What it holds was counted before.
        let after = traffic(&node, &rate, 3_000).await;
        assert!(before + after <= before + 1000 / demand::SHARE, "{after}");
        let refused = denied(node.charge(&leased(&key(0), &rate, 1)).await);
        let end = Timestamp::from_secs((world.now().as_secs() / 60 + 1) * 60);
        assert_eq!((refused.standing.reset_at, refused.standing.remaining), (end, 0));
        assert!(node.figures().closed > 1_000 && node.figures().held == 0, "{:?}", node.figures());
        // One that comes now hears of it.
        let fresh = Node::new(&world);
        assert_eq!(denied(fresh.charge(&leased(&key(0), &rate, 1)).await).standing.reset_at, end);
        sleep(refused.retry_after).await;
        assert_eq!((admitted(&node, &rate, 1).await, admitted(&fresh, &rate, 1).await), (1, 1));
    });
}

#[test]
fn l11_a_replica_that_took_over_closes_leases_even_for_one_who_comes_after_it() {
    in_time(async {
        let world = World::new(8, 0);
        let (node, rate) = (Node::new(&world), rate("1000 per minute"));
        assert_eq!(admitted(&node, &rate, 20).await, 20);
        drop(node);
        world.fail_over(&[key(0)]);
        let fresh = Node::new(&world);
        assert!(denied(fresh.charge(&leased(&key(0), &rate, 1)).await).retry_after > Duration::from_secs(1));
    });
}

#[test]
fn l11_a_store_that_nobody_knows_settles_for_three_seconds_before_it_is_leased_from() {
    in_time(async {
        let world = World::new(9, 0);
        world.flush(&[]);
        let (node, rate) = (Node::new(&world), rate("1000 per minute"));
        let refused = denied(node.charge(&leased(&key(0), &rate, 1)).await);
        assert!(
            (Duration::from_millis(2_900)..=Duration::from_millis(3_150)).contains(&refused.retry_after),
            "{refused:?}"
        );
        sleep(refused.retry_after).await;
        assert_eq!(admitted(&node, &rate, 1).await, 1);
    });
}

#[test]
fn l11_a_reset_drops_what_is_held_here_at_once_and_elsewhere_within_half_a_second() {
    in_time(async {
        let world = World::new(10, 0);
        let (here, there, rate) = (Node::new(&world), Node::new(&world), rate("100000 per hour"));
        for _ in 0..300 {
            admitted(&here, &rate, 1).await;
            traffic(&there, &rate, 1).await;
        }
        let spent = here.charge(&leased(&key(0), &rate, 1)).await.unwrap();
        assert!(here.figures().held > 10 && there.figures().held > 10);
        assert_eq!(here.limiter.reset("leased", &key(0)).await, Ok(true));
        assert_eq!((here.figures().held, charged(&world, &rate)), (0, 0));
        sleep(Duration::from_millis(550)).await;
        assert_eq!((there.figures().held, charged(&world, &rate)), (0, 0), "and nothing was given back");
        here.limiter.give_back(&spent.receipts()[0], Timestamp::EPOCH);
        assert_eq!(here.figures().held, 0, "what was spent before the reset is none of the new count's");
    });
}

#[test]
fn l6_what_is_given_back_goes_into_the_portion_that_it_came_from_and_nowhere_else() {
    in_time(async {
        let world = World::new(11, 0);
        let (node, rate, key) = (Node::new(&world), rate("100 per 10s"), key(0));
        let first = node.charge(&leased(&key, &rate, 3)).await.unwrap();
        assert_eq!(node.figures().held, 0, "nothing is known of its traffic");
        node.limiter.give_back(&first.receipts()[0], Timestamp::EPOCH);
        assert_eq!(node.figures().held, 3);
        let again = node.charge(&leased(&key, &rate, 3)).await.unwrap();
        assert_eq!((node.figures().held, again.standings()[0].remaining), (0, 97));
        sleep(Duration::from_secs(11)).await;
        node.limiter.give_back(&again.receipts()[0], Timestamp::EPOCH);
        assert_eq!((node.figures().held, charged(&world, &rate)), (0, 0));
    });
}

#[test]
fn l4_a_stack_of_leased_and_other_limits_is_charged_all_or_none() {
    in_time(async {
        let world = World::new(12, 0);
        let (node, wide, narrow) = (Node::new(&world), rate("100 per hour"), rate("2 per 10s"));
        fn plain(rate: &Rate, number: u32) -> Ask<'_> {
            Ask { outage: Outage::Closed, ..Ask::new("plain", key(number), rate) }
        }
        let charge =
            async |asks: &[Ask<'_>]| node.limiter.charge(asks, Timestamp::EPOCH, &mut Patience::default()).await;
        fn look(rate: &Rate, number: u32) -> Ask<'_> {
            Ask { cost: 0, ..plain(rate, number) }
        }
        let left = |number, rate: &Rate| world.cells.peek(&look(rate, number), world.now()).remaining;
        // The other refuses: what was leased is put back.
        for _ in 0..2 {
            let both = charge(&[leased(&key(0), &wide, 1), plain(&narrow, 1)]).await.unwrap();
            assert_eq!((both.standings().len(), both.receipts().len()), (2, 2));
        }
        let refused = denied(charge(&[leased(&key(0), &wide, 1), plain(&narrow, 1)]).await);
        assert_eq!((refused.standing.quota, left(0, &wide) + node.figures().held), (2, 98));
        // The leased one refuses: the other is not charged, and whoever waits as long as is told is admitted by both.
        let asks = [leased(&key(2), &narrow, 1), plain(&wide, 3)];
        assert!(charge(&asks).await.is_ok() && charge(&asks).await.is_ok());
        let refused = denied(charge(&asks).await);
        assert_eq!((refused.standing.quota, left(3, &wide)), (2, 98));
        assert!(charge(&[plain(&wide, 3); 1]).await.is_ok());
        let full: Vec<_> = (0..97).map(|_| plain(&wide, 3)).collect();
        assert!(charge(&full).await.is_ok());
        let refused = denied(charge(&asks).await);
        assert!(refused.standing.quota == 100 && refused.retry_after > Duration::from_secs(10), "{refused:?}");
        // Both leased.
        let asks = [leased(&key(4), &wide, 1), leased(&key(5), &narrow, 2)];
        assert!(charge(&asks).await.is_ok());
        assert_eq!(denied(charge(&asks).await).standing.quota, 2);
        sleep(Duration::from_secs(3)).await;
        assert_eq!(left(4, &wide), 99);
    });
}

#[test]
fn l9_a_leased_limit_that_only_reports_refuses_nobody_and_charges_what_it_would_have_admitted() {
    in_time(async {
        let world = World::new(13, 0);
        let (node, rate, key) = (Node::new(&world), rate("3 per hour"), key(0));
        let report = Ask { enforce: false, ..leased(&key, &rate, 2) };
        let over = async || node.charge(&report).await.unwrap().standings()[0].would_refuse;
        assert_eq!([over().await, over().await, over().await], [false, true, true]);
        assert_eq!(charged(&world, &rate), 2);
    });
}

#[test]
fn l11_what_promises_something_of_every_interval_is_charged_one_by_one() {
    in_time(async {
        let world = World::new(14, 0);
        let node = Node::new(&world);
        for algorithm in [Algorithm::TokenBucket, Algorithm::LeakyBucket, Algorithm::SlidingWindowLog] {
            let rate = Rate::new("100 per hour".parse().unwrap(), algorithm, None).unwrap();
            assert!(rate.check_lease().is_err());
            assert!(node.charge(&leased(&key(0), &rate, 1)).await.is_ok());
        }
        for algorithm in [Algorithm::FixedWindow, Algorithm::SlidingWindowCounter, Algorithm::Calendar] {
            let rate = Rate::new("100 per day".parse().unwrap(), algorithm, None).unwrap();
            assert_eq!(rate.check_lease(), Ok(()));
        }
        assert!(rate("9 per 100ms").check_lease().is_err());
        assert_eq!((world.takes.load(Ordering::Relaxed), node.figures().keys), (0, 0));
    });
}

#[test]
fn l11_a_crowd_that_comes_at_once_shares_a_few_questions_and_gets_exactly_what_there_is() {
    in_time(async {
        let world = World::new(15, 0);
        let (node, rate) = (Arc::new(Node::new(&world)), rate("100 per hour"));
        let crowd: Vec<_> = (0..1000)
            .map(|_| {
                let node = Arc::clone(&node);
                tokio::spawn(async move { node.charge(&leased(&key(0), &rate, 1)).await.is_ok() })
            })
            .collect();
        let mut count = 0;
        for one in crowd {
            count += u64::from(one.await.unwrap());
        }
        assert_eq!(count, 100);
        assert!(world.takes.load(Ordering::Relaxed) < 10, "{:?}", world.takes);
    });
}

#[test]
fn l11_costs_are_all_or_nothing_and_a_small_one_passes_where_a_large_one_does_not() {
    in_time(async {
        let world = World::new(16, 0);
        let (node, rate) = (Node::new(&world), rate("10 per hour"));
        let ask = async |cost| node.charge(&leased(&key(0), &rate, cost)).await.is_ok();
        assert_eq!(
            [ask(7).await, ask(4).await, ask(11).await, ask(3).await, ask(1).await],
            [true, false, false, true, false]
        );
        assert_eq!(charged(&world, &rate), 10);
    });
}

#[test]
fn l11_what_is_held_when_the_stores_clock_jumps_is_dropped() {
    in_time(async {
        let world = World::new(17, 0);
        let (node, rate) = (Node::new(&world), rate("100000 per hour"));
        traffic(&node, &rate, 1_000).await;
        assert!(node.figures().held > 50);
        world.ahead.store(3_600_000_000_000, Ordering::Relaxed);
        sleep(Duration::from_millis(510)).await;
        assert_eq!(node.figures().held, 0, "it is another hour there");
        assert_eq!(admitted(&node, &rate, 1).await, 1);
        assert_eq!(charged(&world, &rate), 1 + node.figures().held);
    });
}

#[test]
fn l11_keys_are_leased_within_a_bound() {
    let (leases, rate, now) = (Leases::new(), rate("100 per hour"), Instant::now());
    for number in 0..KEYS as u32 {
        assert!(leases.find(&leased(&key(number), &rate, 1), now).is_some());
    }
    assert!(leases.find(&leased(&key(KEYS as u32), &rate, 1), now).is_none());
    assert!(leases.find(&leased(&key(5), &rate, 1), now).is_some());
}

#[test]
fn l11_a_keeper_that_ends_in_the_middle_of_a_question_leaves_no_key_stuck() {
    in_time(async {
        let world = World::new(10, 0);
        let (mut node, rate) = (Node::new(&world), rate("1000 per hour"));
        for number in 0..6 {
            let key = key(number);
            world.slowest.store(100, Ordering::Relaxed);
            let (limiter, asked) = (Arc::clone(&node.limiter), key.clone());
            let waits = tokio::spawn(async move {
                let ask = leased(&asked, &rate, 1);
                limiter.charge(&[ask], Timestamp::EPOCH, &mut Patience::default()).await
            });
            sleep(Duration::from_millis(1)).await;
            let began = Instant::now();
            node.keep_anew().await;
            // Whoever waited for it is told at once that nobody can say.
            assert!(matches!(waits.await, Ok(Err(Refused::Unavailable(7)))), "{number}");
            assert!(began.elapsed().is_zero(), "{number}: {:?}", began.elapsed());
            world.slowest.store(0, Ordering::Relaxed);
            assert!(node.charge(&leased(&key, &rate, 1)).await.is_ok(), "{number}");
        }
    });
}
