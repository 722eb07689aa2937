//! Tests that `config.toml` matches the code, and that bad configurations are refused.

use std::ffi::OsString;

use super::load::{BUILT_IN, ConfigError};
use super::permissions;
use super::secret::DEVELOPMENT_SECRET;
use super::sections::Config;
use super::value::Listen;
use crate::event::ApiMode;

const SECRET: &str = "whsec_QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=";

fn no_env(_: &str) -> Option<OsString> {
    None
}

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse("cleat.toml", text, &no_env)
}

fn with_endpoint(rest: &str) -> String {
    format!("{rest}\n[[webhooks.endpoints]]\nname = \"fasten\"\nsecrets = [\"{SECRET}\"]\n")
}

fn problems(text: &str) -> Vec<String> {
    problems_in(text, &no_env)
}

fn problems_in(text: &str, env: super::value::Env<'_>) -> Vec<String> {
    match Config::parse("cleat.toml", text, env) {
        Err(ConfigError::Invalid { problems, .. }) => problems,
        other => panic!("{other:?}"),
    }
}

#[test]
fn built_in_file_adds_only_create_and_a_development_endpoint() {
    let mut built_in = Config::load(None, &no_env).unwrap();
    let [endpoint] = &built_in.webhooks.endpoints[..] else { panic!("one endpoint") };
    assert_eq!((endpoint.name.as_str(), endpoint.tenant.as_str(), endpoint.api_mode), ("fasten", "default", None));
    assert!(endpoint.secrets[0].is_development() && endpoint.secrets.len() == 1);
    assert!(BUILT_IN.contains(DEVELOPMENT_SECRET));
    built_in.webhooks.endpoints.clear();
    assert!(std::mem::take(&mut built_in.data.create));
    assert_eq!(format!("{built_in:#?}"), format!("{:#?}", Config::default()));
}

#[test]
fn the_built_in_file_documents_every_key() {
    let sections = ["data", "webhooks", "grpc", "operations", "log", "views", "shutdown"];
    assert_eq!(keys_of(""), sections);
    let tables = sections.iter().map(|section| format!("[{section}]")).chain(["[[webhooks.endpoints]]".into()]);
    for table in tables {
        let documented = section_text(&table);
        for key in keys_of(&table) {
            let says = |prefix: &str| documented.lines().any(|line| line.starts_with(&format!("{prefix}{key} = ")));
            assert!(key == "endpoints" || says("") || says("# "), "{key} in {table}");
        }
    }
}

