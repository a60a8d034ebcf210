//! `portcullis users import`: a file, a bar while it is read, and a report.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, BufRead, BufReader, BufWriter, Read as _, Seek as _, Write};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};
use portcullis_identity::{
    Identity, ImportError, ImportOptions, ImportSummary, ImportWatcher, NotImported, Origin, RoleNames,
};
use serde_json::json;

use super::{ImportTask, knows_role};
use crate::cli::Failure;
use crate::config::Settings;

/// So many rows are shown where there is no report.
const SHOWN: u64 = 10;

pub(super) async fn import(identity: &Identity, settings: &Settings, task: ImportTask) -> Result<String, Failure> {
    let (mut input, length) = open(&task.file)?;
    let report = task.report.as_deref().map(make_report).transpose()?;
    let mut watcher = Watcher { bar: bar(length), report, shown: 0 };
    let options = ImportOptions {
        format: task.format,
        dry_run: task.dry_run,
        assume_verified: task.assume_verified,
        ignore: &task.ignore,
        roles: &KnownRoles(settings),
    };
    let done = identity.import(&mut input, &options, &mut watcher, Origin::default()).await;
    watcher.bar.finish_and_clear();
    if let Some(report) = &mut watcher.report {
        report.flush().map_err(|error| Failure::run(ImportError::Report(error)))?;
    }
    let summary = done.map_err(|error| match error {
        ImportError::Header(_) => Failure::Usage(format!("{}: {error}", task.file.display())),
        other => Failure::Run(format!("{}: {other}; start it again to go on", task.file.display())),
    })?;
    let told = in_words(&summary, task.dry_run);
    if summary.refused > 0 { Err(Failure::Run(told)) } else { Ok(told) }
}

fn in_words(summary: &ImportSummary, dry_run: bool) -> String {
    let ImportSummary { imported, skipped, refused, without_password, by_role, .. } = summary;
    let mut told = if dry_run { format!("would import {imported}") } else { format!("imported {imported}") };
    told += &format!(", skipped {skipped} that exist, refused {refused}");
    if *without_password > 0 {
        told += &format!("; {without_password} without a password, to be set by mail");
    }
    if !by_role.is_empty() {
        let roles: Vec<String> = by_role.iter().map(|(role, count)| format!("{role} {count}")).collect();
        told += &format!("; by role: {}", roles.join(", "));
    }
    told
}

/// The file, and its length where it has one.
fn open(path: &Path) -> Result<(Box<dyn BufRead>, Option<u64>), Failure> {
    const BUFFER: usize = 256 << 10;
    if path == Path::new("-") {
        return Ok((Box::new(BufReader::with_capacity(BUFFER, io::stdin())), None));
    }
    let failed = |error: io::Error| Failure::Usage(format!("cannot read {}: {error}", path.display()));
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if metadata.is_dir() {
        return Err(Failure::Usage(format!("{} is a directory", path.display())));
    }
    Ok((Box::new(BufReader::with_capacity(BUFFER, file)), metadata.is_file().then_some(metadata.len())))
}

/// The report holds addresses, so it is nobody else's to read. It takes the place of the report of an import before it, and of
/// nothing else: whoever types the wrong name must not lose what lies there, the users least of all.
fn make_report(path: &Path) -> Result<BufWriter<File>, Failure> {
    let failed = |error: io::Error| Failure::Usage(format!("cannot write {}: {error}", path.display()));
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.is_file() {
        if !is_report(&file).map_err(failed)? {
            let what = "is there already and is no report of an import; name another file with --report";
            return Err(Failure::Usage(format!("{} {what}", path.display())));
        }
        file.set_len(0).map_err(failed)?;
        (&file).rewind().map_err(failed)?;
        file.set_permissions(Permissions::from_mode(0o600)).map_err(failed)?;
    }
    Ok(BufWriter::new(file))
}

/// Whether a file is empty, or its first line is one of a report.
fn is_report(file: &File) -> io::Result<bool> {
    // No line of a report is longer: it holds an address and a reason.
    const LONGEST: u64 = 8 << 10;
    let mut first = Vec::new();
    BufReader::new(file.take(LONGEST)).read_until(b'\n', &mut first)?;
    let line: serde_json::Value = serde_json::from_slice(&first).unwrap_or_default();
    let is_line = ["line", "email", "status", "reason"].iter().all(|member| line.get(member).is_some());
    Ok(first.is_empty() || is_line)
}

/// A bar on standard error; nothing where that is no terminal.
fn bar(length: Option<u64>) -> ProgressBar {
    let (bar, template) = match length {
        Some(length) => (ProgressBar::new(length), "{bar:40} {percent:>3} %  {msg}  {elapsed}, {eta} left"),
        None => (ProgressBar::new_spinner(), "{spinner} {msg}  {elapsed}"),
    };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

#[derive(Debug)]
struct KnownRoles<'a>(&'a Settings);

impl RoleNames for KnownRoles<'_> {
    fn knows(&self, role: &str) -> bool {
        knows_role(self.0, role)
    }
}

struct Watcher {
    bar: ProgressBar,
    report: Option<BufWriter<File>>,
    shown: u64,
}

impl ImportWatcher for Watcher {
    fn not_imported(&mut self, row: NotImported<'_>) -> io::Result<()> {
        let skipped = row.reason.is_skip();
        if let Some(report) = &mut self.report {
            let status = if skipped { "skipped" } else { "refused" };
            let (line, email, reason) = (row.line, row.email, row.reason.to_string());
            return writeln!(report, "{}", json!({ "line": line, "email": email, "status": status, "reason": reason }));
        }
        if !skipped {
            self.shown += 1;
            // Quoted, because what stands in a file could move the cursor of a terminal.
            let email = row.email.unwrap_or_default();
            self.bar.suspend(|| match self.shown {
                1..=SHOWN => eprintln!("line {}: {email:?}: {}", row.line, row.reason),
                more if more == SHOWN + 1 => eprintln!("…; --report FILE takes down every row"),
                _ => {}
            });
        }
        Ok(())
    }

    fn progress(&mut self, so_far: &ImportSummary) {
        self.bar.set_position(so_far.bytes);
        self.bar.set_message(format!("{} imported, {} refused", so_far.imported, so_far.refused));
    }
}
