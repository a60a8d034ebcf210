//! What a document asks for, with its fragments expanded.

use std::collections::HashMap;

use apollo_parser::Parser;
use apollo_parser::cst::{
    CstChildren, Definition, Field, FragmentDefinition, OperationDefinition, Selection, SelectionSet, Value as Literal,
};
use portcullis_core::Reason;
use serde_json::{Map, Value};

use super::broken;

/// How deeply selection sets may be nested before the parser gives up, and with it whatever walks them.
const NESTED: usize = 200;

/// Arguments that name a number of items.
const COUNTS: [&str; 4] = ["first", "last", "limit", "take"];

/// A document that was read whole.
pub(super) struct Document {
    operations: Vec<Operation>,
    fragments: HashMap<String, FragmentDefinition>,
}

/// One operation of it.
pub(super) struct Operation(OperationDefinition);

/// What an operation asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Weight {
    pub(super) depth: u64,
    pub(super) fields: u64,
    pub(super) aliases: u64,
    pub(super) introspects: bool,
}

impl Weight {
    /// Both together.
    fn and(self, other: Self) -> Self {
        Self {
            depth: self.depth.max(other.depth),
            fields: self.fields.saturating_add(other.fields),
            aliases: self.aliases.saturating_add(other.aliases),
            introspects: self.introspects || other.introspects,
        }
    }
}

impl Document {
    /// Reads a document of at most so many tokens.
    pub(super) fn read(text: &str, tokens: usize) -> Result<Self, Reason> {
        let tree = Parser::new(text).recursion_limit(NESTED).token_limit(tokens).parse();
        if tree.errors().any(apollo_parser::Error::is_limit) {
            return Err(broken(
                "tokens",
                &format!("a document may have at most {tokens} tokens, and not nest without end"),
            ));
        }
        if tree.errors().next().is_some() {
            return Err(Reason::InvalidBody("the query is not a GraphQL document"));
        }
        let (mut operations, mut fragments) = (Vec::new(), HashMap::new());
        for definition in tree.document().definitions() {
            match definition {
                Definition::OperationDefinition(operation) => operations.push(Operation(operation)),
                Definition::FragmentDefinition(fragment) => {
                    let name =
                        fragment.fragment_name().and_then(|name| name.name()).map(|name| name.text().to_string());
                    if name.is_none_or(|name| fragments.insert(name, fragment).is_some()) {
                        return Err(Reason::InvalidBody("the query defines two fragments of one name"));
                    }
                }
                _ => return Err(Reason::InvalidBody("the query defines types, which only a schema may")),
            }
        }
        if operations.is_empty() {
            return Err(Reason::InvalidBody("the query has no operation"));
        }
        Ok(Self { operations, fragments })
    }

    pub(super) fn operations(&self) -> impl Iterator<Item = &Operation> {
        self.operations.iter()
    }

    /// Weighs one operation.
    pub(super) fn weigh(
        &self,
        operation: &Operation,
        variables: Option<&Map<String, Value>>,
    ) -> Result<Weight, Reason> {
        let counts = operation.counts(variables);
        let mut scale = Scale { fragments: &self.fragments, counts, weighed: HashMap::new() };
        operation.0.selection_set().map_or(Ok(Weight::default()), |set| scale.set(&set))
    }
}

impl Operation {
    /// Whether it only reads.
    pub(super) fn is_query(&self) -> bool {
        self.0.operation_type().is_none_or(|kind| kind.query_token().is_some())
    }

    /// The variables that hold a whole number, by name: as they were sent, or by default.
    fn counts(&self, variables: Option<&Map<String, Value>>) -> HashMap<String, u64> {
        let mut counts = HashMap::new();
        for definition in self.0.variable_definitions().iter().flat_map(|list| list.variable_definitions()) {
            let Some(name) = definition.variable().and_then(|variable| variable.name()) else { continue };
            let name = name.text().to_string();
            let sent = variables.and_then(|variables| variables.get(&name));
            let count = match sent {
                Some(value) => sent_count(value),
                None => definition.default_value().and_then(|default| whole(default.value()?)),
            };
            counts.extend(count.map(|count| (name, count)));
        }
        counts
    }
}

