//! Figures that are held against a bar, and the table of them.

use std::fmt::Write as _;

/// A row of the table: what was measured in each round, and what it must be.
pub(super) struct Figure {
    pub(super) what: &'static str,
    pub(super) unit: &'static str,
    pub(super) bar: Bar,
    pub(super) values: Vec<f64>,
}

/// What a figure is held against.
#[derive(Clone, Copy)]
pub(super) enum Bar {
    AtLeast(f64),
    AtMost(f64),
    None,
}

/// The table of all rows; each is judged by its median.
pub(super) fn table(figures: &[Figure]) -> String {
    let mut text = String::from("| | median | least – most | bar | |\n|---|---:|---:|---:|---|\n");
    for figure in figures {
        let mut values = figure.values.clone();
        values.sort_by(f64::total_cmp);
        let (Some(least), Some(most)) = (values.first(), values.last()) else {
            let _ = writeln!(text, "| {} | not measured | | | |", figure.what);
            continue;
        };
        let median = values[values.len() / 2];
        let shown = |value: f64| if value < 20.0 { format!("{value:.2}") } else { format!("{value:.0}") };
        // A bar that was itself measured has more digits than it knows.
        let rounded = |bar: f64| (bar * 1000.0).round() / 1000.0;
        let (bar, met) = match figure.bar {
            Bar::AtLeast(bar) => (format!("≥ {}", rounded(bar)), Some(median >= bar)),
            Bar::AtMost(bar) => (format!("≤ {}", rounded(bar)), Some(median <= bar)),
            Bar::None => (String::new(), None),
        };
        let verdict = met.map_or("", |met| if met { "met" } else { "**missed**" });
        let (unit, what) = (figure.unit, figure.what);
        let _ = writeln!(
            text,
            "| {what} | {} {unit} | {} – {} | {bar} | {verdict} |",
            shown(median),
            shown(*least),
            shown(*most)
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_judged_by_its_median_and_one_that_is_absent_says_so() {
        let figure = |what, unit, bar, values| Figure { what, unit, bar, values };
        let text = table(&[
            figure("logins", "/s", Bar::AtLeast(30.0), vec![29.0, 31.0, 90.0]),
            figure("worse", "×", Bar::AtMost(2.0), vec![2.5, 1.0, 2.1]),
            figure("noise", "ms", Bar::AtMost(0.016_875_000_000_000_015), vec![0.01]),
            figure("elsewhere", "ms", Bar::None, Vec::new()),
        ]);
        assert!(text.contains("| logins | 31 /s | 29 – 90 | ≥ 30 | met |"), "{text}");
        assert!(text.contains("| 2.10 × | 1.00 – 2.50 | ≤ 2 | **missed** |"), "{text}");
        assert!(text.contains("| noise | 0.01 ms | 0.01 – 0.01 | ≤ 0.017 | met |"), "{text}");
        assert!(text.contains("elsewhere | not measured"), "{text}");
    }
}
