//! Names for requests: random, from a generator of the core's own.

use std::cell::RefCell;

use portcullis_core::RequestId;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// One core's source of request ids. An id has to be different from all others, not to be secret: a fast generator,
/// seeded by the operating system, does.
pub(crate) struct RequestIds(RefCell<SmallRng>);

impl RequestIds {
    pub(crate) fn new() -> Self {
        Self(RefCell::new(SmallRng::from_rng(&mut rand::rng())))
    }

    pub(crate) fn next(&self) -> RequestId {
        let mut generator = self.0.borrow_mut();
        RequestId::from_bits(u128::from(generator.next_u64()) << 64 | u128::from(generator.next_u64()))
    }
}
