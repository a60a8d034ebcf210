//! From the schemas of a document to JSON Schema 2020-12.
//!
//! A schema is needed in several forms: for requests, where members that only the server sets are refused, and for
//! answers; open to members that it does not name, or closed; as the whole of what a value must be, or as one part of
//! it. What closes a schema has to stand on the whole: closing a part would refuse what another part brings in.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::book::Draft;
use super::discriminator::Choice;
use super::walk;
use crate::openapi::document::{Part, Version};
use crate::openapi::fault::Fault;

/// Which way a value goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::openapi) enum Way {
    /// From a client: what is `readOnly` is refused.
    Request,
    /// From the upstream: what is `writeOnly` is refused.
    Response,
    /// It is only asked about (`not`, `if`), which must stay as it is written.
    Neither,
}

impl Way {
    /// What marks members that do not go this way.
    const fn mark(self) -> Option<&'static str> {
        match self {
            Self::Request => Some("readOnly"),
            Self::Response => Some("writeOnly"),
            Self::Neither => None,
        }
    }
}

/// In which form a schema is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Form {
    pub(super) way: Way,
    /// Whether members that it does not name are refused.
    pub(super) closed: bool,
    /// Whether it is all that applies to a value, and no part of something larger.
    pub(super) whole: bool,
}

impl Form {
    const fn whole(self) -> Self {
        Self { whole: true, ..self }
    }

    const fn part(self) -> Self {
        Self { whole: false, ..self }
    }

    /// What is asked about keeps its meaning only as it is written.
    const fn asked(whole: bool) -> Self {
        Self { way: Way::Neither, closed: false, whole }
    }
}

/// The keyword of ours that refuses a member, with the mark that says why.
pub(super) const REFUSED: &str = "x-portcullis-refused";

/// Keywords that are the same everywhere.
const COPIED: [&str; 17] = [
    "type",
    "enum",
    "const",
    "multipleOf",
    "maxLength",
    "minLength",
    "maxItems",
    "minItems",
    "uniqueItems",
    "maxContains",
    "minContains",
    "maxProperties",
    "minProperties",
    "dependentRequired",
    "format",
    "minimum",
    "maximum",
];

/// Keywords by which a schema would get a name of its own, or another dialect.
const IDENTITY: [&str; 6] = ["$id", "$anchor", "$dynamicAnchor", "$dynamicRef", "$recursiveAnchor", "$recursiveRef"];

/// Translates a schema into a form.
pub(super) fn translate(draft: &mut Draft<'_>, form: Form, schema: &Part<'_>) -> Value {
    let mut marked = BTreeSet::new();
    let mut names_members = false;
    let document = draft.document();
    let walked = walk::in_place(document, schema, &mut |part| {
        let properties = part.member("properties");
        for (name, property) in properties.iter().flat_map(Part::members) {
            names_members = true;
            if form.way.mark().is_some_and(|mark| walk::is_marked(document, &property, mark)) {
                marked.insert(name.to_owned());
            }
        }
        let patterns = part.value.get("patternProperties").and_then(Value::as_object);
        names_members |= patterns.is_some_and(|patterns| !patterns.is_empty());
    });
    if let Err(fault) = walked {
        draft.fault(fault);
        return Value::Bool(false);
    }
    let mut translated = Translation { draft, form, marked: &marked }.schema(schema, form.whole);
    let Value::Object(out) = &mut translated else { return translated };
    if form.whole
        && let Some(rules) = heirs(draft, form, schema)
    {
        push_all(out, rules);
    }
    if form.whole && form.closed && names_members {
        close(out);
    }
    translated
}

/// What a discriminator asks where its schema is the whole, and others extend it.
fn heirs(draft: &mut Draft<'_>, form: Form, schema: &Part<'_>) -> Option<Vec<Value>> {
    match Choice::among_heirs(draft.document(), schema, &draft.heirs()) {
        Ok(choice) => choice.map(|choice| choice.rules(&mut |target| draft.place(target, form.part()))),
        Err(fault) => {
            draft.fault(fault);
            None
        }
    }
}

/// Refuses members that nothing in the schema names, unless it says itself what becomes of them.
fn close(out: &mut Map<String, Value>) {
    let speaks = ["additionalProperties", "unevaluatedProperties"].iter().any(|keyword| out.contains_key(*keyword));
    // A schema that is nothing but a reference is closed where it leads to.
    if speaks || (out.len() == 1 && out.contains_key("$ref")) {
        return;
    }
    let composed = ["$ref", "allOf", "anyOf", "oneOf", "if", "then", "else", "dependentSchemas"];
    let keyword = if composed.iter().any(|keyword| out.contains_key(*keyword)) {
        "unevaluatedProperties"
    } else {
        "additionalProperties"
    };
    out.insert(keyword.to_owned(), Value::Bool(false));
}

