//! The `portcullis` binary.

use std::process::ExitCode;

/// Many small values live as long as one request; mimalloc serves them without a lock between cores. It is built to do
/// without huge pages: a connection touches a part of each of its buffers, and a huge page would hold all of them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    portcullis_gateway::cli::main(&portcullis_gateway::cli::Process)
}