/// The keys that the code takes in a table, as listed by the error about an unknown key.
fn keys_of(table: &str) -> Vec<String> {
    let error = parse(&format!("{table}\nno_such_key = 1")).unwrap_err().to_string();
    let (_, listed) = error.split_once("unknown field `no_such_key`, expected ").expect(&error);
    listed.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn section_text(table: &str) -> &'static str {
    let (_, from) = BUILT_IN.split_once(&format!("\n{table}")).expect(table);
    from.split("\n[").next().unwrap()
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_column() {
    let error = parse("[webhooks]\nlisten = \"127.0.0.1:1\"\n  lisden = 1\n").unwrap_err().to_string();
    assert!(error.starts_with("cleat.toml:3:3: unknown field `lisden`, expected one of `listen`"), "{error}");
}

/// Each place in the file that takes a string, and some that do not, with `SECRET` in it.
const MISPLACED: [&str; 40] = [
    "secrets = \"SECRET\"",
    "secrets = [\"SECRET\", 7]",
    "secrets = [{ lable = \"a\", secret = \"SECRET\" }]",
    "secrets = [{ label = \"a\", SECRET = 1 }]",
    "secrets = [{ label = \"a\", \"SECRET\" = 1 }]",
    "secrets = [{ \"SECRET\" = \"SECRET\" }]",
    "secrets = [\"SECRET]",
    "secrets = [SECRET]",
    "secrets = SECRET",
    "secret_files = \"SECRET\"",
    "secret_credentials = { a = \"SECRET\" }",
    "api_mode = \"live\"\nsecrets = [\"SECRET!\"]",
    "secret_files = [\"SECRET\"]",
    "secret_files = [\"/SECRET\"]",
    "secret_files = [\"/etc/cleat/SECRET\"]",
    "secret_files = [\"secret:SECRET\"]",
    "secret_credentials = [\"SECRET\"]",
    "secret_credentials = [\"SECRET/a\"]",
    "secrets = [{ label = \"SECRET\", secret = \"2026-06\" }]",
    "secrets = [{ label = \"SECRET\", secret = \"SECRET\" }, { label = \"SECRET\", secret = \"SECRET\" }]",
    "secrets = [{ label = \"SECRET\", secret = \"DEVELOPMENT\" }]\n[grpc]\nlisten = \"0.0.0.0:1\"",
    "api_mode = \"SECRET\"",
    "api_mode = SECRET",
    "\"SECRET\" = \"live\"",
    "SECRET = \"live\"",
    "\"key SECRET \" = \"live\"",
    "tenant = \"SECRET \"",
    "tenant = \"SECRET\"\ntenant = \"SECRET\"",
    "\"SECRET\" = 1\n\"SECRET\" = 1",
    "[[webhooks.endpoints]]\nname = \"SECRET\"\nsecrets = [\"SECRET\", \"\"]",
    "[[webhooks.endpoints]]\nname = \"SECRET\"\n[[webhooks.endpoints]]\nname = \"SECRET\"",
    "[\"SECRET\"]",
    "[webhooks.\"SECRET\"]",
    "[webhooks]\nbody_limit = \"SECRET\"",
    "[webhooks]\ninflight_bytes = \"1SECRET\"",
    "[webhooks]\nmax_connections = \"SECRET\"",
    "[webhooks]\nheader_timeout = \"SECRET\"",
    "[grpc]\nlisten = \"SECRET\"",
    "[operations]\nlisten = \"SECRET\"",
    "[grpc]\nSECRET = 1",
];

#[test]
fn no_misplaced_secret_is_quoted() {
    // The secret as the portal shows it, without the prefix, and one with every special character of base64.
    let bare = SECRET.trim_start_matches("whsec_");
    for secret in [SECRET, bare, "Zm9v+QUFB/QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE="] {
        for place in MISPLACED {
            let written = place.replace("SECRET", secret).replace("DEVELOPMENT", DEVELOPMENT_SECRET);
            let error = parse(&format!("[[webhooks.endpoints]]\nname = \"fasten\"\n{written}\n")).unwrap_err();
            for shown in [format!("{error} {error:?}"), format!("{error:#?}")] {
                assert!(!shown.contains("QUFB"), "{place}: {shown}");
            }
        }
    }
}

#[test]
fn a_secret_is_refused_as_any_other_value_and_not_quoted() {
    let endpoint = |rest: &str| format!("[[webhooks.endpoints]]\n{rest}\nsecrets = [\"{SECRET}\"]\n");
    let mut written = Vec::new();
    let bare = SECRET.trim_start_matches("whsec_");
    for secret in [SECRET, bare, &format!("unix:{SECRET}"), &format!("unix:/run/{bare}.sock")] {
        for key in keys_of("[[webhooks.endpoints]]").iter().filter(|key| !key.starts_with("secret")) {
            let name = if key == "name" { "" } else { "name = \"fasten\"\n" };
            written.push(endpoint(&format!("{name}{key} = \"{secret}\"")));
        }
        for section in keys_of("") {
            for key in keys_of(&format!("[{section}]")).iter().filter(|key| *key != "endpoints") {
                written.push(format!("[{section}]\n{key} = \"{secret}\"\n{}", endpoint("name = \"fasten\"")));
            }
        }
    }
    assert!(written.len() > 80, "every key is among them");
    for text in written {
        let error = parse(&text).expect_err(&text);
        assert!(!format!("{error} {error:?}").contains("QUFB"), "{text}: {error}");
    }
}

#[test]
fn all_problems_are_reported_at_once_and_name_their_keys() {
    let found = problems(
        "[webhooks]\nbody_limit = \"385KiB\"\ninflight_bytes = \"1KiB\"\n\
         max_connections = 0\nrequest_timeout = \"0s\"\n\
         [grpc]\nlisten = \"127.0.0.1:7480\"\n\
         [[webhooks.endpoints]]\nname = \"A b\"\ntenant = \"\"\n",
    );
    for key in [
        "webhooks.request_timeout: ",
        "webhooks.max_connections: ",
        "webhooks.body_limit: ",
        "webhooks.inflight_bytes: ",
        "grpc.listen: 127.0.0.1:7480 is taken by webhooks.listen",
        "\"[redacted]\": name: ",
        "\"[redacted]\": tenant: ",
        "\"[redacted]\": must have 1 to 16 usable secrets, has 0",
    ] {
        assert!(found.iter().any(|problem| problem.contains(key)), "{key}: {found:?}");
    }
}

#[test]
fn a_file_without_endpoints_is_refused() {
    assert_eq!(problems(""), ["webhooks.endpoints: there is none, so no webhook could be received"]);
}

#[test]
fn a_bad_secret_is_named_by_endpoint_and_label() {
    let found = problems(
        "[[webhooks.endpoints]]\nname = \"fasten\"\n\
         secrets = [\"whsec_\", { label = \"2026-06\", secret = \"c2hvcnQ=\" }]",
    );
    assert_eq!(found[0], "webhooks.endpoints: \"fasten\": secret \"1\" is empty");
    assert_eq!(
        found[1],
        "webhooks.endpoints: \"fasten\": secret \"2026-06\" decodes to 5 bytes; at least 24 are needed"
    );
}

#[test]
fn repeated_names_or_labels_and_17_secrets_are_refused() {
    let endpoint = with_endpoint("");
    assert_eq!(problems(&format!("{endpoint}{endpoint}")), ["webhooks.endpoints: the name \"fasten\" is used twice"]);
    let twice = format!("{{ label = \"a\", secret = \"{SECRET}\" }}, ").repeat(2);
    let found = problems(&format!("[[webhooks.endpoints]]\nname = \"x\"\nsecrets = [{twice}]"));
    assert_eq!(found, ["webhooks.endpoints: \"x\": secret \"a\": the label is used twice"]);
    let many = format!("\"{SECRET}\", ").repeat(17);
    let found = problems(&format!("[[webhooks.endpoints]]\nname = \"x\"\nsecrets = [{many}]"));
    assert_eq!(found, ["webhooks.endpoints: \"x\": must have 1 to 16 usable secrets, has 17"]);
}

#[test]
fn secrets_come_from_the_file_from_files_and_from_credentials() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("old"), format!("{SECRET}\n")).unwrap();
    std::fs::write(directory.path().join("new"), SECRET).unwrap();
    let credentials = directory.path().as_os_str().to_owned();
    let env = move |name: &str| (name == "CREDENTIALS_DIRECTORY").then(|| credentials.clone());
    let text = format!(
        "{}secret_files = [{:?}]\nsecret_credentials = [\"new\"]\napi_mode = \"live\"",
        with_endpoint(""),
        directory.path().join("old"),
    );
    let config = Config::parse("cleat.toml", &text, &env).unwrap();
    let endpoint = &config.webhooks.endpoints[0];
    assert_eq!(endpoint.secrets.iter().map(super::secret::Secret::label).collect::<Vec<_>>(), ["1", "old", "new"]);
    assert!(endpoint.secrets.iter().all(|secret| secret.key() == [b'A'; 32]));
    assert_eq!(endpoint.api_mode, Some(ApiMode::Live));
}

