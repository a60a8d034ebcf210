//! The chores of the house: `cargo xtask help` lists them.

mod bench;
mod dist;
mod house;
mod load;
mod named_tests;
mod process;
mod run;
mod soak;
mod tools;

use std::process::ExitCode;

const HELP: &str = "\
cargo xtask test                 install what tests need (as root), check the house, run every test
cargo xtask house                only the checks of the house: arrows between crates, file sizes, forbidden words,
                                 tests that pages name
cargo xtask soak [--minutes N]   load the release build for N minutes (2), watch its memory and its log
cargo xtask soak --kills N        kill the release build N times (a full run: 200) while clients write, and check what they
                                 were told
cargo xtask soak --users N        import N users (a full run: 100000) with the release build and watch its memory
cargo xtask soak --limits N [--seed S]
                                 play N random schedules of faults (a full run: 60) on gates and their Redis, and count what
                                 was admitted
cargo xtask soak --exact N        ask 1,000 times at once at limits of 100, through four gates, N times (a full run: 10)
cargo xtask dist                 build the binary for shipping and measuring: fat LTO, one codegen unit, and a profile of
                                 the bench's traffic where rustup has llvm-tools for the compiler
cargo xtask bench [--quick] [--rounds N] [--only W1,W2] [--peers nginx,haproxy] [--binary FILE]
                                 measure the CPU time of a request here and in other proxies, in one run
cargo xtask bench identity [--rounds N] [--seconds N] [--binary FILE]
                                 measure logins, refreshes, what a flood of logins does to others, and memory
cargo xtask bench limits [--rounds N] [--millis N] [--only memory,decisions,growth,gateway] [--binary FILE]
                                 measure a check in memory here and in governor, up to ten million live keys; what limits
                                 in Redis add to a request; decisions beside the packages of node; a thousand routes
cargo xtask bench shield [--rounds N] [--seconds N] [--only headers,bodies,tls,handshakes] [--binary FILE]
                                 measure what all headers, CORS and CSRF add to a request, what a schema adds to a POST here
                                 and in node, and TLS 1.3 beside nginx and HAProxy
cargo xtask bench --instructions compare the instructions of a defended request with the recorded number (part of test)
cargo xtask bench --record-instructions
                                 record that number anew
cargo xtask help                 this text";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["test"] => test(),
        ["house"] => house::check(&run::root()),
        ["soak"] => soak::run(2),
        ["soak", "--minutes", minutes] => match minutes.parse() {
            Ok(minutes @ 1..=1440) => soak::run(minutes),
            _ => Err(format!("\"{minutes}\" is not a number of minutes between 1 and 1440")),
        },
        ["soak", "--kills", kills] => match kills.parse() {
            Ok(kills @ 1..=100_000) => soak::kills(kills),
            _ => Err(format!("\"{kills}\" is not a number of kills between 1 and 100000")),
        },
        ["soak", "--users", users] => match users.parse() {
            Ok(users @ 1..=10_000_000) => soak::users(users),
            _ => Err(format!("\"{users}\" is not a number of users between 1 and 10000000")),
        },
        ["soak", "--limits", count] => match count.parse() {
            Ok(count @ 1..=10_000) => soak::limits(count, None),
            _ => Err(format!("\"{count}\" is not a number of schedules between 1 and 10000")),
        },
        ["soak", "--limits", count, "--seed", seed] => match (count.parse(), seed.parse()) {
            (Ok(count @ 1..=10_000), Ok(seed)) => soak::limits(count, Some(seed)),
            _ => Err(format!("\"{count}\" schedules from seed \"{seed}\" are none: 1 to 10000 from a whole number")),
        },
        ["soak", "--exact", rounds] => match rounds.parse() {
            Ok(rounds @ 1..=1000) => soak::exact(rounds),
            _ => Err(format!("\"{rounds}\" is not a number of rounds between 1 and 1000")),
        },
        ["dist"] => dist::build(true).map(|binary| println!("built {}", binary.display())),
        ["bench", "--instructions"] => tools::ensure(tools::FOR_TESTS).and_then(|()| bench::check_instructions()),
        ["bench", "--record-instructions"] => {
            tools::ensure(tools::FOR_TESTS).and_then(|()| bench::record_instructions())
        }
        ["bench", "identity", options @ ..] => {
            bench::identity::Options::parse(options).and_then(|options| bench::identity::run(&options))
        }
        ["bench", "limits", options @ ..] => {
            bench::limits::Options::parse(options).and_then(|options| bench::limits::run(&options))
        }
        ["bench", "shield", options @ ..] => {
            bench::shield::Options::parse(options).and_then(|options| bench::shield::run(&options))
        }
        ["bench", options @ ..] => bench::Options::parse(options).and_then(|options| bench::run(&options)),
        ["help" | "--help" | "-h"] => {
            println!("{HELP}");
            Ok(())
        }
        _ => Err(format!("no such chore\n\n{HELP}")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}

/// The tools first, because a missing one would fail a test for the wrong reason; the cheap checks before the long run.
fn test() -> Result<(), String> {
    tools::ensure(tools::FOR_TESTS)?;
    tools::ensure_api_tools(&run::target_dir()?)?;
    house::check(&run::root())?;
    bench::check_instructions()?;
    let features = "portcullis-gateway/test-clock,portcullis-limit/test-clock,portcullis-limit/redis,portcullis-limit/memcached,\
         portcullis-limit/tower";
    run::cargo(&["test", "--workspace", "--features", features])
}
