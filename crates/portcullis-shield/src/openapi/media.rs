//! Ranges of media types, as a document names what it takes.

use crate::media::MediaType;

/// A media type or a range of them, as a document names what it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Range {
    essence: String,
    parameters: Vec<(String, String)>,
}

impl Range {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (essence, parameters) = MediaType::parse(text)?.into_parts();
        let parameters = parameters.into_iter().filter(|(name, _)| name != "charset");
        Some(Self { essence, parameters: parameters.map(|(name, value)| (name, value.into_owned())).collect() })
    }

    /// The more of it is said, the sooner it is asked.
    pub(super) fn precision(&self) -> usize {
        match (self.essence.as_str(), self.essence.ends_with("/*")) {
            ("*/*", _) => 0,
            (_, true) => 1,
            _ => 2 + self.parameters.len(),
        }
    }

    pub(super) fn covers(&self, media: &MediaType<'_>) -> bool {
        let essence = match self.essence.strip_suffix('*') {
            Some("*/") => true,
            Some(kind) => media.essence.starts_with(kind),
            None => self.essence == media.essence,
        };
        essence && self.parameters.iter().all(|(name, value)| media.parameter(name) == Some(value))
    }

    pub(super) fn essence(&self) -> &str {
        &self.essence
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_cover_by_what_they_say() {
        let covers = |range: &str, text: &str| Range::parse(range).unwrap().covers(&MediaType::parse(text).unwrap());
        assert!(covers("application/json", "application/json; charset=utf-8"));
        assert!(covers("application/json; charset=utf-8", "application/json"));
        assert!(covers("text/*", "text/html") && !covers("text/*", "textual/html"));
        assert!(covers("*/*", "image/png"));
        assert!(
            covers("application/x; v=1", "application/x; v=1") && !covers("application/x; v=1", "application/x; v=2")
        );
        assert!(!covers("application/json", "application/problem+json"));
        let mut ranges = ["*/*", "text/*", "text/plain", "text/plain; v=1"].map(|text| Range::parse(text).unwrap());
        ranges.sort_by_key(|range| std::cmp::Reverse(range.precision()));
        assert_eq!(ranges.map(|range| range.precision()), [3, 2, 1, 0]);
    }
}
