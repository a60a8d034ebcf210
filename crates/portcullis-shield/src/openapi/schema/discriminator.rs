//! Discriminators: the member of a value that says which schema it follows. An upstream will choose by it, so the schema that
//! it names must hold: a value that names one alternative and fits another would be checked by one rule and used by another.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::walk;
use crate::openapi::document::{Document, Part};
use crate::openapi::fault::Fault;
use crate::openapi::pointer;

/// Where schemas have names.
const SCHEMAS: &str = "/components/schemas";

/// The places of schemas by the values that name them.
type Targets = BTreeMap<String, String>;

/// What a discriminator says.
#[derive(Debug)]
pub(super) struct Choice<'d> {
    /// The member.
    property: &'d str,
    /// The place of the schema for each of its values.
    targets: Targets,
}

impl<'d> Choice<'d> {
    /// Of a schema with a discriminator and its alternatives; `None` where there is nothing to choose among by name.
    pub(super) fn among_alternatives(document: &'d Document, schema: &Part<'d>) -> Result<Option<Self>, Fault> {
        let Some((property, mapped)) = Self::declared(document, schema)? else { return Ok(None) };
        let lists = ["oneOf", "anyOf"].iter().filter_map(|keyword| schema.member(keyword));
        let alternatives: Vec<Part<'_>> = lists.flat_map(|list| list.elements()).collect();
        if alternatives.is_empty() {
            return Ok(None);
        }
        let mut targets = BTreeMap::new();
        for alternative in &alternatives {
            // One that has no name cannot be chosen by it; then the alternatives alone decide.
            let Some(reference) = alternative.value.get("$ref") else { return Ok(None) };
            let target = document.target(reference, &alternative.pointer)?;
            targets.insert(pointer::last(&target), target);
        }
        targets.extend(mapped);
        Ok(Some(Self { property, targets }))
    }

    /// Of a schema that others extend by `allOf`: itself, and those.
    pub(super) fn among_heirs(document: &'d Document, schema: &Part<'d>, heirs: &Heirs) -> Result<Option<Self>, Fault> {
        if schema.value.get("oneOf").is_some() || schema.value.get("anyOf").is_some() {
            return Ok(None);
        }
        let Some((property, mapped)) = Self::declared(document, schema)? else { return Ok(None) };
        let mut targets = Targets::new();
        let mut open = vec![schema.pointer.clone()];
        while let Some(parent) = open.pop() {
            for heir in heirs.of(&parent) {
                if targets.insert(pointer::last(heir), heir.clone()).is_none() {
                    open.push(heir.clone());
                }
            }
        }
        if targets.is_empty() && mapped.is_empty() {
            return Ok(None);
        }
        targets.insert(pointer::last(&schema.pointer), schema.pointer.clone());
        targets.extend(mapped);
        Ok(Some(Self { property, targets }))
    }

    fn declared(document: &'d Document, schema: &Part<'d>) -> Result<Option<(&'d str, Targets)>, Fault> {
        let Some(part) = schema.member("discriminator") else { return Ok(None) };
        let Some(property) = part.text("propertyName") else {
            return Err(part.fault("a discriminator has a \"propertyName\""));
        };
        let mut mapped = BTreeMap::new();
        let mapping = part.member("mapping");
        for (value, target) in mapping.iter().flat_map(Part::members) {
            let Some(text) = target.value.as_str() else { return Err(target.fault("it names a schema by a text")) };
            let named = pointer::join(SCHEMAS, &[text]);
            let pointer = if document.at(&named).is_some() {
                named
            } else if text.starts_with('#') {
                document.target(target.value, &target.pointer)?
            } else {
                return Err(target.fault(format!("there is no schema {text:?}")));
            };
            mapped.insert(value.to_owned(), pointer);
        }
        Ok(Some((property, mapped)))
    }

    /// What has to hold: the member is there, has one of the values, and the schema of its value holds.
    pub(super) fn rules(&self, place_of: &mut impl FnMut(&str) -> Value) -> Vec<Value> {
        let property = self.property;
        let values: Vec<&String> = self.targets.keys().collect();
        let mut rules = vec![json!({ "required": [property], "properties": { property: { "enum": values } } })];
        for (value, target) in &self.targets {
            rules.push(json!({
                "if": { "required": [property], "properties": { property: { "const": value } } },
                "then": { "$ref": place_of(target) },
            }));
        }
        rules
    }
}

/// Which named schemas extend which, by `allOf`.
#[derive(Debug, Default)]
pub(super) struct Heirs(BTreeMap<String, Vec<String>>);

impl Heirs {
    pub(super) fn of_document(document: &Document) -> Self {
        let mut heirs: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let schemas = document.at(SCHEMAS);
        for (_, schema) in schemas.iter().flat_map(Part::members) {
            let list = schema.member(walk::IN_PLACE_LISTS[0]);
            for part in list.iter().flat_map(Part::elements) {
                let target = part.value.get("$ref").and_then(|to| document.target(to, &part.pointer).ok());
                if let Some(target) = target {
                    heirs.entry(target).or_default().push(schema.pointer.clone());
                }
            }
        }
        Self(heirs)
    }

    fn of(&self, parent: &str) -> &[String] {
        self.0.get(parent).map_or(&[], Vec::as_slice)
    }
}
