//! The command line: the commands, and their exit codes.
//!
//! Data goes to stdout, everything else to stderr. The daemon itself is in the library; the code here only uses it.

mod admin;
mod args;
mod client;
mod connections;
mod events;
mod exports;
mod follow;
mod format;
mod import;
mod log;
mod print;
mod process;
mod send;
mod serve;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tonic::Code;

use self::args::ConfigFile;

/// The durable record of an organisation's Fasten Connect connections.
///
/// Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 the daemon cannot be reached or cannot answer now.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the daemon until SIGTERM or SIGINT.
    Serve(Serve),
    /// Make an empty log in the data directory, or finish one whose making was cut.
    Init(ConfigFile),
    /// Say whether the configuration is good.
    CheckConfig(ConfigFile),
    /// Look into the log of a stopped daemon, or into a copy of it. Nothing is written.
    #[command(subcommand)]
    Log(log::Log),
    /// Post a signed sample webhook to a running daemon, as Fasten would.
    Send(send::Send),
    /// Ask for connections, or watch them change.
    #[command(subcommand)]
    Connections(connections::Connections),
    /// Show how the daemon is.
    Status(admin::Ask),
    /// List the newest deliveries that were refused, the newest first.
    Rejected(admin::Ask),
    /// Append payloads from Fasten's delivery logs, marked as imported and unsigned. It may be done again.
    Import(import::Import),
    /// Read the log itself.
    #[command(subcommand)]
    Events(events::Events),
    /// Ask for exports, and where to download them.
    #[command(subcommand)]
    Exports(exports::Exports),
}

#[derive(Args)]
struct Serve {
    #[command(flatten)]
    file: ConfigFile,
    /// Stamp events even if nothing confirms this machine's clock. The time of an event stays in the log for ever.
    #[arg(long)]
    trust_clock: bool,
    /// Allow core dumps and debuggers. A core holds signing secrets and patients' data.
    #[arg(long)]
    core_dumps: bool,
}

const WRONG_USAGE: u8 = 2;

impl Command {
    /// Whether the command restricts its umask. The others leave it to the commands that they run themselves.
    fn reads_secrets(&self) -> bool {
        match self {
            Self::Serve(_) | Self::Init(_) | Self::CheckConfig(_) | Self::Log(_) | Self::Send(_) => true,
            Self::Import(import) => import.offline,
            _ => false,
        }
    }

    fn may_dump_core(&self) -> bool {
        matches!(self, Self::Serve(Serve { core_dumps: true, .. }))
    }
}

/// Runs the command that the command line names.
pub fn run() -> ExitCode {
    let command = match Cli::try_parse() {
        Ok(cli) => cli.command,
        Err(error) if error.use_stderr() => {
            print::usage(&error);
            return ExitCode::from(WRONG_USAGE);
        }
        // Help and versions quote no argument.
        Err(help) => help.exit(),
    };
    if command.reads_secrets() {
        process::keep_files_private();
        if !command.may_dump_core()
            && let Err(error) = process::forbid_core_dumps()
        {
            print::error(&anyhow::Error::new(error).context("cannot forbid core dumps"));
            return ExitCode::FAILURE;
        }
    }
    let result = match command {
        Command::Serve(serve) => return serve::serve(serve.file.config.as_deref(), serve.trust_clock),
        Command::Init(file) => serve::init(file.config.as_deref()),
        Command::CheckConfig(file) => serve::check(file.config.as_deref()),
        Command::Log(log) => log.run(),
        Command::Send(send) => client::block_on(send.run()),
        Command::Connections(connections) => client::block_on(connections.run()),
        Command::Status(ask) => client::block_on(ask.status()),
        Command::Rejected(ask) => client::block_on(ask.rejected()),
        Command::Import(import) => client::block_on(import.run()),
        Command::Events(events) => client::block_on(events.run()),
        Command::Exports(exports) => client::block_on(exports.run()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            print::error(&error);
            ExitCode::from(code(&error))
        }
    }
}

/// Whether the reader of our output has closed the pipe.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

fn code(error: &anyhow::Error) -> u8 {
    match error.downcast_ref::<tonic::Status>().map(tonic::Status::code) {
        Some(Code::NotFound) => 3,
        Some(Code::Unavailable) => 4,
        None if error.is::<client::Unreachable>() => 4,
        None if error.downcast_ref().is_some_and(send::Refused::for_now) => 4,
        _ => 1,
    }
}
