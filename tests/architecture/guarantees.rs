//! Checks that docs/guarantees.md names, for each promise, tests that exist.

use super::source;

#[test]
fn every_guarantee_names_tests_that_exist() {
    let text = std::fs::read_to_string(source::root().join("docs/guarantees.md")).unwrap();
    let mut promises = 0;
    for section in text.split("\n## ").skip(1) {
        let title = section.lines().next().unwrap();
        let tests: Vec<(&str, &str)> = section.split('`').filter_map(|word| word.split_once(".rs::")).collect();
        assert!(!tests.is_empty(), "no test holds: {title}");
        for (file, name) in tests {
            let source = std::fs::read_to_string(source::root().join(format!("{file}.rs")));
            let source = source.unwrap_or_else(|_| panic!("{title} names {file}.rs, which is not there"));
            assert!(source.contains(&format!("fn {name}(")), "{title} names {name}, which is not in {file}.rs");
        }
        promises += 1;
    }
    assert!(promises >= 8, "design 1 makes eight promises");
}
