//! What the samples say: medians, ranges, ratios within a round, and whether the bars hold.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::Absent;
use super::measure::Sample;
use super::work::Work;

/// All samples of a run: by workload and proxy, one for each round.
#[derive(Debug, Default)]
pub(crate) struct Samples(BTreeMap<(&'static str, String), Vec<Sample>>);

impl Samples {
    pub(crate) fn add(&mut self, work: &'static str, peer: &str, sample: Sample) {
        self.0.entry((work, peer.to_owned())).or_default().push(sample);
    }

    fn of(&self, work: &'static str, peer: &str) -> &[Sample] {
        self.0.get(&(work, peer.to_owned())).map_or(&[], Vec::as_slice)
    }

    /// The ratio of the CPU times of two lines, round by round.
    fn ratio(&self, bar: &Bar) -> Option<Spread> {
        let above = self.of(bar.of.0, bar.of.1);
        let below = self.of(bar.to.0, bar.to.1);
        Spread::of(above.iter().zip(below).map(|(above, below)| above.cpu / below.cpu))
    }

    /// The ratio of a proxy to ours in the same workload, round by round.
    fn to_ours(&self, work: &'static str, peer: &str) -> Option<Spread> {
        let ours = self.of(work, "Portcullis");
        Spread::of(self.of(work, peer).iter().zip(ours).map(|(theirs, ours)| theirs.cpu / ours.cpu))
    }
}

/// A median with its range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Spread {
    pub(crate) fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let (&least, &most) = (values.first()?, values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 };
        Some(Self { median, least, most })
    }

    fn shown(&self, digits: usize) -> String {
        format!("{:.digits$} ({:.digits$}–{:.digits$})", self.median, self.least, self.most)
    }
}

/// What must hold between two lines of the tables.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bar {
    of: (&'static str, &'static str),
    to: (&'static str, &'static str),
    most: f64,
}

/// What the tables call our own proxy.
pub(crate) const OURS: &str = "Portcullis";

/// The bars of the project. A ratio is of CPU times within one round.
pub(crate) const BARS: &[Bar] = &[
    bar("W1", OURS, "W1", "nginx", 1.0),
    bar("W1", OURS, "W1", "haproxy", 1.0),
    bar("W2", OURS, "W1", OURS, 1.15),
    bar("W2", OURS, "W2", "haproxy", 0.25),
    bar("W2", OURS, "W2", "envoy", 0.25),
    bar("W2-cold", OURS, "W2-cold", "haproxy", 0.7),
    bar("W3", OURS, "W3", "nginx", 1.0),
    bar("W4-post", OURS, "W4-post", "nginx", 1.1),
    bar("W4-get", OURS, "W4-get", "nginx", 1.1),
    bar("W6-routes", OURS, "W2", OURS, 1.1),
    bar("W6-users", OURS, "W6-base", OURS, 1.1),
    bar("W6-active", OURS, "W6-base", OURS, 1.1),
];

const fn bar(work: &'static str, peer: &'static str, to_work: &'static str, to_peer: &'static str, most: f64) -> Bar {
    Bar { of: (work, peer), to: (to_work, to_peer), most }
}

/// The tables as Markdown.
pub(crate) fn tables(works: &[Work], peers: &[String], samples: &Samples, absent: &[Absent]) -> String {
    let mut text = String::new();
    for work in works {
        let _ = writeln!(
            text,
            "### {}: {}\n\n| proxy | CPU µs per request | × Portcullis | answers/s | p50 µs | p99 µs | peak RSS MiB | unexpected |\n\
             |---|---:|---:|---:|---:|---:|---:|---:|",
            work.id, work.title
        );
        for peer in peers {
            if work.special.is_none()
                && let Some(absent) = absent.iter().find(|absent| absent.name == *peer && absent.work == work.id)
            {
                let _ = writeln!(text, "| {peer} | {} | | | | | | |", absent.why);
            }
            let rows = samples.of(work.id, peer);
            let spread = |value: fn(&Sample) -> f64| Spread::of(rows.iter().map(value));
            let Some(cpu) = spread(|row| row.cpu) else { continue };
            let median = |value: fn(&Sample) -> f64| spread(value).map_or(0.0, |spread| spread.median);
            let _ = writeln!(
                text,
                "| {peer} | {} | {} | {:.0} | {:.0} | {:.0} | {:.0} | {} |",
                cpu.shown(1),
                samples.to_ours(work.id, peer).map_or_else(String::new, |ratio| ratio.shown(2)),
                median(|row| row.per_second),
                median(|row| row.p50),
                median(|row| row.p99),
                median(|row| row.memory),
                rows.iter().map(|row| work.unexpected(row)).sum::<u64>(),
            );
        }
        text.push('\n');
    }
    text
}

