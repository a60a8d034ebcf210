//! What a request costs a limit.

use http::{HeaderMap, HeaderName, Method};

use crate::limits::LimitRule;
use crate::pattern::Pattern;
use crate::table::PatternTable;

/// What a request costs a limit, in units of its quota.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cost {
    /// Each the same.
    Fixed(u64),
    /// By the request: the most specific pattern that covers it says. What costs nothing is not counted at all.
    ByRequest {
        /// Which requests cost how much.
        requests: Vec<(Pattern, u64)>,
        /// What all others cost.
        otherwise: u64,
    },
    /// By a header of the answer. The most is charged first, so that requests at once cannot pass together, and what the
    /// answer did not cost is given back when its head is there.
    Told {
        /// The header: a whole number. Anything else in it, or more than one of it, costs the most.
        header: HeaderName,
        /// The most that a request costs, whatever the header says.
        at_most: u64,
        /// What an answer without the header costs, and what is refused before it is forwarded.
        otherwise: u64,
    },
}

impl Cost {
    /// The most that any request costs.
    #[must_use]
    pub fn most(&self) -> u64 {
        match self {
            Self::Fixed(cost) => *cost,
            Self::ByRequest { requests, otherwise } => {
                requests.iter().map(|(_, cost)| *cost).fold(*otherwise, u64::max)
            }
            Self::Told { at_most, otherwise, .. } => *at_most.max(otherwise),
        }
    }

    /// What an answer with these headers costs; `None` where they do not matter.
    pub(crate) fn told(&self, headers: &HeaderMap) -> Option<u64> {
        let Self::Told { header, at_most, otherwise } = self else { return None };
        let mut values = headers.get_all(header).iter();
        let cost = match (values.next(), values.next()) {
            (None, _) => *otherwise,
            // Whoever cannot be understood has cost the most: a limit does not open because an upstream stammers.
            (Some(value), None) => value.to_str().ok().and_then(number).unwrap_or(u64::MAX),
            (Some(_), Some(_)) => u64::MAX,
        };
        Some(cost.min(*at_most))
    }
}

/// A whole number in decimal digits and nothing else: no sign, no list.
fn number(text: &str) -> Option<u64> {
    let text = text.trim_matches([' ', '\t']);
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

impl LimitRule {
    /// Whether it counts requests of this method to this path: it covers them, and they cost something.
    #[must_use]
    pub fn counts(&self, method: &Method, path: &str) -> bool {
        let mut covered = PatternTable::new(true);
        for pattern in &self.patterns {
            covered.insert(pattern, ());
        }
        let cost = CostTable::of(&self.cost).map_or_else(|| self.cost.most(), |table| table.cost(method, path));
        cost > 0 && covered.find(method, path).is_some()
    }
}

/// Costs by request, ready to be asked.
#[derive(Clone, Debug)]
pub(crate) struct CostTable {
    requests: PatternTable<u64>,
    otherwise: u64,
}

impl CostTable {
    /// `None` where the request does not matter.
    pub(crate) fn of(cost: &Cost) -> Option<Self> {
        let Cost::ByRequest { requests: written, otherwise } = cost else { return None };
        // As with the limits themselves: a price must not be dodged by another letter case or a trailing slash.
        let mut requests = PatternTable::new(true);
        for (pattern, cost) in written {
            requests.insert(pattern, *cost);
        }
        Some(Self { requests, otherwise: *otherwise })
    }

    pub(crate) fn cost(&self, method: &Method, path: &str) -> u64 {
        self.requests.find(method, path).unwrap_or(self.otherwise)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn l6_what_a_header_says_beyond_a_plain_number_costs_the_most() {
        let cost = Cost::Told { header: HeaderName::from_static("x-rows"), at_most: 100, otherwise: 3 };
        let told = |values: &[&'static [u8]]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("x-rows", HeaderValue::from_bytes(value).unwrap());
            }
            cost.told(&headers).unwrap()
        };
        for (value, expected) in [("0", 0), ("7", 7), ("007", 7), (" 7\t", 7), ("100", 100), ("101", 100)] {
            assert_eq!(told(&[value.as_bytes()]), expected, "{value:?}");
        }
        for garbage in [
            "",
            "-1",
            "+1",
            "1.0",
            "1e1",
            "0x1",
            "1,2",
            "1 2",
            "one",
            "\u{661}",
            "18446744073709551616",
            "NaN",
            "\u{a0}1",
        ] {
            assert_eq!(told(&[garbage.as_bytes()]), 100, "{garbage:?}");
        }
        assert_eq!(told(&[b"\xff"]), 100);
        assert_eq!(told(&[b"1", b"1"]), 100, "which of them?");
        assert_eq!(told(&[]), 3);
        assert_eq!(Cost::Fixed(1).told(&HeaderMap::new()), None);
    }
}
