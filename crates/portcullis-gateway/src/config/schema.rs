//! The JSON Schema of the file, for editors.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::raw::Raw;

/// The JSON Schema (2020-12) of the configuration file, as text that ends in a newline.
#[must_use]
pub fn json_schema() -> String {
    let schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Raw>();
    let mut schema = Value::from(schema);
    tidy(&mut schema);
    let mut text = serde_json::to_string_pretty(&schema).expect("a JSON value has a text");
    text.push('\n');
    text
}

/// Every key is optional, and TOML has no null: what the schema of an optional value says of null is taken out again, and
/// so are empty lists of examples.
fn tidy(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.values_mut().for_each(tidy);
            if members.get("default").is_some_and(Value::is_null) {
                members.remove("default");
            }
            if members.get("examples").is_some_and(|examples| examples.as_array().is_some_and(Vec::is_empty)) {
                members.remove("examples");
            }
            if let Some(Value::Array(kinds)) = members.get_mut("type") {
                kinds.retain(|kind| kind != "null");
                if let [only] = kinds.as_slice() {
                    let only = only.clone();
                    members.insert("type".to_owned(), only);
                }
            }
            if let Some(Value::Array(choices)) = members.get_mut("enum") {
                choices.retain(|choice| !choice.is_null());
            }
            if let Some(Value::Array(choices)) = members.get_mut("anyOf") {
                choices.retain(|choice| choice.get("type").is_none_or(|kind| kind != "null"));
                if let [Value::Object(only)] = choices.as_slice() {
                    let only = only.clone();
                    members.remove("anyOf");
                    members.extend(only);
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(tidy),
        _ => {}
    }
}
