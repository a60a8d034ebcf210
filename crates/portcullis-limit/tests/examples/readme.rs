//! The path of the project's README that leads into an app of one's own, run as it is printed: only the addresses are replaced by
//! free ones, and what cargo builds is built already.

use crate::console::{blocks, console, run};
use crate::servers::{Server, free_port};
use crate::support::built;

#[test]
fn the_path_into_an_axum_app_works_as_printed() {
    let blocks = blocks("In your own axum app");
    let console = console(&blocks);
    let redis = Server::start(&[]);
    let directory = tempfile::tempdir().unwrap();
    let (memory, with_redis) = (built("axum_memory"), built("axum_redis"));
    // On a machine that is busy with other tests Redis may take longer to answer than the example has patience for.
    let replaced = [
        ("cargo run -q -p portcullis-limit --features tower --example axum_memory --", memory.display().to_string()),
        (
            "cargo run -q -p portcullis-limit --features tower,redis --example axum_redis --",
            format!("env PATIENCE_MS=10000 {}", with_redis.display()),
        ),
        ("127.0.0.1:3000", format!("127.0.0.1:{}", free_port())),
        ("127.0.0.1:3001", format!("127.0.0.1:{}", free_port())),
        ("127.0.0.1:3002", format!("127.0.0.1:{}", free_port())),
        ("127.0.0.1:6379", format!("127.0.0.1:{}", redis.port)),
    ];
    assert!(replaced.iter().all(|(said, _)| console.contains(said)), "what is replaced is there: {console}");
    run(&console, directory.path(), memory.parent().unwrap(), &replaced);
}