fn push_all(out: &mut Map<String, Value>, rules: Vec<Value>) {
    if let Value::Array(list) = out.entry("allOf").or_insert_with(|| Value::Array(Vec::new())) {
        list.extend(rules);
    }
}

struct Translation<'t, 'd> {
    draft: &'t mut Draft<'d>,
    form: Form,
    /// Members that do not go this way: nobody can be asked for them.
    marked: &'t BTreeSet<String>,
}

impl Translation<'_, '_> {
    fn schema(&mut self, schema: &Part<'_>, whole: bool) -> Value {
        let object = match schema.value {
            Value::Bool(value) => return Value::Bool(*value),
            Value::Object(object) => object,
            _ => {
                self.draft.fault(schema.fault("a schema is an object"));
                return Value::Bool(false);
            }
        };
        let old = self.draft.document().version == Version::V30;
        if !old {
            self.refuse_identity(schema);
        }
        let mut out = Map::new();
        if let Some(reference) = object.get("$ref") {
            let alone = old || object.keys().all(|key| key == "$ref" || is_remark(key));
            let form = if alone && whole { self.form.whole() } else { self.form.part() };
            match self.draft.document().target(reference, &schema.pointer) {
                Ok(target) => drop(out.insert("$ref".to_owned(), self.draft.place(&target, form))),
                Err(fault) => {
                    self.draft.fault(fault);
                    return Value::Bool(false);
                }
            }
            if alone {
                return Value::Object(out);
            }
        }
        for (keyword, part) in schema.members() {
            self.keyword(keyword, &part, &mut out);
        }
        if object.contains_key("discriminator") {
            let form = self.form.part();
            match Choice::among_alternatives(self.draft.document(), schema) {
                Ok(None) => {}
                Ok(Some(choice)) => {
                    // What the value names is asked of it; that another alternative would take it too is no harm.
                    out.remove("oneOf");
                    out.remove("anyOf");
                    let rules = choice.rules(&mut |target| self.draft.place(target, form));
                    push_all(&mut out, rules);
                }
                Err(fault) => self.draft.fault(fault),
            }
        }
        bounds(object, &mut out);
        if old { nullable(object, out) } else { Value::Object(out) }
    }

    fn keyword(&mut self, keyword: &str, part: &Part<'_>, out: &mut Map<String, Value>) {
        let value = match keyword {
            "properties" => self.each(part, |this, property| {
                let mark = this.form.way.mark().filter(|mark| walk::is_marked(this.draft.document(), property, mark));
                match mark {
                    Some(mark) => json!({ REFUSED: mark }),
                    None => this.inner(property, this.form.whole()),
                }
            }),
            "patternProperties" => {
                part.members().for_each(|(pattern, at)| self.draft.pattern(pattern, &at.pointer));
                self.each(part, |this, property| this.inner(property, this.form.whole()))
            }
            "dependentSchemas" => self.each(part, |this, schema| this.schema(schema, false)),
            "additionalProperties" | "unevaluatedProperties" | "items" | "unevaluatedItems" => {
                self.inner(part, self.form.whole())
            }
            "propertyNames" => self.inner(part, Form::asked(true)),
            "contains" => self.inner(part, Form::asked(true)),
            "prefixItems" => self.list(part, |this, item| this.inner(item, this.form.whole())),
            "allOf" | "anyOf" | "oneOf" => self.list(part, |this, item| this.schema(item, false)),
            "then" | "else" => self.schema(part, false),
            "not" | "if" => self.inner(part, Form::asked(false)),
            "required" => self.required(part),
            "pattern" => {
                if let Some(pattern) = part.value.as_str() {
                    self.draft.pattern(pattern, &part.pointer);
                }
                part.value.clone()
            }
            // In 3.0 it is a truth beside the bound.
            "exclusiveMinimum" | "exclusiveMaximum" if part.value.is_boolean() => return,
            "exclusiveMinimum" | "exclusiveMaximum" => part.value.clone(),
            _ if COPIED.contains(&keyword) => part.value.clone(),
            _ => return,
        };
        out.insert(keyword.to_owned(), value);
    }

    /// A schema of another place, or of another form: what is required there is its own affair.
    fn inner(&mut self, schema: &Part<'_>, form: Form) -> Value {
        let composed = schema.value.as_object().is_some_and(|object| object.keys().any(|key| !is_plain(key)));
        if composed {
            return translate(self.draft, form, schema);
        }
        Translation { draft: self.draft, form, marked: &BTreeSet::new() }.schema(schema, form.whole)
    }

