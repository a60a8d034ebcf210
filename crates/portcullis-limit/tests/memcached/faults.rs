//! A server that is away, slow, full, emptied or not ours: an error in bounded time, nothing admitted twice, and back at work
//! without being told.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use portcullis_limit::{Algorithm, MemcachedOptions, MemcachedStore, SharedStore as _};

use crate::contract::{ask, rate};
use crate::house::{House, SLACK, WAIT, key};
use crate::servers::{Server, wait_until};
use crate::{at_once, items, memcached, say, store, url};

const DAY: Duration = Duration::from_secs(86_400 * 30);

fn house(server: Server) -> House<MemcachedStore> {
    let options = MemcachedOptions::parse(&url(&server)).expect("a URL").timeout(WAIT);
    House::over(server, store(&options), rate(Algorithm::FixedWindow, 10, DAY))
}

/// The name of the only item that is a count.
fn item(house: &House<MemcachedStore>) -> String {
    let mut found = None;
    wait_until("the item is listed", || {
        found = items(&house.server).into_iter().find(|name| name.starts_with("rl:tested"));
        found.is_some()
    });
    found.expect("it was found")
}

#[test]
fn l10_a_memcached_that_is_killed_is_an_error_at_once_and_found_again_within_two_seconds() {
    let mut house = house(memcached(&[]));
    house.is_killed_and_found_again();
    assert_eq!(house.used(&key("u")), 0);
}

#[test]
fn l10_a_memcached_that_was_emptied_is_another_store() {
    let house = house(memcached(&[]));
    assert_eq!(house.charge(&key("u")), Ok(true));
    let before = house.identity();
    assert_eq!(say(&house.server, "flush_all"), "OK\r\n");
    // A flush counts from the next second on; until then the mark may be made once more.
    wait_until("it is known", || house.identity() != before);
    assert_eq!(house.used(&key("u")), 0);
}

#[test]
fn l10_a_memcached_that_hangs_costs_each_request_its_wait_and_nothing_else() {
    let house = house(memcached(&[]));
    assert_eq!(house.charge(&key("u")), Ok(true));
    house.server.signal("-STOP");
    let error = house.error(&key("u"));
    assert_eq!(error.kind(), "timeout", "{error}");
    // Far more than may wait: all are answered, and most at once.
    let keys: Vec<_> = (0..12_000).map(|n: u32| key(&n.to_string())).collect();
    let asks: Vec<_> = keys.iter().map(|key| vec![ask(&house.rate, key, 1)]).collect();
    let began = Instant::now();
    let mut kinds = std::collections::BTreeMap::<_, u32>::new();
    for answer in at_once(&house.store, &house.runtime, &asks) {
        *kinds.entry(answer.expect_err("it hangs").kind()).or_default() += 1;
    }
    let took = began.elapsed();
    // How many is a matter of how fast these are asked and those are given up; and most of the time is this test's own.
    assert!(kinds["overloaded"] > 1_000 && took < Duration::from_secs(10), "{kinds:?} in {took:?}");
    wait_until("the connection is given up", || house.error(&key("u")).kind() == "unavailable");
    // From then on nobody waits, although the port is open.
    std::thread::sleep(WAIT);
    let began = Instant::now();
    for _ in 0..100 {
        assert_eq!(house.error(&key("u")).kind(), "unavailable");
    }
    assert!(began.elapsed() < SLACK, "{:?}", began.elapsed());
    let asked = house.asked.get();
    house.server.signal("-CONT");
    let took = house.back();
    assert!(took < Duration::from_secs(2), "{took:?}");
    // What was written before may have been run; nothing was run twice.
    let used = house.used(&key("u"));
    assert!((1..=asked).contains(&used), "{used} of {asked}");
}

#[test]
fn l10_an_answer_of_memcached_that_comes_too_late_leaves_the_charge_and_is_counted() {
    let house = house(memcached(&[]));
    house.server.signal("-STOP");
    assert_eq!(house.error(&key("u")).kind(), "timeout");
    house.server.signal("-CONT");
    wait_until("it answers again", || house.charge(&key("v")).is_ok());
    assert_eq!(house.used(&key("u")), 1);
    wait_until("the late one is counted", || house.store.figures().late >= 1);
}

#[test]
fn l2_a_full_memcached_that_may_not_forget_refuses_the_whole_stack() {
    let house = house(memcached(&["-M", "-m", "1", "-o", "slab_chunk_max=8192", "-I", "16k"]));
    fill(&house.server);
    let mut full = None;
    // Until no page is left that new counts could lie in.
    for n in 0..60_000 {
        match house.charge(&key(&n.to_string())) {
            Ok(admitted) => assert!(admitted),
            Err(error) => {
                full = Some((n, error));
                break;
            }
        }
    }
    let (n, error) = full.expect("it is full some time");
    assert_eq!(error.kind(), "full", "{error}");
    assert_eq!(house.store.figures().evictions, 0);
    // A key that has its count still counts, but not in a stack with one that finds no place.
    let stack = [ask(&house.rate, &key("0"), 1), ask(&house.rate, &key(&n.to_string()), 1)];
    let error = house.runtime.block_on(house.store.charge(&stack)).expect_err("it is full");
    assert_eq!(error.kind(), "full", "{error}");
    wait_until("what was reserved in vain is back", || house.used(&key("0")) == 1);
    assert_eq!(house.charge(&key("0")), Ok(true));
}

#[test]
fn l2_a_full_memcached_that_forgets_says_how_much() {
    let house = house(memcached(&["-m", "1", "-o", "slab_chunk_max=8192", "-I", "16k"]));
    assert_eq!(house.charge(&key("u")), Ok(true));
    assert_eq!(house.store.figures().evictions, 0);
    fill(&house.server);
    for n in 0..30_000 {
        house.charge(&key(&n.to_string())).expect("it makes room");
    }
    house.identity();
    assert!(house.store.figures().evictions > 0);
    assert_eq!(house.used(&key("u")), 0, "it was thrown away, and counts anew");
}

