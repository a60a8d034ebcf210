//! One refresh token that is used at two instances at the same moment (T4, T5).

use crate::scenario::refresh::{
    fifty_uses_give_one_successor, without_grace_one_of_fifty_uses_wins_and_the_family_ends,
};
use crate::two_instances;

#[test]
fn t5_fifty_refreshes_of_one_token_at_two_instances_give_one_successor_and_later_reuse_ends_the_family() {
    two_instances("", fifty_uses_give_one_successor);
}

#[test]
fn t4_without_grace_one_of_fifty_refreshes_at_two_instances_wins_and_the_family_ends() {
    two_instances("[tokens]\ngrace = \"0s\"\n", without_grace_one_of_fifty_uses_wins_and_the_family_ends);
}
