//! The `cleat` binary: parses the command line, runs one command, and turns its result into an exit code. No other
//! logic.

mod cli;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::run()
}