/// What is on the way of being weighed.
struct Scale<'a> {
    fragments: &'a HashMap<String, FragmentDefinition>,
    counts: HashMap<String, u64>,
    /// `None` while a fragment is being weighed: whoever meets it again has gone round in a circle.
    weighed: HashMap<String, Option<Weight>>,
}

impl Scale<'_> {
    fn set(&mut self, set: &SelectionSet) -> Result<Weight, Reason> {
        self.all(set.selections())
    }

    fn all(&mut self, selections: CstChildren<Selection>) -> Result<Weight, Reason> {
        let mut sum = Weight::default();
        for selection in selections {
            sum = sum.and(match selection {
                Selection::Field(field) => self.field(&field)?,
                Selection::InlineFragment(inline) => match inline.selection_set() {
                    Some(set) => self.set(&set)?,
                    None => Weight::default(),
                },
                Selection::FragmentSpread(spread) => {
                    let name = spread.fragment_name().and_then(|name| name.name());
                    self.fragment(name.map(|name| name.text().to_string()).unwrap_or_default())?
                }
            });
        }
        Ok(sum)
    }

    fn field(&mut self, field: &Field) -> Result<Weight, Reason> {
        let name = field.name();
        let name = name.as_ref().map(|name| name.text());
        let below = field.selection_set().map_or(Ok(Weight::default()), |set| self.set(&set))?;
        let times = if field.selection_set().is_some() { self.times(field) } else { 1 };
        Ok(Weight {
            depth: below.depth + 1,
            fields: below.fields.saturating_mul(times).saturating_add(1),
            aliases: below.aliases + u64::from(field.alias().is_some()),
            introspects: below.introspects || name.is_some_and(|name| matches!(&*name, "__schema" | "__type")),
        })
    }

    fn fragment(&mut self, name: String) -> Result<Weight, Reason> {
        if let Some(known) = self.weighed.get(&name) {
            return known.ok_or(Reason::InvalidBody("fragments of the query spread each other in a circle"));
        }
        let Some(fragment) = self.fragments.get(&name) else {
            return Err(Reason::InvalidBody("the query spreads a fragment that it does not define"));
        };
        self.weighed.insert(name.clone(), None);
        let weight = fragment.selection_set().map_or(Ok(Weight::default()), |set| self.set(&set))?;
        self.weighed.insert(name, Some(weight));
        Ok(weight)
    }

    /// How many items a field asks for: the most that an argument names, and one where none does.
    fn times(&self, field: &Field) -> u64 {
        let arguments = field.arguments();
        let counts = arguments.iter().flat_map(|list| list.arguments()).filter_map(|argument| {
            let name = argument.name()?;
            if !COUNTS.contains(&&*name.text()) {
                return None;
            }
            match argument.value()? {
                Literal::Variable(variable) => self.counts.get(&*variable.name()?.text()).copied(),
                literal => whole(literal),
            }
        });
        counts.max().unwrap_or(1).max(1)
    }
}

/// The number of items that a variable's value says. Servers take `1e5` and `100000.0` for the whole number that it is, and
/// some of them a text that holds it; what is too large for a number is larger than every bound.
fn sent_count(value: &Value) -> Option<u64> {
    let text = match value {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.trim().to_owned(),
        _ => return None,
    };
    text.parse().ok().or_else(|| {
        let most = text.parse::<f64>().ok().filter(|number| *number > 0.0)?;
        // Without a fraction its digits are those of a whole number, and one more than there is room for is too large.
        Some(format!("{:.0}", most.ceil()).parse().unwrap_or(u64::MAX))
    })
}

/// A literal that is a whole number; one that is too large for a number is larger than every bound.
fn whole(literal: Literal) -> Option<u64> {
    let Literal::IntValue(number) = literal else { return None };
    let text = number.int_token()?;
    let text = text.text();
    (!text.starts_with('-')).then(|| text.parse().unwrap_or(u64::MAX))
}
