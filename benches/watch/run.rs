//! Selects the measurements of a run and their order.

mod catch_up;
mod codec;
mod poster;
mod watchers;

use std::time::Duration;

use testkit::benchmark::{Bound, Daemon, Home, Quantiles, Table};

use self::poster::Rate;
use self::watchers::{Filter, Watchers};

/// Rates offered to a thousand watchers, in events per second. The first rate at which one of them is more than a
/// second behind is the last one tried.
const OFFERED: [u64; 7] = [75, 150, 300, 400, 600, 800, 1200];
const LAG_MAX: Duration = Duration::from_secs(1);
const MANY: usize = 1000;

pub fn run(arguments: &[&str]) {
    let seconds = match arguments {
        [] => 10,
        ["--catch-up"] => {
            let mut table = Table::default();
            catch_up::measure(&mut table);
            return table.end();
        }
        ["--seconds", seconds] => seconds.parse().expect("a number of seconds"),
        _ => panic!("no arguments, --catch-up, or --seconds N"),
    };
    let span = Duration::from_secs(seconds);
    let mut table = Table::default();
    latency(&mut table, span);
    throughput(&mut table, span);
    idle(&mut table);
    beside(&mut table, span);
    catch_up::measure(&mut table);
    table.end();
}

fn home() -> Home {
    Home::new(env!("CARGO_BIN_EXE_cleat"), env!("CARGO_TARGET_TMPDIR"))
}

fn started() -> (Home, Daemon) {
    let home = home();
    let daemon = Daemon::start(&home);
    daemon.started();
    (home, daemon)
}

fn latency(table: &mut Table, span: Duration) {
    table.part("From the answer to a webhook to those who watch all, at 100 events/s");
    for (count, filter, of) in
        [(1, Filter::All, ""), (100, Filter::All, ""), (MANY, Filter::All, ""), (MANY, Filter::Events, " of events")]
    {
        let (_home, daemon) = started();
        let watchers = Watchers::open(daemon.grpc, count, filter);
        let posted = poster::post(daemon.webhooks, Rate::Events(100), span);
        let (lags, _) = watchers.until(&posted);
        let lags = Quantiles::of(lags);
        table.row(&format!("{count} watchers{of}, p50"), lags.percent(50), "ms", Bound::None);
        table.row(&format!("{count} watchers{of}, p99"), lags.percent(99), "ms", Bound::None);
    }
}

fn throughput(table: &mut Table, span: Duration) {
    table.part(&format!("{MANY} watchers of all, none more than 1 s behind"));
    let mut highest = 0.0;
    for rate in OFFERED {
        let (_home, daemon) = started();
        let watchers = Watchers::open(daemon.grpc, MANY, Filter::All);
        let posted = poster::post(daemon.webhooks, Rate::Events(rate), span);
        let (lags, changes) = watchers.until(&posted);
        let (most, delivered) = (lags.into_iter().max().unwrap(), changes as f64 / posted.seconds());
        table.row(&format!("{rate} events/s: most behind"), most.as_secs_f64() * 1e3, "ms", Bound::None);
        table.row(&format!("{rate} events/s: delivered"), delivered, "/s", Bound::None);
        if most > LAG_MAX {
            break;
        }
        highest = delivered;
    }
    table.row("delivered changes, in all", highest, "/s", Bound::AtLeast(150_000.0));
}

fn idle(table: &mut Table) {
    table.part("Idle watchers");
    let (_home, daemon) = started();
    drop(Watchers::open(daemon.grpc, MANY, Filter::All));
    let before = daemon.memory().resident;
    let watchers = Watchers::open(daemon.grpc, MANY, Filter::All);
    let each = (daemon.memory().resident - before) * 1e6 / 1024.0 / MANY as f64;
    table.row("resident, each", each, "KiB", Bound::AtMost(64.0));
    drop(watchers);
    let (_home, daemon) = started();
    let before = daemon.memory().resident;
    let watchers = Watchers::open(daemon.grpc, MANY, Filter::All);
    let each = (daemon.memory().resident - before) * 1e6 / 1024.0 / MANY as f64;
    table.row("resident, each of the first", each, "KiB", Bound::AtMost(64.0));
    drop(watchers);
}

/// Measures ingest with 999 watchers that see nothing and one that does not read, and compares it with ingest without
/// watchers.
fn beside(table: &mut Table, span: Duration) {
    table.part("Ingest beside 999 watchers of nothing, and one who does not read, against none");
    for (name, rate) in [("5,000 events/s", Rate::Events(5000)), ("full rate", Rate::Full)] {
        let alone = ingest(rate, span, None);
        table.row(&format!("{name}, alone"), alone, "/s", Bound::None);
        for (who, filter) in [("who ask alike", Filter::Nothing), ("each another", Filter::NothingEach)] {
            let beside = ingest(rate, span, Some(filter));
            table.row(&format!("{name}, {who}"), beside, "/s", Bound::None);
            table.row(&format!("{name}, {who}: ratio"), beside / alone, "", Bound::AtLeast(0.9));
        }
    }
}

fn ingest(rate: Rate, span: Duration, beside: Option<Filter>) -> f64 {
    let (_home, daemon) = started();
    let watchers = beside.map(|filter| (Watchers::open(daemon.grpc, MANY - 1, filter), Watchers::deaf(daemon.grpc)));
    let posted = poster::post(daemon.webhooks, rate, span);
    drop(watchers);
    posted.count() as f64 / posted.seconds()
}
