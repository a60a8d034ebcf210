//! One text of an operator's own letter: words with places for values, such as `{{link}}`.

use super::letter::escape;

/// What can be put into a letter. All of it is ours or the operator's: no name, no address and nothing else that a
/// stranger wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    /// The link with the token.
    Link,
    /// The URL under which clients know the gate.
    PublicUrl,
    /// When the address was registered.
    Registered,
    /// The hours for which the link is good.
    Hours,
    /// When it happened.
    When,
}

impl Field {
    const ALL: [Self; 5] = [Self::Link, Self::PublicUrl, Self::Registered, Self::Hours, Self::When];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::PublicUrl => "public_url",
            Self::Registered => "registered",
            Self::Hours => "hours",
            Self::When => "when",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.as_str() == name)
    }
}

/// A value for a place.
pub(super) type Value<'a> = (Field, &'a str);

/// A text with its places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Words(String),
    Place(Field),
}

/// What is wrong with a place, and the line it stands in, counted from one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Misplaced {
    /// `{{` without `}}` in the same line.
    Open(usize),
    /// A name that this letter has no value for.
    Unknown(usize, String),
}

impl Template {
    /// Reads a text whose places may be of these fields, and tells everything that is wrong with it.
    pub(super) fn parse(text: &str, fields: &[Field]) -> Result<Self, Vec<Misplaced>> {
        let mut pieces = Vec::new();
        let mut wrong = Vec::new();
        for (index, line) in text.split_inclusive('\n').enumerate() {
            let mut rest = line;
            while let Some((words, after)) = rest.split_once("{{") {
                words_onto(&mut pieces, words);
                let Some((name, after)) = after.split_once("}}") else {
                    wrong.push(Misplaced::Open(index + 1));
                    rest = "";
                    break;
                };
                match Field::named(name.trim()).filter(|field| fields.contains(field)) {
                    Some(field) => pieces.push(Piece::Place(field)),
                    None => wrong.push(Misplaced::Unknown(index + 1, name.trim().to_owned())),
                }
                rest = after;
            }
            words_onto(&mut pieces, rest);
        }
        if wrong.is_empty() { Ok(Self { pieces }) } else { Err(wrong) }
    }

    /// Whether a field has a place in it.
    pub(super) fn holds(&self, field: Field) -> bool {
        self.pieces.contains(&Piece::Place(field))
    }

    /// The text with its values as they are.
    pub(super) fn as_text(&self, values: &[Value<'_>]) -> String {
        self.fill(values, str::to_owned)
    }

    /// The text as HTML: its words are the operator's markup, and no value can be any.
    pub(super) fn as_html(&self, values: &[Value<'_>]) -> String {
        self.fill(values, escape)
    }

    fn fill(&self, values: &[Value<'_>], write: impl Fn(&str) -> String) -> String {
        let value = |field: Field| values.iter().find(|(of, _)| *of == field).map_or("", |(_, value)| *value);
        let pieces = self.pieces.iter().map(|piece| match piece {
            Piece::Words(words) => words.clone(),
            Piece::Place(field) => write(value(*field)),
        });
        pieces.collect()
    }
}

/// Words of several lines without a place between them are one piece.
fn words_onto(pieces: &mut Vec<Piece>, words: &str) {
    match pieces.last_mut() {
        Some(Piece::Words(before)) => before.push_str(words),
        _ if words.is_empty() => {}
        _ => pieces.push(Piece::Words(words.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a10_a_value_is_never_read_as_a_place_or_as_markup() {
        let template = Template::parse("a {{link}} {{ hours }}\n{{link}}", &Field::ALL).unwrap();
        let values = [(Field::Link, "{{hours}}<b>&\"'"), (Field::Hours, "24")];
        assert_eq!(template.as_text(&values), "a {{hours}}<b>&\"' 24\n{{hours}}<b>&\"'");
        assert_eq!(
            template.as_html(&values),
            "a {{hours}}&lt;b&gt;&amp;&quot;&#39; 24\n{{hours}}&lt;b&gt;&amp;&quot;&#39;"
        );
    }

    #[test]
    fn a10_every_wrong_place_is_told_with_its_line() {
        let wrong = Template::parse("{{lnik}} {{link}}\n\nx {{}} {{ link\n}} {{registered}}", &[Field::Link]);
        let told = vec![
            Misplaced::Unknown(1, "lnik".to_owned()),
            Misplaced::Unknown(3, String::new()),
            Misplaced::Open(3),
            Misplaced::Unknown(4, "registered".to_owned()),
        ];
        assert_eq!(wrong, Err(told));
    }

    #[test]
    fn braces_of_a_style_sheet_are_words() {
        let css = "@media print{a{color:red}} { } {";
        assert_eq!(Template::parse(css, &[]).unwrap().as_text(&[]), css);
    }

    #[test]
    fn any_text_is_read_or_told() {
        let pieces = ["{{", "}}", "{", "}", "link", "é", "\n", " ", "\u{2028}", "{{link}}"];
        let mut state = 7_u64;
        for _ in 0..3_000 {
            let mut text = String::new();
            for _ in 0..10 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                text.push_str(pieces[(state >> 33) as usize % pieces.len()]);
            }
            match Template::parse(&text, &Field::ALL) {
                Ok(template) => assert_eq!(template.holds(Field::Link), text.contains("{{"), "{text:?}"),
                Err(wrong) => assert!(!wrong.is_empty()),
            }
        }
    }
}
