//! The printed table: each figure with its bound, as soon as it is known. Measures nothing.
#![allow(clippy::print_stdout, reason = "the figures of a benchmark are printed")]

#[derive(Clone, Copy)]
pub enum Bound {
    /// No bound.
    None,
    AtLeast(f64),
    AtMost(f64),
}

#[derive(Default)]
pub struct Table {
    part: String,
    missed: Vec<String>,
}

impl Table {
    pub fn part(&mut self, title: &str) {
        title.clone_into(&mut self.part);
        println!("\n{title}");
    }

    pub fn row(&mut self, name: &str, figure: f64, unit: &str, bound: Bound) {
        let (asked, held) = match bound {
            Bound::None => (String::new(), true),
            Bound::AtLeast(least) => (format!("asked >= {}", rounded(least)), figure >= least),
            Bound::AtMost(most) => (format!("asked <= {}", rounded(most)), figure <= most),
        };
        let verdict = if held { "" } else { "MISSED" };
        let line = format!("  {name:<52} {:>9} {unit:<8} {asked:<16} {verdict}", rounded(figure));
        println!("{}", line.trim_end());
        if !held {
            self.missed.push(format!("{name} ({})", self.part));
        }
    }

    pub fn end(&self) {
        match self.missed.len() {
            0 => println!("\nEvery bound is held."),
            count => println!("\n{count} missed: {}", self.missed.join("; ")),
        }
    }
}

fn rounded(figure: f64) -> String {
    if figure >= 100.0 || figure.fract() == 0.0 { format!("{figure:.0}") } else { format!("{figure:.2}") }
}