#[test]
fn a_missing_file_or_credential_is_named_by_its_label() {
    let text =
        "[[webhooks.endpoints]]\nname = \"x\"\nsecret_files = [\"/nowhere/old\"]\nsecret_credentials = [\"new\"]";
    let found = problems(text);
    assert!(
        found[0].starts_with("webhooks.endpoints: \"x\": secret \"old\" cannot be read from /nowhere/old: "),
        "{found:?}"
    );
    assert!(found[1].contains("secret \"new\" is a credential, but $CREDENTIALS_DIRECTORY is not set"), "{found:?}");
    let elsewhere = |_: &str| Some(OsString::from("/nowhere"));
    let text = "[[webhooks.endpoints]]\nname = \"x\"\nsecret_credentials = [\"../new\"]";
    assert!(problems_in(text, &elsewhere)[0].contains("is not the name of a credential"));
}

#[test]
fn development_secret_is_refused_if_a_listener_is_off_loopback() {
    let text = format!("[[webhooks.endpoints]]\nname = \"x\"\nsecrets = [\"{DEVELOPMENT_SECRET}\"]\n");
    assert!(parse(&text).is_ok());
    let exposed = format!("[webhooks]\nlisten = \"0.0.0.0:7480\"\n{text}");
    assert!(problems(&exposed)[0].ends_with("refused because webhooks.listen is not a loopback address"));
    for key in ["grpc", "operations"] {
        let exposed = format!("[{key}]\nlisten = \"192.0.2.1:1\"\n{text}");
        assert!(problems(&exposed)[0].ends_with(&format!("refused because {key}.listen is not a loopback address")));
    }
    assert!(parse(&format!("[grpc]\nlisten = \"unix:/run/cleat.sock\"\n{text}")).is_ok());
    assert!(parse(&with_endpoint("[webhooks]\nlisten = \"0.0.0.0:7480\"")).is_ok());
}

