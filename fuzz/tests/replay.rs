//! Every input that a search has kept is tried again, on stable Rust and in every run; and beside them inputs of chance.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use portcullis_fuzz::TARGETS;
use proptest::prelude::*;

#[test]
fn every_kept_input_keeps_its_promise() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut broken = Vec::new();
    for (name, target) in TARGETS {
        let inputs: Vec<_> = fs::read_dir(corpus.join(name))
            .unwrap_or_else(|error| panic!("the corpus of {name} cannot be read: {error}"))
            .map(|entry| entry.unwrap().path())
            .collect();
        assert!(inputs.len() >= 10, "the corpus of {name} has {} inputs", inputs.len());
        for input in inputs {
            let data = fs::read(&input).unwrap();
            if catch_unwind(AssertUnwindSafe(|| target(&data))).is_err() {
                broken.push(input);
            }
        }
    }
    assert!(broken.is_empty(), "{broken:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_input_of_chance_breaks_a_promise(data in any::<Vec<u8>>(), text in "\\PC{0,200}") {
        for (_, target) in TARGETS {
            target(&data);
            target(text.as_bytes());
        }
    }
}