/// The bars as Markdown; those that nothing was measured for are left out.
pub(crate) fn bars(samples: &Samples) -> String {
    let mut text = String::from("| CPU time of | over that of | at most | measured | |\n|---|---|---:|---:|---|\n");
    for bar in BARS {
        let Some(ratio) = samples.ratio(bar) else { continue };
        let held = if ratio.median <= bar.most { "holds" } else { "**missed**" };
        let _ = writeln!(
            text,
            "| {} {} | {} {} | {:.2} | {} | {held} |",
            bar.of.1,
            bar.of.0,
            bar.to.1,
            bar.to.0,
            bar.most,
            ratio.shown(2)
        );
    }
    text
}

/// The chart for the README: CPU time of the full defence, a bar for each proxy.
pub(crate) fn chart(work: &Work, peers: &[String], samples: &Samples) -> String {
    let mut rows: Vec<(&str, f64)> = peers
        .iter()
        .filter_map(|peer| {
            Some((peer.as_str(), Spread::of(samples.of(work.id, peer).iter().map(|row| row.cpu))?.median))
        })
        .collect();
    rows.sort_by(|(_, one), (_, other)| one.total_cmp(other));
    let most = rows.iter().map(|(_, cpu)| *cpu).fold(1.0, f64::max);
    let height = 50 + 30 * rows.len();
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 760 {height}\" font-family=\"sans-serif\" font-size=\"14\">\n\
         <rect width=\"760\" height=\"{height}\" fill=\"#ffffff\"/>\n\
         <text x=\"12\" y=\"26\" font-weight=\"bold\">CPU µs per request, {}; less is better</text>\n",
        work.title
    );
    for (index, (name, cpu)) in rows.iter().enumerate() {
        let y = 40 + 30 * index;
        let width = (cpu / most * 440.0).max(2.0);
        let colour = if *name == OURS { "#1a7f5a" } else { "#8a93a0" };
        let _ = writeln!(
            text,
            "<text x=\"12\" y=\"{}\">{name}</text><rect x=\"220\" y=\"{y}\" width=\"{width:.1}\" height=\"20\" fill=\"{colour}\"/>\
             <text x=\"{:.1}\" y=\"{}\">{cpu:.1}</text>",
            y + 15,
            228.0 + width,
            y + 15
        );
    }
    text.push_str("</svg>\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(cpu: f64) -> Sample {
        Sample { cpu, per_second: 1.0, p50: 1.0, p99: 1.0, memory: 1.0, requests: 10, refused: 0, broken: 0 }
    }

    #[test]
    fn a_median_stands_between_its_range() {
        let spread = Spread::of([3.0, 1.0, 2.0, 10.0].into_iter()).unwrap();
        assert_eq!(spread, Spread { median: 2.5, least: 1.0, most: 10.0 });
        assert_eq!(Spread::of(std::iter::empty()), None);
        assert_eq!(Spread::of([f64::NAN].into_iter()), None);
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let mut samples = Samples::default();
        for (ours, theirs) in [(10.0, 20.0), (30.0, 30.0), (8.0, 10.0)] {
            samples.add("W1", OURS, sample(ours));
            samples.add("W1", "nginx", sample(theirs));
        }
        let ratio = samples.ratio(&BARS[0]).unwrap();
        assert_eq!((ratio.median, ratio.least, ratio.most), (0.8, 0.5, 1.0));
        assert!(bars(&samples).contains("holds"));
        assert!(samples.ratio(&BARS[1]).is_none(), "nothing was measured for it");
    }
}
