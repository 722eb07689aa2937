//! A machine with a wrong clock: it stamps nothing, and the operator can read why.

use std::path::Path;

use serde_json::json;
use testkit::bodies;

use crate::preload;
use crate::support::{Api, Cli, Daemon, Launch, SECRET, Sender, skip, until};

const HOUR: i64 = 3600;
const FIFTY_YEARS: i64 = 50 * 365 * 24 * HOUR;

/// One machine, its data directory, and a library that shifts its clock.
struct Machine {
    directory: tempfile::TempDir,
    library: String,
    offset: String,
    for_development: bool,
}

impl Machine {
    /// Returns a machine with a correct clock. `None` if there is no C compiler.
    fn new() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let library = preload::compile(directory.path(), preload::SHIFTED_CLOCK)?;
        let data = json!({ "org_connection_id": "c", "connection_status": "authorized" });
        let payload = bodies::undated("patient.connection_success", "imported", &data);
        std::fs::write(directory.path().join("payload.json"), payload.to_string()).unwrap();
        Some(Self { directory, library, offset: "0".to_owned(), for_development: true })
    }

    fn set(&mut self, offset: i64) {
        self.offset = offset.to_string();
    }

    fn env(&self) -> [(&str, &str); 2] {
        [("LD_PRELOAD", &self.library), ("CLOCK_OFFSET", &self.offset)]
    }

    fn serve(&self) -> Daemon {
        let for_development = self.for_development;
        let launch = Launch::new(self.directory.path());
        Launch { trust_clock: false, for_development, env: &self.env(), ..launch }.start()
    }

    fn send(&self, daemon: &Daemon) -> i32 {
        Cli::of(daemon).with_env(&self.env()).call(&["send"]).code
    }

    fn path(&self, name: &str) -> String {
        let path: &Path = &self.directory.path().join(name);
        path.to_str().unwrap().to_owned()
    }
}

const NO_COMPILER: &str = "shifting the clock needs a C compiler";
/// The connection that `cleat send` names by default.
const CONNECTION: &str = "conn-1";
const UNCONFIRMED: &str = "nothing confirms this machine's clock";

#[test]
fn an_offline_import_by_a_clock_fifty_years_ahead_is_refused() {
    let Some(mut machine) = Machine::new() else { return skip(NO_COMPILER) };
    let daemon = machine.serve().ready();
    assert_eq!(machine.send(&daemon), 0);
    assert_eq!(daemon.terminate().code(), Some(0));

    machine.set(FIFTY_YEARS);
    let (payload, config) = (machine.path("payload.json"), machine.path("config.toml"));
    let words = ["import", &payload, "--offline", "--config", &config];
    let refused = Cli::default().with_env(&machine.env()).call(&words);
    assert_eq!((refused.code, refused.stderr.contains(UNCONFIRMED)), (1, true), "{}", refused.stderr);

    machine.set(0);
    let trusting = [&words[..], &["--trust-clock"]].concat();
    Cli::default().with_env(&machine.env()).succeeds(&trusting);
    let daemon = machine.serve().ready();
    let api = Api::connect(daemon.grpc);
    let [sent, imported] = [1, 2].map(|position| api.event(position).recorded_at.unwrap().seconds);
    assert!(imported - sent < HOUR, "{sent}, {imported}");
}

#[test]
fn an_import_waits_for_a_webhook_unless_the_clock_is_trusted() {
    let Some(mut machine) = Machine::new() else { return skip(NO_COMPILER) };
    machine.for_development = false;
    let daemon = machine.serve().ready();
    let payload = machine.path("payload.json");
    let refused = Cli::of(&daemon).call(&["import", &payload]);
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    assert!(refused.stderr.contains("CLOCK_UNCONFIRMED") && refused.stderr.contains(UNCONFIRMED), "{}", refused.stderr);
    assert_eq!((Api::connect(daemon.grpc).head(), daemon.operations("/readyz").0), (0, 200));
    // The machine's own tools sign by the same clock, whatever the secret.
    assert_eq!(machine.send(&daemon), 4);
    let signed = Cli::of(&daemon).with_env(&machine.env()).call(&["send", "--secret", SECRET]);
    assert!(signed.code == 4 && signed.stderr.contains("CLOCK_REFUSED"), "{}", signed.stderr);
    assert_eq!(Cli::of(&daemon).call(&["import", &payload]).code, 1);
    assert_eq!(Sender::connect(daemon.webhooks).unwrap().deliver("msg_1", b"{}").unwrap().status, 200);
    Cli::of(&daemon).succeeds(&["import", &payload]);
    assert_eq!(machine.send(&daemon), 0);
    Cli::of(&daemon).with_env(&machine.env()).succeeds(&["send", "--secret", SECRET]);
    assert_eq!(daemon.terminate().code(), Some(0));

    let other = Machine::new().unwrap();
    let daemon = Launch { env: &other.env(), ..Launch::new(other.directory.path()) }.start().ready();
    Cli::of(&daemon).succeeds(&["import", &payload]);
}

#[test]
fn a_clock_behind_the_log_takes_nothing_and_says_so() {
    let Some(mut machine) = Machine::new() else { return skip(NO_COMPILER) };
    let daemon = machine.serve().ready();
    assert_eq!(machine.send(&daemon), 0);
    assert_eq!(daemon.terminate().code(), Some(0));

    machine.set(-HOUR);
    let daemon = machine.serve();
    for _ in 0..3 {
        assert_eq!(machine.send(&daemon), 4, "it cannot answer now");
    }
    until("it says why", || {
        let (status, why) = daemon.operations("/readyz");
        status == 503 && why.contains("behind the newest event of the log")
    });
    let metrics = daemon.operations("/metrics").1;
    assert!(metrics.contains("outcome=\"clock_refused\"} 3"), "{metrics}");
    assert_eq!(daemon.log().matches("cannot accept a webhook: this machine's clock").count(), 1);
    let refused = Cli::of(&daemon).call(&["import", &machine.path("payload.json")]);
    assert!(refused.stderr.contains("CLOCK_BEHIND"), "{}", refused.stderr);
    // The daemon never becomes ready, so the views may not be complete yet.
    let api = Api::connect(daemon.grpc);
    until("the state can be read", || api.connection(CONNECTION).is_ok());
    assert_eq!(daemon.terminate().code(), Some(0));

    machine.set(0);
    let daemon = machine.serve().ready();
    assert_eq!(machine.send(&daemon), 0);
    assert_eq!(Api::connect(daemon.grpc).head(), 2);
}