/// Fills a server of a megabyte.
fn fill(server: &Server) {
    let value = "x".repeat(7000);
    for n in 0..400 {
        say(server, &format!("ms fill{n} {} T600\r\n{value}", value.len()));
    }
}

#[test]
fn l2_what_is_not_ours_under_an_item_is_left_alone_and_nothing_else_is_charged() {
    let house = house(memcached(&[]));
    assert_eq!(house.charge(&key("theirs")), Ok(true));
    let item = item(&house);
    let max = u64::MAX.to_string();
    for value in ["hello", "", "-1", "1.5", "99999999999999999999999", &max] {
        say(&house.server, &format!("ms {item} {} T600\r\n{value}", value.len()));
        let stack = [ask(&house.rate, &key("ours"), 1), ask(&house.rate, &key("theirs"), 1)];
        let error = house.runtime.block_on(house.store.charge(&stack)).expect_err("it is not ours");
        assert_eq!(error.kind(), "foreign", "{value:?}: {error}");
        wait_until("what was reserved in vain is back", || house.used(&key("ours")) == 0);
        if value != max {
            let held = say(&house.server, &format!("mg {item} v"));
            assert!(held.ends_with(&format!("{value}\r\n")), "{held}");
        }
    }
    // A number that is not ours, below that, can only refuse.
    say(&house.server, &format!("ms {item} 6 T600\r\n999999"));
    assert_eq!(house.charge(&key("theirs")), Ok(false));
}

#[test]
fn l2_a_count_that_is_given_back_below_nothing_stays_at_nothing() {
    let house = house(memcached(&[]));
    let asks = [ask(&house.rate, &key("u"), 9)];
    let charge = house.runtime.block_on(house.store.charge(&asks)).expect("it answers").expect("there is room");
    for _ in 0..3 {
        house.store.give_back(charge.receipts()[0].clone());
    }
    wait_until("it is given back", || house.used(&key("u")) == 0);
    assert_eq!(house.charge(&key("u")), Ok(true));
    assert_eq!(house.used(&key("u")), 1);
    // Of an item that is gone nothing is given back, and none is made.
    let item = item(&house);
    assert_eq!(say(&house.server, &format!("md {item}")), "HD\r\n");
    house.store.give_back(charge.receipts()[0].clone());
    assert_eq!(house.used(&key("u")), 0);
    assert_eq!(say(&house.server, &format!("mg {item} v")), "EN\r\n");
}

#[test]
fn l2_what_does_not_speak_as_memcached_does_is_an_error() {
    let answers: [&[u8]; 6] = [
        b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n",
        b"-ERR unknown command\r\n",
        b"STAT pid 1\r\nSTAT uptime 5\r\nSTAT time 1795219200\r\nSTAT version 1.5.6\r\nEND\r\n",
        b"STAT pid x\r\nSTAT uptime 5\r\nSTAT time -1\r\nSTAT version 1.6.18\r\nEND\r\n",
        b"END\r\n",
        b"CLIENT_ERROR unauthenticated\r\n",
    ];
    for (answer, kind) in
        answers.into_iter().zip(["protocol", "protocol", "protocol", "protocol", "protocol", "not-allowed"])
    {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let other = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(answer);
            // Its end comes only when it was read, or a reset would overtake the answer.
            let _ = stream.read(&mut [0; 1024]);
        });
        let options = MemcachedOptions::parse(&format!("memcached://127.0.0.1:{port}")).expect("a URL").timeout(WAIT);
        let (store, runtime) = store(&options);
        let error = runtime.block_on(store.ping()).expect_err("it is no memcached");
        assert_eq!(error.kind(), kind, "{error}");
        other.join().expect("it ends");
    }
}

#[test]
fn l2_hostile_bytes_after_a_good_beginning_are_an_error_and_never_an_admission() {
    let greeting = "STAT pid 1\r\nSTAT uptime 5\r\nSTAT time 1795219200\r\nSTAT version 1.6.18\r\nEND\r\n";
    let rate = rate(Algorithm::FixedWindow, 10, DAY);
    for answer in [
        "VA 99999999999\r\n",
        "VA 1\r\n\r\n\r\n",
        "HD\r\n",
        "EN\r\n",
        "NS\r\n",
        "VA 3\r\nabc\r\n",
        "VA 2\r\n-1\r\n",
        "\0\0\0\0",
        "VA 1\r\n0\r\n",
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let server = std::thread::spawn(move || {
            let Ok((mut stream, _)) = listener.accept() else { return };
            let mut bytes = [0; 4096];
            let mut asked = 0;
            while let Ok(count) = stream.read(&mut bytes) {
                if count == 0 {
                    return;
                }
                // As many answers as questions; to all but the first the same.
                for line in String::from_utf8_lossy(&bytes[..count]).lines() {
                    let said = if line == "stats" && asked == 0 { greeting } else { answer };
                    asked += 1;
                    if stream.write_all(said.as_bytes()).is_err() {
                        return;
                    }
                }
            }
        });
        let options = MemcachedOptions::parse(&format!("memcached://127.0.0.1:{port}")).expect("a URL").timeout(WAIT);
        let (store, runtime) = store(&options);
        let said = runtime.block_on(store.charge(&[ask(&rate, &key("u"), 1)]));
        let error = said.expect_err(answer);
        assert!(matches!(error.kind(), "protocol" | "foreign" | "unavailable" | "timeout"), "{answer:?}: {error}");
        drop((store, runtime));
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, port));
        server.join().expect("it ends");
    }
}
