//! Access of the machine's other users to the daemon's files and socket, and the warnings about loose permissions.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Cli, skip, until};

const SECRET: &str = "whsec_QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=";

/// A configuration with a secret in it and one in a file, and a data directory. All have correct permissions.
struct Files {
    directory: TempDir,
    config: PathBuf,
    secret: PathBuf,
    data: PathBuf,
}

impl Files {
    fn with(sections: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let [config, secret, data] = ["cleat.toml", "old", "data"].map(|name| directory.path().join(name));
        std::fs::create_dir(&data).unwrap();
        std::fs::write(&secret, SECRET).unwrap();
        let text = format!(
            "[data]\ncreate = true\ndirectory = \"{}\"\n[[webhooks.endpoints]]\nname = \"fasten\"\nsecrets = [\"{SECRET}\"]\n\
             secret_files = [\"{}\"]\n{sections}",
            data.display(),
            secret.display()
        );
        std::fs::write(&config, text).unwrap();
        let files = Self { directory, config, secret, data };
        for (path, mode) in [(&files.config, 0o600), (&files.secret, 0o600), (&files.data, 0o700)] {
            set_mode(path, mode);
        }
        files
    }

    fn command<'a>(&'a self, command: &'a str) -> [&'a str; 3] {
        [command, "--config", self.config.to_str().unwrap()]
    }
}

const LOOPBACK: &str = "[webhooks]\nlisten = \"127.0.0.1:0\"\n[operations]\nlisten = \"127.0.0.1:0\"\n";

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

/// Returns the warnings of `check-config`.
fn warnings(files: &Files) -> Vec<String> {
    let ended = Cli::default().call(&files.command("check-config"));
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    ended.stderr.lines().map(|line| line.strip_prefix("cleat: warning: ").unwrap().to_owned()).collect()
}

/// Like [`warnings`], but without those about the user and the machine that run the test.
fn warnings_of_files(files: &Files) -> Vec<String> {
    let mut warnings = warnings(files);
    warnings.retain(|warning| !warning.contains("runs as root") && !warning.contains("clock is not synchronised"));
    warnings
}

#[track_caller]
fn is_refused(files: &Files, problem: &str) {
    for command in ["check-config", "serve"] {
        let ended = Cli::default().call(&files.command(command));
        assert_eq!((ended.code, ended.stdout.as_str()), (1, ""), "{problem}");
        assert!(ended.stderr.contains(problem), "{problem} in {}", ended.stderr);
    }
}

#[test]
fn loose_files_are_refused_or_warned_of() {
    let files = Files::with("");
    assert_eq!(warnings_of_files(&files), [""; 0]);
    let secret = format!("secret \"old\" in {}", files.secret.display());
    let data = format!("data.directory: {}", files.data.display());
    for (path, name, strict, readable, writable) in [
        (&files.config, "the file itself", 0o600, 0o604, [0o620, 0o602]),
        (&files.secret, &secret, 0o400, 0o444, [0o660, 0o622]),
        (&files.data, &data, 0o700, 0o701, [0o770, 0o777]),
    ] {
        set_mode(path, readable);
        let warned = warnings_of_files(&files);
        let expected = format!("{name} has mode {readable:04o}: every local user may read it");
        assert!(warned.len() == 1 && warned[0].ends_with(&expected), "{expected}: {warned:?}");
        for mode in writable {
            set_mode(path, mode);
            is_refused(&files, &format!("{name} has mode {mode:04o}: others than its owner may write it"));
        }
        set_mode(path, strict);
    }
}

#[test]
fn a_file_of_another_user_is_refused() {
    let files = Files::with("");
    for path in [&files.config, &files.secret, &files.data] {
        if chown(path, Some(65_534), None).is_err() {
            return skip("only root can give files away");
        }
        is_refused(&files, "belongs to user 65534, who is neither root nor the daemon's user");
        chown(path, Some(0), None).unwrap();
    }
}

#[test]
fn the_api_socket_and_new_files_are_private() {
    for (key, expected) in [("", 0o600), ("socket_mode = \"0660\"", 0o660)] {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("grpc.sock");
        let files = Files::with(&format!("{LOOPBACK}[grpc]\nlisten = \"unix:{}\"\n{key}\n", socket.display()));
        let daemon = Cli::default().runs(&files.command("serve"));
        until("it serves", || daemon.stderr().contains(r#""message":"serving""#));
        assert_eq!(mode(&socket), expected);
        // The directory existed before. Files made in it do not rely on its mode.
        for made in ["witness", "SECRET", "CLEAT", "lock"] {
            assert_eq!(mode(&files.data.join(made)) & 0o077, 0, "{made}");
        }
    }
}

#[test]
fn check_config_prints_every_warning_of_serve() {
    let socket = tempfile::tempdir().unwrap();
    let off_loopback = "[webhooks]\nlisten = \"0.0.0.0:0\"\n[operations]\nlisten = \"0.0.0.0:0\"\n[grpc]\n";
    for (grpc, keys) in [
        (
            "listen = \"0.0.0.0:0\"\nunauthenticated = \"read-only\"".to_owned(),
            ["webhooks.listen", "operations.listen", "grpc.listen", "the file itself", "data.directory"],
        ),
        (
            format!("listen = \"unix:{}\"\nsocket_mode = \"0666\"", socket.path().join("grpc").display()),
            ["webhooks.listen", "operations.listen", "grpc.socket_mode", "the file itself", "data.directory"],
        ),
    ] {
        let files = Files::with(&format!("{off_loopback}{grpc}\n"));
        set_mode(&files.config, 0o644);
        set_mode(&files.data, 0o755);
        let checked = warnings(&files);
        for key in keys {
            assert!(checked.iter().any(|warning| warning.starts_with(key)), "{key}: {checked:?}");
        }
        let daemon = Cli::in_directory(files.directory.path()).runs(&files.command("serve"));
        until("it listens", || daemon.stderr().contains(r#""message":"listening""#));
        let log = daemon.stderr();
        let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let warned =
            lines.filter(|line| line["level"] == "WARN").map(|line| line["message"].as_str().unwrap().to_owned());
        // This warning is not about the configuration.
        let warned = warned.filter(|message| message != "creating a new log");
        assert_eq!(checked, warned.collect::<Vec<_>>());
    }
}
