//! Runs a command for a change until it succeeds.

use std::io::ErrorKind;
use std::process::Stdio;

use anyhow::Context as _;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::pause::Pause;
use crate::cli::print;

/// Runs a command by the shell, with the JSON on stdin and its position as `CLEAT_POSITION`. Repeats it, with growing
/// pauses, until it exits with 0.
pub async fn until_done(command: &str, json: &str, position: u64) -> anyhow::Result<()> {
    let mut pause = Pause::default();
    loop {
        let status = run(command, json, position).await.context("cannot run the command")?;
        if status.success() {
            return Ok(());
        }
        let wait = pause.next();
        print::note(&format!(
            "the command failed at position {position} ({status}); running it again in {:.1} s",
            wait.as_secs_f64()
        ));
        tokio::time::sleep(wait).await;
    }
}

async fn run(command: &str, json: &str, position: u64) -> std::io::Result<std::process::ExitStatus> {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).env("CLEAT_POSITION", position.to_string()).stdin(Stdio::piped());
    let mut child = shell.kill_on_drop(true).spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        match stdin.write_all(format!("{json}\n").as_bytes()).await {
            // The command need not read its input.
            Err(error) if error.kind() != ErrorKind::BrokenPipe => return Err(error),
            _ => drop(stdin),
        }
    }
    child.wait().await
}