#[test]
fn development_secret_is_refused_to_a_unit_but_not_to_its_shell() {
    let text = format!("[[webhooks.endpoints]]\nname = \"x\"\nsecrets = [\"{DEVELOPMENT_SECRET}\"]\n");
    let own = std::process::id();
    for (variable, value) in [
        ("NOTIFY_SOCKET", "/run/systemd/notify"),
        ("CREDENTIALS_DIRECTORY", "/run/credentials/cleat.service"),
        ("STATE_DIRECTORY", "/var/lib/cleat"),
        ("SYSTEMD_EXEC_PID", &own.to_string()),
    ] {
        let env = |name: &str| (name == variable).then(|| OsString::from(value));
        let found = problems_in(&text, &env);
        let named = found[0].contains(&format!("refused under systemd: ${variable} is "));
        assert!(named, "{found:?}");
        assert!(Config::parse("cleat.toml", &with_endpoint(""), &env).is_ok(), "another secret is good there");
    }
    let inherited = [
        ("INVOCATION_ID", "0123456789abcdef0123456789abcdef".to_owned()),
        ("JOURNAL_STREAM", "8:12345".to_owned()),
        ("SYSTEMD_EXEC_PID", (own + 1).to_string()),
    ];
    let terminal = |name: &str| inherited.iter().find(|(set, _)| *set == name).map(|(_, value)| value.into());
    assert!(Config::parse("cleat.toml", &text, &terminal).is_ok());
}

#[test]
fn an_api_that_strangers_could_reach_is_warned_of() {
    let read_only = |listen: &str| format!("[grpc]\nlisten = {listen:?}\nunauthenticated = \"read-only\"");
    let warnings = |listen: &str| parse(&with_endpoint(&read_only(listen))).unwrap().warnings();
    assert!(warnings("0.0.0.0:7481")[0].starts_with("grpc.listen: 0.0.0.0:7481 is not a loopback address"));
    for safe in ["127.0.0.1:7481", "[::1]:7481", "unix:/run/cleat/grpc.sock"] {
        assert_eq!(warnings(safe), [""; 0]);
    }
}

#[test]
fn every_listener_off_loopback_is_warned_of() {
    for key in ["webhooks", "operations"] {
        let listen = |address: &str| parse(&with_endpoint(&format!("[{key}]\nlisten = \"{address}:1\""))).unwrap();
        let warned = listen("192.0.2.1").warnings();
        let expected = format!("{key}.listen: 192.0.2.1:1 is not a loopback address");
        assert!(warned.len() == 1 && warned[0].starts_with(&expected), "{warned:?}");
        assert_eq!(listen("127.0.0.1").warnings(), [""; 0]);
    }
}

#[test]
fn an_exposed_api_must_be_read_only() {
    let with = |key: &str| parse(&with_endpoint(&format!("[grpc]\nlisten = \"0.0.0.0:7481\"\n{key}")));
    let Err(ConfigError::Invalid { problems, .. }) = with("") else { panic!("it is refused") };
    assert_eq!(problems.len(), 1);
    assert!(problems[0].starts_with("grpc.listen: 0.0.0.0:7481 is not a loopback address"), "{problems:?}");
    assert!(with("unauthenticated = \"read-only\"").is_ok());
    assert!(with("unauthenticated = \"everything\"").is_err());
}

