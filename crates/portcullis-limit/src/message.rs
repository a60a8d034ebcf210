//! What a limit says to those whom it refuses.

use std::fmt::Write as _;
use std::time::Duration;

/// A limit's message with the wait filled in: `{minutes}` and `{seconds}` stand for it, rounded up, and every other brace for
/// itself.
#[must_use]
pub fn fill_wait(template: &str, wait: Duration) -> String {
    let seconds = (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1);
    let mut text = String::with_capacity(template.len() + 16);
    let mut rest = template;
    while let Some(brace) = rest.find('{') {
        text.push_str(&rest[..brace]);
        rest = &rest[brace..];
        let (number, after) = match (rest.strip_prefix("{minutes}"), rest.strip_prefix("{seconds}")) {
            (Some(after), _) => (seconds.div_ceil(60), after),
            (_, Some(after)) => (seconds, after),
            // Another brace stands for itself.
            _ => {
                text.push('{');
                rest = &rest[1..];
                continue;
            }
        };
        // Writing to a string does not fail.
        let _ = write!(text, "{number}");
        rest = after;
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_tells_the_wait_and_keeps_other_braces() {
        assert_eq!(fill_wait("in {minutes} min, {seconds} s", Duration::from_millis(60_001)), "in 2 min, 61 s");
        assert_eq!(fill_wait("{x} {{minutes} {", Duration::ZERO), "{x} {1 {");
        assert_eq!(fill_wait("none", Duration::ZERO), "none");
    }
}
