//! Pages that say which test shows something must name tests that are there.

use std::collections::HashSet;

/// The pages whose tests are looked for.
pub(crate) const PAGES: [&str; 2] = ["PITFALLS.md", "docs/asvs.md"];

/// A test's name has at least so many underscores; shorter words between backticks are settings and functions.
const UNDERSCORES: usize = 3;

/// The names of every function in a source file.
pub(crate) fn functions(source: &str) -> impl Iterator<Item = &str> {
    source.lines().filter_map(|line| {
        let (_, rest) = line.split_once("fn ")?;
        let end = rest.find(|character: char| !is_part_of_a_name(character))?;
        rest[end..].starts_with(['(', '<']).then_some(&rest[..end])
    })
}

/// The tests that a page names and that are not among these functions.
pub(crate) fn missing(shown: &str, page: &str, functions: &HashSet<String>) -> Vec<String> {
    let mut breaches = Vec::new();
    for (index, line) in page.lines().enumerate() {
        // Every second piece stands between backticks.
        for word in line.split('`').skip(1).step_by(2) {
            let is_a_test = word.chars().all(is_part_of_a_name) && word.matches('_').count() >= UNDERSCORES;
            if is_a_test && !functions.contains(word) {
                breaches.push(format!("{shown}:{}: there is no test `{word}`", index + 1));
            }
        }
    }
    breaches
}

fn is_part_of_a_name(character: char) -> bool {
    character.is_ascii_lowercase() || character.is_ascii_digit() || character == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_that_is_named_and_absent_is_a_breach_and_a_setting_is_not() {
        let source = "#[test]\nfn a_thing_that_is_here() {\n}\n    pub(crate) async fn of_many_kinds_too<T>(\n";
        let functions: HashSet<String> = functions(source).map(str::to_owned).collect();
        let page =
            "| x | `a_thing_that_is_here`, `of_many_kinds_too` |\n| y | `max_staleness`, `a_thing_that_is_gone` |\n";
        let breaches = missing("PITFALLS.md", page, &functions);
        assert_eq!(breaches, ["PITFALLS.md:2: there is no test `a_thing_that_is_gone`"]);
    }
}
