//! The limiter as its users see it: many keys, many limits, many threads, clocks that disagree.

mod clock;
mod concurrency;
#[path = "../contract/mod.rs"]
mod contract;
mod stacks;
mod support;

/// What every store promises, of memory.
mod memory {
    use portcullis_limit::Limiter;

    use crate::contract::Case;

    macro_rules! of_memory {
        ($($name:ident),*) => {
            $(
                #[test]
                fn $name() {
                    crate::contract::$name(&Case::new(&Limiter::default()));
                }
            )*
        };
    }
    crate::contract::promises!(of_memory);
}
