//! The shapes that values are written in. What a text means is decided when the file is resolved; here it only has to
//! be a text.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Error, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// A value with its place in the file.
#[derive(Clone, Debug)]
pub(crate) struct At<T>(toml::Spanned<T>);

impl<T> At<T> {
    pub(crate) fn span(&self) -> Range<usize> {
        self.0.span()
    }

    pub(crate) fn get(&self) -> &T {
        self.0.get_ref()
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for At<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        toml::Spanned::deserialize(deserializer).map(Self)
    }
}

impl<T: JsonSchema> JsonSchema for At<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// A table with its place in the file. The deserializers that serde derives for structs also take a list of values in the
/// order of the fields; nobody who writes `[[client]]` means that.
#[derive(Clone, Debug)]
pub(crate) struct Table<T>(At<T>);

impl<T> Table<T> {
    pub(crate) fn span(&self) -> Range<usize> {
        self.0.span()
    }

    pub(crate) fn get(&self) -> &T {
        self.0.get()
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Table<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Inside<T>(T);

        struct TableVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for TableVisitor<T> {
            type Value = Inside<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table")
            }

            fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<Inside<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(table)).map(Inside)
            }
        }

        impl<'de, T: Deserialize<'de>> Deserialize<'de> for Inside<T> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(TableVisitor(PhantomData))
            }
        }

        let inside = toml::Spanned::<Inside<T>>::deserialize(deserializer)?;
        let span = inside.span();
        Ok(Self(At(toml::Spanned::new(span, inside.into_inner().0))))
    }
}

impl<T: JsonSchema> JsonSchema for Table<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// A kind of text: what it stands for, for messages and for the schema.
macro_rules! text_kinds {
    ($($(#[$doc:meta])* $name:ident: $expecting:literal, [$($example:literal),*];)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub(crate) struct $name(String);

        impl $name {
            pub(crate) fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct TextVisitor;

                impl Visitor<'_> for TextVisitor {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expecting)
                    }

                    fn visit_str<E: Error>(self, text: &str) -> Result<$name, E> {
                        Ok($name(text.to_owned()))
                    }
                }

                deserializer.deserialize_str(TextVisitor)
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "examples": [$($example),*] })
            }
        }
    )*};
}

text_kinds! {
    /// A text that is what it is.
    Text: "a text", [];
    /// An address with a port.
    SocketText: "an address with a port, such as \"0.0.0.0:8080\"", ["0.0.0.0:8080", "[::]:8080"];
    /// A URL.
    UrlText: "a URL, such as \"http://127.0.0.1:3000\"", ["http://127.0.0.1:3000"];
    /// A duration.
    DurationText: "a duration, such as \"15m\"", ["15m", "1h 30m", "250ms"];
    /// A number of requests in a time.
    QuotaText: "a quota, such as \"5 per 15m\"", ["5 per 15m", "100/min", "10,000 per month"];
    /// An optional method and a path.
    PatternText: "a pattern, such as \"GET /projects/{id}\"", ["GET /projects/{id}", "/public/**"];
    /// A network.
    NetworkText: "a network, such as \"10.0.0.0/8\"", ["10.0.0.0/8", "2001:db8::/32"];
    /// An origin as browsers write it.
    OriginText: "an origin, such as \"https://app.example.com\"", ["https://app.example.com", "https://*.example.com"];
    /// A header's name.
    HeaderText: "a header name, such as \"X-User-Id\"", ["X-User-Id"];
    /// A path in the file system.
    PathText: "a path", ["/etc/portcullis/secret"];
    /// The name of an environment variable.
    VariableText: "the name of an environment variable", ["PORTCULLIS_ISSUER_SECRET"];
    /// What a limit counts by.
    KeyText: "what to count by, such as \"address\"", ["address", "user", "user or address", "header:X-Tenant"];
}

/// A size in bytes: a number, or a text with a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SizeText {
    Bytes(u64),
    Text(String),
}

impl<'de> Deserialize<'de> for SizeText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SizeVisitor;

        impl Visitor<'_> for SizeVisitor {
            type Value = SizeText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size, such as \"10KiB\", or a number of bytes")
            }

            fn visit_i64<E: Error>(self, bytes: i64) -> Result<SizeText, E> {
                let bytes = u64::try_from(bytes).map_err(|_| E::custom("a size cannot be negative"))?;
                Ok(SizeText::Bytes(bytes))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<SizeText, E> {
                Ok(SizeText::Text(text.to_owned()))
            }
        }

        deserializer.deserialize_any(SizeVisitor)
    }
}

impl JsonSchema for SizeText {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "integer"], "minimum": 0, "examples": ["10KiB", "1MiB", 4096] })
    }
}

/// One value, or a list of them.
#[derive(Clone, Debug)]
pub(crate) struct OneOrMany<T>(pub(crate) Vec<At<T>>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The place of a single value is the place of the whole, which only the surrounding `At` knows; it is put in
        // by deserializing the value through a `Spanned` of its own.
        struct Pieces<T>(Vec<T>, Vec<Range<usize>>);

        struct PiecesVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for PiecesVisitor<T> {
            type Value = Pieces<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of texts")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Pieces<T>, E> {
                Ok(Pieces(vec![T::deserialize(text.into_deserializer())?], Vec::new()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Pieces<T>, A::Error> {
                let mut pieces = Pieces(Vec::new(), Vec::new());
                while let Some(piece) = list.next_element::<toml::Spanned<T>>()? {
                    pieces.1.push(piece.span());
                    pieces.0.push(piece.into_inner());
                }
                Ok(pieces)
            }
        }

        impl<'de, T: Deserialize<'de>> Deserialize<'de> for Pieces<T> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(PiecesVisitor(PhantomData))
            }
        }

        let whole = toml::Spanned::<Pieces<T>>::deserialize(deserializer)?;
        let span = whole.span();
        let Pieces(values, spans) = whole.into_inner();
        let spans = spans.into_iter().chain(std::iter::repeat(span));
        Ok(Self(values.into_iter().zip(spans).map(|(value, span)| At(toml::Spanned::new(span, value))).collect()))
    }
}

impl<T: JsonSchema> JsonSchema for OneOrMany<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("OneOrMany{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [one, { "type": "array", "items": one }] })
    }
}

/// Either the short form of a value (a text or a list) or the long one (a table).
#[derive(Clone, Debug)]
pub(crate) enum ShortOrLong<S, L> {
    Short(S),
    Long(L),
}

impl<'de, S: Deserialize<'de>, L: Deserialize<'de>> Deserialize<'de> for ShortOrLong<S, L> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FormVisitor<S, L>(PhantomData<(S, L)>);

        impl<'de, S: Deserialize<'de>, L: Deserialize<'de>> Visitor<'de> for FormVisitor<S, L> {
            type Value = ShortOrLong<S, L>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, a list or a table")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                S::deserialize(text.into_deserializer()).map(ShortOrLong::Short)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
                S::deserialize(SeqAccessDeserializer::new(list)).map(ShortOrLong::Short)
            }

            fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<Self::Value, A::Error> {
                L::deserialize(MapAccessDeserializer::new(table)).map(ShortOrLong::Long)
            }
        }

        deserializer.deserialize_any(FormVisitor(PhantomData))
    }
}

impl<S: JsonSchema, L: JsonSchema> JsonSchema for ShortOrLong<S, L> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("{}Or{}", S::schema_name(), L::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (short, long) = (generator.subschema_for::<S>(), generator.subschema_for::<L>());
        json_schema!({ "anyOf": [short, long] })
    }
}
