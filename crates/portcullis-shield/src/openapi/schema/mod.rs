//! The schemas of a document: translated into JSON Schema 2020-12, compiled once, asked many times.

mod book;
mod discriminator;
mod shape;
mod translate;
mod walk;

pub(super) use book::{Book, Draft, Entry};
pub(super) use shape::{Kind, Shape};
pub(super) use translate::{Way, dialect};

#[cfg(test)]
mod tests;
