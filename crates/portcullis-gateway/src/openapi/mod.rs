//! OpenAPI 3.1 documents of our own endpoints, made from the code: what there is comes from the lists that the routers are
//! made of, shapes from the types that are read and answered ([`schemars`]; JSON Schema 2020-12 is the dialect of OpenAPI
//! 3.1), and only words from a table beside the endpoints. What the gate or the guard in front may answer in an
//! endpoint's place is added to every operation by one function each.

mod document;
mod operation;

pub(crate) use document::{Frame, document};
pub(crate) use operation::{Operation, Parameter, in_path, in_query, json, media, nothing, operation, page};

/// The rows of these patterns in their order, which is that of the list of endpoints.
///
/// A pattern without a row is left out; tests find it.
pub(crate) fn rows<'a>(patterns: impl Iterator<Item = &'static str>, tables: &[&'a [Operation]]) -> Vec<&'a Operation> {
    let all: Vec<&Operation> = tables.iter().flat_map(|table| table.iter()).collect();
    patterns.filter_map(|pattern| all.iter().copied().find(|row| row.pattern == pattern)).collect()
}

/// Fails for an endpoint that no row describes, and for a row that describes no endpoint.
#[cfg(test)]
pub(crate) fn assert_complete(patterns: &[&'static str], tables: &[&[Operation]]) {
    use std::collections::BTreeSet;

    let told: Vec<&Operation> = tables.iter().flat_map(|table| table.iter()).collect();
    let described: BTreeSet<&str> = told.iter().map(|row| row.pattern).collect();
    let there: BTreeSet<&str> = patterns.iter().copied().collect();
    let missing: Vec<_> = there.difference(&described).collect();
    assert!(missing.is_empty(), "no row in the table describes {missing:?}");
    let stale: Vec<_> = described.difference(&there).collect();
    assert!(stale.is_empty(), "rows describe what is no endpoint: {stale:?}");
    assert_eq!(described.len(), told.len(), "an endpoint is described twice");
    let names: BTreeSet<&str> = told.iter().map(|row| row.id).collect();
    assert_eq!(names.len(), told.len(), "two operations have one name");
    for row in told {
        assert!(!row.summary.is_empty() && !row.answers.is_empty(), "{}", row.pattern);
        let (_, path) = row.parts();
        let holes: BTreeSet<&str> =
            path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
        let named: BTreeSet<&str> = row
            .parameters
            .iter()
            .filter(|parameter| parameter.place == "path")
            .map(|parameter| parameter.name)
            .collect();
        assert_eq!(holes, named, "the parameters in the path of {}", row.pattern);
    }
}
