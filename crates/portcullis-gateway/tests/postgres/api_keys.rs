//! Keys that are made at two instances at the same moment (T9).

use crate::scenario::api_key_life::{THREE, makes_no_more_keys_than_it_may};
use crate::two_instances;

#[test]
fn t9_of_eight_keys_made_at_two_instances_at_once_an_account_keeps_as_many_as_it_may_have() {
    two_instances(THREE, makes_no_more_keys_than_it_may);
}
