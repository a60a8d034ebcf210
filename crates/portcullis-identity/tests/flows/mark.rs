//! The mark of the latest moment that was acted upon: whoever opens the database later goes on from it.

use std::time::Duration;

use portcullis_core::{Clock as _, Timestamp};

use super::house::*;

const START: Timestamp = Timestamp::from_secs(1_800_000_000);
const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn t4_time_goes_on_from_the_mark_of_an_earlier_run_or_another_instance() {
    let house = House::new().await;
    house.clock.advance(HOUR);
    house.identity.keep_mark().await.unwrap();
    house.clock.set(START);

    let second = house.second().await;
    assert_eq!(house.clock.now(), START.after(HOUR), "whoever opens goes on from the mark");

    // Of two instances whoever is behind takes over the other's time within half a minute, and never the other way round.
    house.clock.advance(HOUR);
    second.keep_mark().await.unwrap();
    house.clock.set(START.after(HOUR + Duration::from_secs(31)));
    house.identity.keep_mark().await.unwrap();
    assert_eq!(house.clock.now(), START.after(2 * HOUR));
}

#[tokio::test]
async fn a_mark_from_more_than_a_day_ahead_is_passed_over_and_replaced() {
    let house = House::new().await;
    house.clock.advance(25 * HOUR);
    house.identity.keep_mark().await.unwrap();
    house.clock.set(START);
    house.second().await;
    assert_eq!(house.clock.now(), START);
    house.clock.set(START.before(HOUR));
    house.second().await;
    assert_eq!(house.clock.now(), START, "the new mark is one that counts");
}
