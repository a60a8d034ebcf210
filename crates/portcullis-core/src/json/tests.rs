use proptest::prelude::*;
use serde_json::json;

use super::*;

const RULES: Reading = Reading { depth: 4, values: 40, numbers: Numbers::Exact };

fn why(text: impl AsRef<[u8]>) -> Option<(Wrong, usize)> {
    read(text.as_ref(), RULES).err().map(|Unreadable { why, at }| (why, at))
}

#[test]
fn what_can_be_read_in_one_way_is_read() {
    for (text, value) in [
        ("{}", json!({})),
        (" [ ] \r\n\t", json!([])),
        ("null", json!(null)),
        ("\"\"", json!("")),
        (
            r#"{"a":1,"b":[true,false,null,{"c":"d"}],"":-1.5e3}"#,
            json!({"a":1,"b":[true,false,null,{"c":"d"}],"":-1500.0}),
        ),
        (r#""\"\\\/\b\f\n\r\t\u0041\u00e9\ud83d\ude00\u0000""#, json!("\"\\/\u{8}\u{c}\n\r\tA\u{e9}\u{1f600}\0")),
        ("\"grün 😀 \u{7f}\"", json!("grün 😀 \u{7f}")),
        ("9007199254740991", json!(9_007_199_254_740_991_u64)),
        ("-9007199254740991", json!(-9_007_199_254_740_991_i64)),
        ("[[[[0]]]]", json!([[[[0]]]])),
    ] {
        assert_eq!(read(text.as_bytes(), RULES), Ok(value), "{text}");
    }
}

#[test]
fn h4_what_two_readers_could_read_differently_is_refused_with_its_place() {
    for (text, wrong) in [
        ("", (Wrong::Empty, 0)),
        (" \n", (Wrong::Empty, 2)),
        ("\u{feff}{}", (Wrong::ByteOrderMark, 0)),
        (r#"{"a":1,"a":1}"#, (Wrong::Duplicate, 7)),
        (r#"{"a":1,"\u0061":2}"#, (Wrong::Duplicate, 7)),
        (r#"{"é":1,"\u00e9":2}"#, (Wrong::Duplicate, 8)),
        (r#"[{"x":{"y":1,"y":1}}]"#, (Wrong::Duplicate, 13)),
        (r#"{"":1,"":1}"#, (Wrong::Duplicate, 6)),
        ("{}{}", (Wrong::Trailing, 2)),
        ("1 2", (Wrong::Trailing, 2)),
        ("01", (Wrong::Trailing, 1)),
        ("{", (Wrong::Ends, 1)),
        ("{\"a\"", (Wrong::Ends, 4)),
        ("{\"a\":", (Wrong::Ends, 5)),
        ("[1", (Wrong::Ends, 2)),
        ("\"a", (Wrong::Ends, 2)),
        ("\"a\\", (Wrong::Ends, 3)),
        ("\"\\u00", (Wrong::Ends, 5)),
        ("-", (Wrong::Ends, 1)),
        ("1.", (Wrong::Ends, 2)),
        ("1e+", (Wrong::Ends, 3)),
        ("tru", (Wrong::Ends, 3)),
        ("[1,]", (Wrong::Syntax, 3)),
        ("[,1]", (Wrong::Syntax, 1)),
        ("{\"a\":1,}", (Wrong::Syntax, 7)),
        ("{a:1}", (Wrong::Syntax, 1)),
        ("{'a':1}", (Wrong::Syntax, 1)),
        ("{\"a\" 1}", (Wrong::Syntax, 5)),
        ("[1 2]", (Wrong::Syntax, 3)),
        ("// a\n1", (Wrong::Syntax, 0)),
        ("NaN", (Wrong::Syntax, 0)),
        ("Infinity", (Wrong::Syntax, 0)),
        ("-Infinity", (Wrong::Syntax, 1)),
        ("+1", (Wrong::Syntax, 0)),
        (".5", (Wrong::Syntax, 0)),
        ("1.e5", (Wrong::Syntax, 2)),
        ("0x10", (Wrong::Trailing, 1)),
        ("TRUE", (Wrong::Syntax, 0)),
        ("nul1", (Wrong::Syntax, 3)),
        ("\u{a0}1", (Wrong::Syntax, 0)),
        ("\u{c}1", (Wrong::Syntax, 0)),
        ("\"a\nb\"", (Wrong::Control, 2)),
        ("\"\0\"", (Wrong::Control, 1)),
        (r#""\x41""#, (Wrong::Escape, 1)),
        (r#""\u00g0""#, (Wrong::Escape, 5)),
        (r#""\u+041""#, (Wrong::Escape, 3)),
        (r#""\ud800""#, (Wrong::Surrogate, 1)),
        (r#""\udc00""#, (Wrong::Surrogate, 1)),
        (r#""\ud800\ud800""#, (Wrong::Surrogate, 1)),
        (r#""\ud800x""#, (Wrong::Surrogate, 1)),
        (r#""\ud800\n""#, (Wrong::Surrogate, 1)),
        (r#"{"\udc00":1}"#, (Wrong::Surrogate, 2)),
        ("[[[[[", (Wrong::Depth, 4)),
        (r#"{"a":[{"b":[{}]}]}"#, (Wrong::Depth, 12)),
        (&format!("[{}1]", "1,".repeat(39)), (Wrong::Values, 79)),
    ] {
        assert_eq!(why(text), Some(wrong), "{text:?}");
    }
    assert_eq!(why(b"\"\xff\""), Some((Wrong::NotUtf8, 1)));
    // An overlong slash, and a surrogate that was encoded as if it were a character.
    assert_eq!(why(b"\"\xc0\xaf\""), Some((Wrong::NotUtf8, 1)));
    assert_eq!(why(b"\"\xed\xa0\x80\""), Some((Wrong::NotUtf8, 1)));
    assert_eq!(
        Unreadable { why: Wrong::Duplicate, at: 7 }.to_string(),
        "a member stands twice in one object (at byte 7)"
    );
}

#[test]
fn h4_numbers_are_those_that_every_program_reads_alike() {
    for (text, exact, long) in [
        ("0", true, true),
        ("-0", true, true),
        ("-0.0", true, true),
        ("0e999", true, true),
        ("9007199254740991", true, true),
        ("9007199254740992", false, true),
        ("-9007199254740992", false, true),
        ("18446744073709551615", false, true),
        ("18446744073709551616", false, false),
        ("-9223372036854775808", false, true),
        ("-9223372036854775809", false, false),
        ("0.1", true, true),
        ("1e308", true, true),
        ("1e309", false, false),
        ("-1e309", false, false),
        ("5e-324", true, true),
        ("1e-400", false, false),
        // What 0.1 + 0.2 is printed as, and what is not told from 9.
        ("0.30000000000000004", true, true),
        ("9.0000000000000001", false, false),
        ("100.00000000000000001", false, false),
        ("1.50000000000000000000000", true, true),
        ("0.00000000000000000000015", true, true),
        ("3.141592653589793238462643383279", false, false),
        ("9007199254740993.0", false, false),
        ("9007199254740993e0", false, false),
        ("123456789012345e3", true, true),
    ] {
        for (numbers, read_so) in [(Numbers::Exact, exact), (Numbers::Long, long)] {
            let found = read(text.as_bytes(), Reading { numbers, ..RULES });
            assert_eq!(found.is_ok(), read_so, "{text} {numbers:?} {found:?}");
        }
        let near = read(text.as_bytes(), Reading { numbers: Numbers::Near, ..RULES });
        assert_eq!(near.is_ok(), !text.contains("e309"), "{text}");
    }
    let zeros = format!("0.{}1", "0".repeat(70));
    assert_eq!(why(zeros), Some((Wrong::Number, 0)));
    assert_eq!(why(format!("1{}", "0".repeat(100_000))), Some((Wrong::Number, 0)));
}

#[test]
fn nesting_never_reaches_the_end_of_the_stack() {
    let rules = Reading { depth: usize::MAX, ..RULES };
    for open in ["[", "{\"a\":"] {
        let text = open.repeat(100_000);
        assert_eq!(read(text.as_bytes(), rules).unwrap_err().why, Wrong::Values);
        assert_eq!(read(text.as_bytes(), Reading { values: usize::MAX, ..rules }).unwrap_err().why, Wrong::Depth);
    }
}

#[test]
fn an_object_is_asked_for_and_nothing_else_is_one() {
    assert!(object(b"{\"a\":1}", RULES).is_ok());
    assert_eq!(object(b"[]", RULES), Err(Unreadable { why: Wrong::Syntax, at: 0 }));
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        any::<f64>().prop_filter("finite", |double| double.is_finite()).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Doubles that one reader rounds correctly and the other nearly are the same for this purpose.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) if one.is_f64() || other.is_f64() => {
            let (one, other) = (one.as_f64().unwrap(), other.as_f64().unwrap());
            one == other || (one - other).abs() <= one.abs() * 4.0 * f64::EPSILON
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().zip(other).all(|((name, one), (twin, other))| name == twin && same(one, other))
        }
        _ => one == other,
    }
}

proptest! {
    /// What another reader wrote is read back as it was: nothing ordinary is refused.
    #[test]
    fn whatever_another_program_writes_is_read_as_it_was(value in value(), pretty in any::<bool>()) {
        let text = if pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) }.unwrap();
        let found = read(&text, Reading::default());
        prop_assert!(found.as_ref().is_ok_and(|found| same(found, &value)), "{found:?}");
    }

    /// Where this reader accepts, the other accepts and reads the same; where the other refuses, so does this one.
    #[test]
    fn h4_whatever_is_read_is_read_alike_by_another_reader(
        value in value(),
        harm in prop::collection::vec((any::<prop::sample::Index>(), prop_oneof![
            prop::sample::select(b"{}[]\",:\\u0eE+-. \n\tntf\x00\xff\xed\xbf".to_vec()), any::<u8>()
        ], any::<bool>()), 0..4),
    ) {
        let mut text = serde_json::to_vec(&value).unwrap();
        for (at, byte, replaces) in harm {
            let at = at.index(text.len());
            if replaces { text[at] = byte } else { text.insert(at, byte) }
        }
        if let Ok(found) = read(&text, Reading::default()) {
            let other: Value = serde_json::from_slice(&text).unwrap();
            prop_assert!(same(&found, &other), "{found} {other}");
        }
    }

    #[test]
    fn nothing_makes_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = read(&bytes, RULES);
    }
}
