//! What is told of one operation: a row of a table, checked by the compiler where it names a type.

use schemars::{JsonSchema, Schema, SchemaGenerator};

/// Writes the schema of a type, which is the very type that the endpoint reads or answers.
pub(crate) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// What a document tells of one method on one path.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operation {
    /// Method and path, as the list of endpoints writes them.
    pub(crate) pattern: &'static str,
    /// Its name in generated clients.
    pub(crate) id: &'static str,
    /// One line.
    pub(crate) summary: &'static str,
    /// What one line does not hold; may be empty.
    pub(crate) about: &'static str,
    /// What stands in the path, the query or the head.
    pub(crate) parameters: &'static [Parameter],
    /// Ways to write the body, by media type.
    pub(crate) bodies: [Option<Body>; 2],
    /// Whether a request without a body is one too.
    pub(crate) body_optional: bool,
    /// What it answers where all is well, and what it answers in another form than a problem.
    pub(crate) answers: &'static [Answer],
    /// Its own refusals: the status, and when.
    pub(crate) problems: &'static [(u16, &'static str)],
    /// Statuses of pages that tell a person what is wrong with a form.
    pub(crate) troubles: &'static [u16],
}

/// Begins a row.
pub(crate) const fn operation(pattern: &'static str, id: &'static str, summary: &'static str) -> Operation {
    Operation {
        pattern,
        id,
        summary,
        about: "",
        parameters: &[],
        bodies: [None, None],
        body_optional: false,
        answers: &[],
        problems: &[],
        troubles: &[],
    }
}

impl Operation {
    pub(crate) const fn about(self, about: &'static str) -> Self {
        Self { about, ..self }
    }

    pub(crate) const fn with(self, parameters: &'static [Parameter]) -> Self {
        Self { parameters, ..self }
    }

    /// It reads this type as JSON.
    pub(crate) const fn json<T: JsonSchema>(self) -> Self {
        let body = Body { media: "application/json", schema: SchemaGenerator::subschema_for::<T> };
        Self { bodies: [Some(body), self.bodies[1]], ..self }
    }

    /// It reads this type as a form, which its page posts.
    pub(crate) const fn form<T: JsonSchema>(self) -> Self {
        let body = Body { media: "application/x-www-form-urlencoded", schema: SchemaGenerator::subschema_for::<T> };
        Self { bodies: [self.bodies[0], Some(body)], ..self }
    }

    /// A request without a body is one too.
    pub(crate) const fn or_nothing(self) -> Self {
        Self { body_optional: true, ..self }
    }

    pub(crate) const fn answers(self, answers: &'static [Answer]) -> Self {
        Self { answers, ..self }
    }

    pub(crate) const fn refuses(self, problems: &'static [(u16, &'static str)]) -> Self {
        Self { problems, ..self }
    }

    /// What is wrong with a form is told by a page of one of these statuses.
    pub(crate) const fn troubles(self, troubles: &'static [u16]) -> Self {
        Self { troubles, ..self }
    }

    /// Its method and its path.
    pub(crate) fn parts(&self) -> (&'static str, &'static str) {
        self.pattern.split_once(' ').unwrap_or(("GET", self.pattern))
    }
}

/// A body in one media type.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Body {
    pub(crate) media: &'static str,
    pub(crate) schema: SchemaOf,
}

/// What stands in the path, the query or the head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parameter {
    pub(crate) name: &'static str,
    /// `path`, `query` or `header`.
    pub(crate) place: &'static str,
    pub(crate) required: bool,
    pub(crate) about: &'static str,
    pub(crate) schema: SchemaOf,
}

/// A part of the path.
pub(crate) const fn in_path<T: JsonSchema>(name: &'static str, about: &'static str) -> Parameter {
    Parameter { name, place: "path", required: true, about, schema: SchemaGenerator::subschema_for::<T> }
}

/// An optional part of the query.
pub(crate) const fn in_query<T: JsonSchema>(name: &'static str, about: &'static str) -> Parameter {
    Parameter { name, place: "query", required: false, about, schema: SchemaGenerator::subschema_for::<T> }
}

/// One answer that is no problem.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) when: &'static str,
    /// `None` for an answer without a body.
    pub(crate) body: Option<Body>,
    /// Fields of its head that a client reads, each with its meaning.
    pub(crate) headers: &'static [(&'static str, &'static str)],
}

impl Answer {
    pub(crate) const fn head(self, headers: &'static [(&'static str, &'static str)]) -> Self {
        Self { headers, ..self }
    }
}

/// An answer of this type as JSON.
pub(crate) const fn json<T: JsonSchema>(status: u16, when: &'static str) -> Answer {
    media::<T>(status, when, "application/json")
}

/// An answer of this type in some other media type.
pub(crate) const fn media<T: JsonSchema>(status: u16, when: &'static str, media: &'static str) -> Answer {
    let body = Body { media, schema: SchemaGenerator::subschema_for::<T> };
    Answer { status, when, body: Some(body), headers: &[] }
}

/// A page for a person.
pub(crate) const fn page(status: u16, when: &'static str) -> Answer {
    media::<String>(status, when, "text/html")
}

/// An answer without a body.
pub(crate) const fn nothing(status: u16, when: &'static str) -> Answer {
    Answer { status, when, body: None, headers: &[] }
}