#[test]
fn absurd_numbers_sizes_and_durations_are_refused() {
    for (section, key, most, more) in [
        ("webhooks", "max_connections", "100000", "100001"),
        ("webhooks", "inflight_bytes", "\"64GiB\"", "\"65GiB\""),
        ("webhooks", "inflight_bytes", "\"520KiB\"", "\"519KiB\""),
        ("webhooks", "header_timeout", "\"24h\"", "\"25h\""),
        ("webhooks", "request_timeout", "\"1ms\"", "\"0ms\""),
        ("grpc", "max_watches", "100000", "18446744073709551615"),
        ("grpc", "watch_ring", "10000000", "9223372036854775807"),
        ("grpc", "watch_max_age", "\"24h\"", "\"25h\""),
        ("log", "batch_events", "65536", "65537"),
        ("log", "batch_events", "1", "0"),
        ("log", "dedup_run_events", "1", "0"),
        ("views", "checkpoint_events", "100000000", "100000001"),
        ("shutdown", "grace", "\"0s\"", "\"25h\""),
        ("shutdown", "after_storage_failure", "\"24h\"", "\"18446744073709551s\""),
    ] {
        let with = |value: &str| parse(&with_endpoint(&format!("[{section}]\n{key} = {value}")));
        assert!(with(most).is_ok(), "{key} = {most}");
        let error = with(more).unwrap_err().to_string();
        assert!(error.contains(&format!("{section}.{key}: must ")) || error.contains("cleat.toml:2:"), "{error}");
    }
}

#[test]
fn the_state_directory_stands_in_for_an_absent_key_only() {
    let env = |name: &str| (name == "STATE_DIRECTORY").then(|| OsString::from("/var/lib/cleat:/var/lib/other"));
    let load = |text: &str, env: super::value::Env<'_>| Config::parse("cleat.toml", &with_endpoint(text), env).unwrap();
    assert_eq!(load("", &no_env).data.directory().to_str(), Some("data"));
    assert_eq!(load("", &env).data.directory().to_str(), Some("/var/lib/cleat"));
    assert_eq!(load("[data]\ndirectory = \"here\"", &env).data.directory().to_str(), Some("here"));
}

#[test]
fn grpc_listens_on_tcp_or_a_unix_socket() {
    let listen =
        |text: &str| parse(&with_endpoint(&format!("[grpc]\nlisten = {text:?}"))).map(|config| config.grpc.listen);
    assert_eq!(listen("unix:/run/cleat/grpc.sock").unwrap(), Listen::Unix("/run/cleat/grpc.sock".into()));
    assert_eq!(listen("[::1]:7481").unwrap(), Listen::Tcp("[::1]:7481".parse().unwrap()));
    for wrong in ["unix:", "localhost", "7481", ""] {
        let error = listen(wrong).unwrap_err().to_string();
        assert!(error.starts_with("cleat.toml:2:10: "), "{error}");
    }
}

#[test]
fn a_missing_file_is_named_by_its_path() {
    let error = Config::load(Some("/nowhere/cleat.toml".as_ref()), &no_env).unwrap_err();
    assert_eq!(error.to_string(), "cannot read /nowhere/cleat.toml");
}

#[test]
fn a_file_over_16_mib_is_refused_and_not_cut() {
    const BYTES_MAX: u64 = 16 * 1024 * 1024;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("long");
    let file = std::fs::File::create(&path).unwrap();
    file.set_len(BYTES_MAX).unwrap();
    assert_eq!(permissions::read(&path).unwrap().1.len() as u64, BYTES_MAX);
    file.set_len(BYTES_MAX + 1).unwrap();
    let Err(ConfigError::Read { path: named, source }) = Config::load(Some(&path), &no_env) else { panic!("read") };
    assert_eq!((named, source.to_string()), (path.clone(), "it is longer than 16 MiB".to_owned()));
    let text = format!("[[webhooks.endpoints]]\nname = \"fasten\"\nsecret_files = [{path:?}]");
    let expected = format!("secret \"long\" cannot be read from {}: it is longer than 16 MiB", path.display());
    assert!(problems(&text).iter().any(|problem| problem.ends_with(&expected)), "{expected} in {:?}", problems(&text));
    // A device has no length.
    let endless = permissions::read(std::path::Path::new("/dev/zero")).unwrap_err();
    assert_eq!(endless.to_string(), "it is longer than 16 MiB");
}
