//! Pages that say which test shows something must name tests that are there.

use std::collections::HashSet;

/// The pages whose tests are looked for.
pub(crate) const PAGES: [&str; 2] = ["PITFALLS.md", "docs/asvs.md"];

/// A test's name has at least so many underscores; shorter words between backticks are settings and functions.
const UNDERSCORES: usize = 3;

/// The names of every test in a source file: of the functions that an attribute marks, and of the promises that a suite asks
/// of every store (`case: &Case`).
pub(crate) fn tests(source: &str) -> impl Iterator<Item = &str> {
    let mut is_marked = false;
    source.lines().filter_map(move |line| {
        let trimmed = line.trim_start();
        if trimmed.starts_with("#[") && trimmed.contains("test") && !trimmed.contains("cfg(") {
            is_marked = true;
        }
        let (_, rest) = line.split_once("fn ")?;
        let is_test = std::mem::take(&mut is_marked) || rest.contains("case: &Case");
        let end = rest.find(|character: char| !is_part_of_a_name(character))?;
        (is_test && rest[end..].starts_with(['(', '<'])).then_some(&rest[..end])
    })
}

/// The tests that a page names and that are not among these.
pub(crate) fn missing(shown: &str, page: &str, tests: &HashSet<String>) -> Vec<String> {
    let mut breaches = Vec::new();
    for (index, line) in page.lines().enumerate() {
        // Every second piece stands between backticks.
        for word in line.split('`').skip(1).step_by(2) {
            let is_a_test = word.chars().all(is_part_of_a_name) && word.matches('_').count() >= UNDERSCORES;
            if is_a_test && !tests.contains(word) {
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
        let source = "#[cfg(test)]\nmod tests {\n    fn what_only_helps_them() {}\n\n    #[tokio::test]\n    // Slow.\n    \
                      async fn a_thing_that_is_here() {\n}\npub(crate) fn of_many_kinds_too(case: &Case<'_>) {\n";
        let tests: HashSet<String> = tests(source).map(str::to_owned).collect();
        let page = "| x | `a_thing_that_is_here`, `of_many_kinds_too` |\n\
                    | y | `max_staleness`, `a_thing_that_is_gone`, `what_only_helps_them` |\n";
        let breaches = missing("PITFALLS.md", page, &tests);
        let told = |name: &str| format!("PITFALLS.md:2: there is no test `{name}`");
        assert_eq!(breaches, [told("a_thing_that_is_gone"), told("what_only_helps_them")]);
    }
}
