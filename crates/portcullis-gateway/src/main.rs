//! The `portcullis` binary.

use std::process::ExitCode;

/// Many small values live as long as one request; mimalloc serves them without a lock between cores.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    portcullis_gateway::cli::main(&portcullis_gateway::cli::Process)
}
