//! How much work a value can make.
//!
//! Where a schema refers to itself below several alternatives (`oneOf: [And, Or, Leaf]`, each with filters inside), every
//! level of a value is judged once for each of them: work grows by a power with depth, and depth is a client's choice. What
//! such a value would cost is estimated before it is judged.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

/// More alternatives than this at one place make no difference any more.
const MOST: u64 = 64;
/// A composition is not followed deeper.
const MOST_LEVELS: usize = 512;

/// By how much the work grows with each level of a value. One each: not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Growth {
    pub(super) objects: u64,
    pub(super) lists: u64,
}

impl Growth {
    pub(super) const NONE: Self = Self { objects: 1, lists: 1 };

    /// Of the whole of all schemas: that of those places that a value can come back to.
    pub(super) fn of(definitions: &Map<String, Value>) -> Self {
        let mut graph = Graph { definitions, places: HashMap::new(), order: Vec::new() };
        definitions.values().for_each(|definition| graph.place(definition));
        let mut next = 0;
        while let Some(schema) = graph.order.get(next).copied() {
            let place = graph.look(schema);
            place.below.iter().for_each(|below| graph.place(below));
            graph.places.insert(std::ptr::from_ref(schema) as usize, place);
            next += 1;
        }
        graph.recurring().fold(Self::NONE, |growth, place| {
            // What closes a composition asks its parts once more for the members that they know.
            let again = if place.asks_again { 2 } else { 1 };
            let growing = |parts: u64| if parts > 1 || again > 1 && parts > 0 { (parts * again).min(MOST) } else { 1 };
            Self { objects: growth.objects.max(growing(place.objects)), lists: growth.lists.max(growing(place.lists)) }
        })
    }

    /// What judging a value costs at most, in values that are looked at.
    pub(super) fn cost(self, value: &Value) -> u64 {
        match value {
            Value::Object(members) => {
                let below = members.values().fold(0_u64, |sum, member| sum.saturating_add(self.cost(member)));
                below.saturating_mul(self.objects).saturating_add(1)
            }
            Value::Array(list) => {
                let below = list.iter().fold(0_u64, |sum, item| sum.saturating_add(self.cost(item)));
                below.saturating_mul(self.lists).saturating_add(1)
            }
            _ => 1,
        }
    }
}

/// What applies to one place of a value.
#[derive(Debug, Default)]
struct Place<'s> {
    /// How many parts look at members, and at items.
    objects: u64,
    lists: u64,
    asks_again: bool,
    /// The schemas of what lies below.
    below: Vec<&'s Value>,
}

/// All places, by the address of their schema.
struct Graph<'s> {
    definitions: &'s Map<String, Value>,
    places: HashMap<usize, Place<'s>>,
    order: Vec<&'s Value>,
}

impl<'s> Graph<'s> {
    fn place(&mut self, schema: &'s Value) {
        let schema = self.behind(schema);
        if let std::collections::hash_map::Entry::Vacant(entry) = self.places.entry(std::ptr::from_ref(schema) as usize)
        {
            entry.insert(Place::default());
            self.order.push(schema);
        }
    }

    /// A schema that is nothing but a reference is the one that it refers to.
    fn behind(&self, schema: &'s Value) -> &'s Value {
        let mut schema = schema;
        for _ in 0..MOST_LEVELS {
            match self.referred(schema) {
                Some(next) if schema.as_object().is_some_and(|object| object.len() == 1) => schema = next,
                _ => break,
            }
        }
        schema
    }

    fn referred(&self, schema: &Value) -> Option<&'s Value> {
        self.definitions.get(schema.get("$ref")?.as_str()?.strip_prefix("#/$defs/")?)
    }

    /// Gathers all parts of a place.
    fn look(&self, schema: &'s Value) -> Place<'s> {
        let mut place = Place::default();
        let mut open = vec![schema];
        let mut seen = 0;
        while let Some(part) = open.pop() {
            seen += 1;
            if seen > MOST_LEVELS {
                place.objects = MOST;
                place.lists = MOST;
                break;
            }
            let under = |keyword: &str| part.get(keyword).into_iter();
            let each = |keyword: &str| part.get(keyword).and_then(Value::as_object).into_iter().flat_map(Map::values);
            let listed = |keyword: &str| part.get(keyword).and_then(Value::as_array).into_iter().flatten();
            let before = place.below.len();
            place.below.extend(each("properties").chain(each("patternProperties")));
            place.below.extend(["additionalProperties", "unevaluatedProperties"].into_iter().flat_map(under));
            place.objects += u64::from(place.below.len() > before);
            let before = place.below.len();
            place.below.extend(listed("prefixItems"));
            place.below.extend(["items", "contains", "unevaluatedItems"].into_iter().flat_map(under));
            place.lists += u64::from(place.below.len() > before);
            place.asks_again |= part.get("unevaluatedProperties").is_some() || part.get("unevaluatedItems").is_some();
            open.extend(self.referred(part));
            open.extend(["allOf", "anyOf", "oneOf"].into_iter().flat_map(listed));
            open.extend(["not", "if", "then", "else"].into_iter().flat_map(under));
            open.extend(each("dependentSchemas"));
        }
        place
    }

    /// The places that lie on a way back to themselves, or between two such: whatever leads nowhere, or is led to from nowhere,
    /// is taken away until nothing is.
    fn recurring(&self) -> impl Iterator<Item = &Place<'s>> {
        let address = |schema: &'s Value| std::ptr::from_ref(self.behind(schema)) as usize;
        let ways: HashMap<usize, HashSet<usize>> = self
            .places
            .iter()
            .map(|(at, place)| (*at, place.below.iter().map(|below| address(below)).collect()))
            .collect();
        let mut back: HashMap<usize, HashSet<usize>> = HashMap::new();
        for (from, all) in &ways {
            for to in all {
                back.entry(*to).or_default().insert(*from);
            }
        }
        let mut left: HashSet<usize> = ways.keys().copied().collect();
        for (onward, behind) in [(&ways, &back), (&back, &ways)] {
            let none = HashSet::new();
            let mut count: HashMap<usize, usize> =
                left.iter().map(|at| (*at, onward.get(at).unwrap_or(&none).intersection(&left).count())).collect();
            let mut gone: Vec<usize> = count.iter().filter(|(_, count)| **count == 0).map(|(at, _)| *at).collect();
            while let Some(at) = gone.pop() {
                left.remove(&at);
                for from in behind.get(&at).unwrap_or(&none) {
                    if let Some(count) = count.get_mut(from)
                        && left.contains(from)
                    {
                        *count -= 1;
                        if *count == 0 {
                            gone.push(*from);
                        }
                    }
                }
            }
        }
        self.places.iter().filter(move |(at, _)| left.contains(*at)).map(|(_, place)| place)
    }
}
