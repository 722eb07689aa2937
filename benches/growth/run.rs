//! Selects the measurements of a run and their order.

mod batch;
mod crowds;
mod disk;
mod fill;
mod filler;
mod http;
mod idle;
mod lag;
mod light;
mod reads;
mod sample;
mod serve;
mod switches;
mod year;

use std::path::Path;

use testkit::benchmark::{Home, Table};

const EVENTS: u64 = 10_000_000;
const HTTP_SECONDS: u64 = 20;
/// Events of full load for each commit of light load.
const LIGHT_OF: u64 = 5;
/// Events of full load for each event of the journal switches.
const SWITCHES_OF: u64 = 5;

pub fn run(arguments: &[&str]) {
    if let ["--fill", directory, events, producers] = arguments {
        return fill::fill(Path::new(directory), number(events), number(producers));
    }
    let mut table = Table::default();
    match arguments {
        [] => measure_all(&mut table, EVENTS),
        ["--events", events] => measure_all(&mut table, number(events)),
        ["--http", seconds] => http::measure(&mut table, number(seconds)),
        ["--light", events] => light::measure(&mut table, number(events)),
        ["--starts"] => light::measure_two_journals(&mut table),
        ["--switches", events] => switches::measure(&mut table, number(events)),
        ["--idle"] => idle::measure(&mut table),
        _ => panic!("see the head of benches/growth.rs"),
    }
    table.end();
}

fn home() -> Home {
    Home::new(env!("CARGO_BIN_EXE_cleat"), env!("CARGO_TARGET_TMPDIR"))
}

fn number(argument: &str) -> u64 {
    argument.replace('_', "").parse().expect("a number")
}

fn measure_all(table: &mut Table, events: u64) {
    {
        let home = home();
        let report = filler::measure(table, &home, events);
        serve::measure(table, &home, &report);
    }
    http::measure(table, HTTP_SECONDS);
    light::measure(table, events / LIGHT_OF);
    light::measure_two_journals(table);
    switches::measure(table, (events / SWITCHES_OF).max(switches::EVENTS_MIN));
    idle::measure(table);
}
