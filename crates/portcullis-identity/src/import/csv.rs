//! CSV as RFC 4180 has it: a header, fields in quotes where they hold commas, quotes or line ends.
//!
//! It is strict where a table would silently shift: a quote inside a bare field, and text after a closing quote, refuse the
//! row. A row that is too long, as one with a quote that never closes, ends at the next line end.

use std::io::{self, BufRead};

use super::json::skip_line;
use super::row::{Column, RowRefused};
use super::{Fields, ImportError, ImportOptions, MAX_ROW, Read, Rows, Value};

/// Reads rows under a header.
pub(super) struct CsvRows<'a> {
    input: &'a mut dyn BufRead,
    /// A column for each field; `None` passes over it.
    columns: Vec<Option<Column>>,
    line: u64,
    bytes: u64,
}

/// The fields of a row as bytes, and what is wrong with it.
struct Record {
    fields: Vec<Vec<u8>>,
    refused: Option<RowRefused>,
}

#[derive(Clone, Copy, PartialEq)]
enum Place {
    Start,
    Bare,
    Quoted,
    /// After a quote inside a quoted field: its end, or the first of two.
    Closed,
}

impl<'a> CsvRows<'a> {
    pub(super) fn new(input: &'a mut dyn BufRead, options: &ImportOptions<'a>) -> Result<Self, ImportError> {
        let mut rows = Self { input, columns: Vec::new(), line: 1, bytes: 0 };
        let wrong = |reason: RowRefused| ImportError::Header(reason.to_string());
        // A byte order mark stands before the first quote, not inside a field.
        if rows.peek().map_err(ImportError::Read)? == Some(0xef) {
            for expected in [0xef, 0xbb, 0xbf] {
                if rows.byte().map_err(ImportError::Read)? != Some(expected) {
                    return Err(wrong(RowRefused::NotUtf8));
                }
            }
        }
        let header = rows.record().map_err(ImportError::Read)?;
        let Record { fields, refused } = header.ok_or_else(|| ImportError::Header("there is none".to_owned()))?;
        if let Some(refused) = refused {
            return Err(wrong(refused));
        }
        for name in fields {
            let name = String::from_utf8(name).map_err(|_| wrong(RowRefused::NotUtf8))?;
            let name = name.trim();
            let column = Column::named(name, options.ignore).map_err(|refused| match refused {
                RowRefused::UnknownColumn(_) => {
                    let known = Column::ALL.map(Column::name).join(", ");
                    ImportError::Header(format!("{refused}; there are {known}"))
                }
                other => wrong(other),
            })?;
            if let Some(column) = column
                && rows.columns.contains(&Some(column))
            {
                return Err(wrong(RowRefused::Repeated(column)));
            }
            rows.columns.push(column);
        }
        if !rows.columns.contains(&Some(Column::Email)) {
            return Err(wrong(RowRefused::Missing(Column::Email)));
        }
        if !options.assume_verified && !rows.columns.contains(&Some(Column::Verified)) {
            return Err(wrong(RowRefused::VerifiedUnknown));
        }
        Ok(rows)
    }

    /// One record; `None` at the end of the file.
    fn record(&mut self) -> io::Result<Option<Record>> {
        let mut fields = Vec::new();
        let mut field: Vec<u8> = Vec::new();
        let mut place = Place::Start;
        let mut refused = None;
        let mut length = 0;
        loop {
            let Some(byte) = self.byte()? else {
                if length == 0 {
                    return Ok(None);
                }
                if place == Place::Quoted {
                    refused = Some(RowRefused::Syntax("CSV: a quote is never closed"));
                }
                break;
            };
            length += 1;
            if length > MAX_ROW {
                if byte != b'\n' {
                    self.bytes += skip_line(self.input)?;
                }
                self.line += 1;
                return Ok(Some(Record { fields, refused: Some(RowRefused::TooLong) }));
            }
            if byte == b'\n' {
                self.line += 1;
            }
            match (place, byte) {
                (Place::Quoted, b'"') => place = Place::Closed,
                (Place::Closed, b'"') => {
                    field.push(b'"');
                    place = Place::Quoted;
                }
                (Place::Quoted, byte) => field.push(byte),
                (Place::Start, b'"') => place = Place::Quoted,
                (_, b',') => {
                    fields.push(std::mem::take(&mut field));
                    place = Place::Start;
                }
                (_, b'\n') => break,
                // Before a line end; anywhere else it is refused by what follows.
                (_, b'\r') if self.peek()? == Some(b'\n') => {}
                (Place::Closed, _) => refused = Some(RowRefused::Syntax("CSV: text follows a closing quote")),
                (Place::Bare, b'"') => refused = Some(RowRefused::Syntax("CSV: a quote stands in a bare field")),
                (Place::Start | Place::Bare, byte) => {
                    field.push(byte);
                    place = Place::Bare;
                }
            }
        }
        fields.push(field);
        Ok(Some(Record { fields, refused }))
    }

    fn peek(&mut self) -> io::Result<Option<u8>> {
        Ok(self.input.fill_buf()?.first().copied())
    }

    fn byte(&mut self) -> io::Result<Option<u8>> {
        let byte = self.peek()?;
        if byte.is_some() {
            self.input.consume(1);
            self.bytes += 1;
        }
        Ok(byte)
    }

    fn fields(&self, record: Record) -> Result<Fields, RowRefused> {
        if let Some(refused) = record.refused {
            return Err(refused);
        }
        let (found, expected) = (record.fields.len(), self.columns.len());
        if found != expected {
            return Err(RowRefused::Fields { found, expected });
        }
        let mut fields = Fields::with_capacity(found);
        for (column, field) in self.columns.iter().zip(record.fields) {
            let Some(column) = column else { continue };
            let text = String::from_utf8(field).map_err(|_| RowRefused::NotUtf8)?;
            fields.push((*column, if text.is_empty() { Value::Nothing } else { Value::Text(text) }));
        }
        Ok(fields)
    }
}

impl Rows for CsvRows<'_> {
    fn next(&mut self) -> io::Result<Option<Read>> {
        loop {
            let line = self.line;
            let Some(record) = self.record()? else { return Ok(None) };
            // An empty line is none of RFC 4180, and none at the end of a file is worth a word.
            if record.refused.is_none() && record.fields.len() == 1 && record.fields[0].is_empty() {
                continue;
            }
            return Ok(Some(Read { line, fields: self.fields(record) }));
        }
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }
}
