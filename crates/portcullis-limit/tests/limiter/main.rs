//! The limiter as its users see it: many keys, many limits, many threads, clocks that disagree.

mod clock;
mod concurrency;
mod stacks;
mod support;