    fn each(&mut self, part: &Part<'_>, mut make: impl FnMut(&mut Self, &Part<'_>) -> Value) -> Value {
        if !part.value.is_object() {
            return part.value.clone();
        }
        let members = part.members();
        members.map(|(name, member)| (name.to_owned(), make(self, &member))).collect::<Map<_, _>>().into()
    }

    fn list(&mut self, part: &Part<'_>, mut make: impl FnMut(&mut Self, &Part<'_>) -> Value) -> Value {
        if !part.value.is_array() {
            return part.value.clone();
        }
        part.elements().map(|element| make(self, &element)).collect()
    }

    /// What only the other side sets cannot be required of this one.
    fn required(&self, part: &Part<'_>) -> Value {
        let Value::Array(names) = part.value else { return part.value.clone() };
        let stays = |name: &&Value| !name.as_str().is_some_and(|name| self.marked.contains(name));
        names.iter().filter(stays).cloned().collect()
    }

    fn refuse_identity(&mut self, schema: &Part<'_>) {
        for keyword in IDENTITY {
            if let Some(part) = schema.member(keyword) {
                let fault = part.fault(format!("{keyword} is not read here"));
                self.draft.fault(fault.hint("refer to schemas by their place: \"#/components/schemas/NAME\""));
            }
        }
        if let Some(part) = schema.member("$schema") {
            dialect(&part).unwrap_or_else(|fault| self.draft.fault(fault));
        }
    }
}

/// Whether a keyword neither composes a schema nor speaks of members, so that a schema of such keywords needs no look around.
fn is_plain(keyword: &str) -> bool {
    let exclusive = ["exclusiveMinimum", "exclusiveMaximum", "pattern", "nullable", "items"];
    COPIED.contains(&keyword) || exclusive.contains(&keyword) || is_remark(keyword)
}

/// The dialects that are read: JSON Schema 2020-12, by its own name or by that of OpenAPI 3.1.
pub(in crate::openapi) fn dialect(part: &Part<'_>) -> Result<(), Fault> {
    let known = ["https://json-schema.org/draft/2020-12/schema", "https://spec.openapis.org/oas/3.1/dialect/"];
    if part.value.as_str().is_some_and(|text| known.iter().any(|known| text.starts_with(known))) {
        return Ok(());
    }
    let fault = part.fault("this dialect of JSON Schema is not read here");
    Err(fault.hint("https://json-schema.org/draft/2020-12/schema is what there is"))
}

/// Whether a keyword beside a `$ref` says nothing about values.
fn is_remark(keyword: &str) -> bool {
    matches!(
        keyword,
        "title"
            | "description"
            | "summary"
            | "deprecated"
            | "example"
            | "examples"
            | "default"
            | "readOnly"
            | "writeOnly"
            | "externalDocs"
            | "xml"
            | "$comment"
    ) || keyword.starts_with("x-")
}

/// Bounds that stand beside a truth (3.0), and those that a format of integers implies.
fn bounds(object: &Map<String, Value>, out: &mut Map<String, Value>) {
    for (bound, exclusive) in [("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")] {
        if object.get(exclusive) == Some(&Value::Bool(true))
            && let Some(value) = out.remove(bound)
        {
            out.insert(exclusive.to_owned(), value);
        }
    }
    let (least, most) = match object.get("format").and_then(Value::as_str) {
        Some("int32") => (i64::from(i32::MIN), i64::from(i32::MAX)),
        Some("int64") => (i64::MIN, i64::MAX),
        _ => return,
    };
    // Both hold, whichever is tighter.
    push_all(out, vec![json!({ "minimum": least, "maximum": most })]);
}

/// `null` where a schema of 3.0 takes it. Beside a `type` it is one more; what is composed of others takes it beside them,
/// which the standard leaves open and generators of documents mean.
fn nullable(object: &Map<String, Value>, mut out: Map<String, Value>) -> Value {
    if object.get("nullable") != Some(&Value::Bool(true)) {
        return Value::Object(out);
    }
    let composed = ["allOf", "anyOf", "oneOf"].iter().any(|keyword| out.contains_key(*keyword));
    match out.get_mut("type") {
        Some(Value::Array(list)) => list.push("null".into()),
        Some(one) => *one = json!([one, "null"]),
        None if composed => return json!({ "anyOf": [{ "type": "null" }, out] }),
        None => {}
    }
    Value::Object(out)
}
