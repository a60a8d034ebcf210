//! One stream of lines on disk: appended to, rotated by size and by day, old parts removed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use portcullis_core::Timestamp;

const DAY: u64 = 86_400;

/// How much of a stream is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keep {
    /// A part is closed when it has grown to this many bytes, and at the end of each day (UTC).
    pub part_bytes: u64,
    /// Closed parts are removed at this age.
    pub age: Duration,
    /// The oldest closed parts are removed when all together are larger than this.
    pub total_bytes: u64,
}

/// A stream `<name>.jsonl` with its closed parts `<name>-20261121T041341Z-0000.jsonl` beside it.
#[derive(Debug)]
pub(super) struct Stream {
    directory: PathBuf,
    name: &'static str,
    keep: Keep,
    open: Option<Part>,
}

#[derive(Debug)]
struct Part {
    file: File,
    bytes: u64,
    day: u64,
    /// Closing it is not tried again before this moment.
    not_before: Timestamp,
    /// Whether the file ends in the middle of a line, because a write failed or the process died.
    torn: bool,
}

impl Stream {
    /// A stream in an existing directory; its file is opened by the first write.
    pub(super) const fn new(directory: PathBuf, name: &'static str, keep: Keep) -> Self {
        Self { directory, name, keep, open: None }
    }

    /// Appends whole lines. After an error the lines may be lost in part, but the next line begins on a line of its own.
    /// A part that cannot be closed, or old ones that cannot be removed, are errors that lose no line.
    pub(super) fn write(&mut self, lines: &[u8], now: Timestamp) -> io::Result<()> {
        let mut housekeeping = self.rotate_if_due(now);
        if self.open.is_none() {
            self.open = Some(self.open_part(now)?);
            housekeeping = housekeeping.and(self.remove_old(now));
        }
        let Some(part) = &mut self.open else { return housekeeping };
        let result = if part.torn { part.file.write_all(b"\n") } else { Ok(()) };
        let result = result.and_then(|()| part.file.write_all(lines));
        part.torn = result.is_err();
        part.bytes += lines.len() as u64;
        result.and(housekeeping)
    }

    /// Closes the part if its day is over or it is large, whether or not anything is to be written. One that cannot be
    /// closed is written on, and tried again after a minute.
    pub(super) fn rotate_if_due(&mut self, now: Timestamp) -> io::Result<()> {
        let Some(part) = &self.open else { return Ok(()) };
        let over = part.day != now.as_secs() / DAY || part.bytes >= self.keep.part_bytes;
        if !over || now < part.not_before {
            return Ok(());
        }
        let closed = self.close_part(now);
        match (&closed, &mut self.open) {
            (Err(_), Some(part)) => part.not_before = now.after(Duration::from_secs(60)),
            _ => self.open = None,
        }
        closed.and_then(|()| self.remove_old(now))
    }

    fn path(&self) -> PathBuf {
        self.directory.join(format!("{}.jsonl", self.name))
    }

    /// Opens the current file, continuing what an earlier process left; a file of another day is closed first.
    fn open_part(&self, now: Timestamp) -> io::Result<Part> {
        let today = now.as_secs() / DAY;
        if let Ok(found) = fs::metadata(self.path()) {
            let written = found.modified()?.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            if found.len() > 0 && (written.as_secs() / DAY != today || found.len() >= self.keep.part_bytes) {
                // If it cannot be closed now, it is written on and closed when that is due the next time.
                let _ = self.close_part(now);
            }
        }
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(self.path())?;
        let bytes = file.metadata()?.len();
        let mut last = [b'\n'];
        if bytes > 0 {
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
        }
        Ok(Part { file, bytes, day: today, not_before: Timestamp::EPOCH, torn: last != *b"\n" })
    }

    /// Gives the current file its final name.
    fn close_part(&self, now: Timestamp) -> io::Result<()> {
        let moment: String = now.to_rfc3339().chars().filter(char::is_ascii_alphanumeric).take(15).collect();
        for serial in 0..10_000 {
            let target = self.directory.join(format!("{}-{moment}Z-{serial:04}.jsonl", self.name));
            // A hard link fails where the name is taken; a rename would overwrite an older part.
            match fs::hard_link(self.path(), &target) {
                Ok(()) => return fs::remove_file(self.path()),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(_) => return fs::rename(self.path(), &target),
            }
        }
        Ok(())
    }

    /// Removes closed parts that are too old, then the oldest while all are too large. Only files that carry our own
    /// names are looked at.
    fn remove_old(&self, now: Timestamp) -> io::Result<()> {
        let oldest: String =
            now.before(self.keep.age).to_rfc3339().chars().filter(char::is_ascii_alphanumeric).take(15).collect();
        let mut parts = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let name = entry.file_name();
            if let Some(moment) = name.to_str().and_then(|name| closed_at(name, self.name)) {
                parts.push((moment.to_owned(), entry.path(), entry.metadata().map_or(0, |found| found.len())));
            }
        }
        parts.sort_unstable();
        let mut total: u64 = parts.iter().map(|(_, _, bytes)| bytes).sum();
        for (moment, path, bytes) in parts {
            if moment[..15] < *oldest || total > self.keep.total_bytes {
                remove(&path)?;
                total -= bytes;
            }
        }
        Ok(())
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The moment and serial number in the name of a closed part of this stream, e.g. `20261121T041341Z-0000`.
fn closed_at<'a>(file: &'a str, stream: &str) -> Option<&'a str> {
    let moment = file.strip_prefix(stream)?.strip_prefix('-')?.strip_suffix(".jsonl")?;
    let shape = moment.len() == 21
        && moment.bytes().enumerate().all(|(index, byte)| match index {
            8 => byte == b'T',
            15 => byte == b'Z',
            16 => byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    shape.then_some(moment)
}

#[cfg(test)]
mod tests {
    use portcullis_core::{Clock, SystemClock};

    use super::*;

    const KEEP: Keep = Keep { part_bytes: 100, age: Duration::from_secs(90 * DAY), total_bytes: 1 << 30 };

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn w1_a_part_is_closed_when_it_is_large_and_when_its_day_is_over() {
        let directory = tempfile::tempdir().unwrap();
        let mut stream = Stream::new(directory.path().into(), "events", KEEP);
        let day = Timestamp::from_secs(SystemClock.now().as_secs() / DAY * DAY);
        stream.write(&[b'a'; 99], day).unwrap();
        stream.write(b"b\n", day).unwrap();
        assert_eq!(names(directory.path()).len(), 1);
        stream.write(b"c\n", day).unwrap();
        stream.write(&[b'd'; 200], day).unwrap();
        stream.write(b"e\n", day).unwrap();
        assert_eq!(names(directory.path()).len(), 3, "two parts of the same second have different names");
        stream.write(b"f\n", day.after(Duration::from_secs(DAY))).unwrap();
        assert_eq!(names(directory.path()).len(), 4);
        assert_eq!(fs::read(directory.path().join("events.jsonl")).unwrap(), b"f\n");
    }

    #[test]
    fn w1_old_parts_go_after_ninety_days_and_nothing_else_does() {
        let directory = tempfile::tempdir().unwrap();
        let day = |n: u64| Timestamp::from_secs(n * DAY);
        for name in ["events-20260101T000000Z-0000.jsonl", "events-20260301T000000Z-0000.jsonl"] {
            fs::write(directory.path().join(name), b"x\n").unwrap();
        }
        let bystanders =
            ["events-notes.jsonl", "limits-20200101T000000Z-0000.jsonl", "events-20200101T000000Z.jsonl.gz"];
        for name in bystanders {
            fs::write(directory.path().join(name), b"x\n").unwrap();
        }
        // The 90th day after 2026-01-01 is 2026-04-01 (day 20,544 of the epoch), which is 31 days after 2026-03-01.
        let mut stream = Stream::new(directory.path().into(), "events", KEEP);
        stream.write(b"now\n", day(20_545)).unwrap();
        let left = names(directory.path());
        assert!(!left.contains(&"events-20260101T000000Z-0000.jsonl".to_owned()), "{left:?}");
        assert!(left.contains(&"events-20260301T000000Z-0000.jsonl".to_owned()), "{left:?}");
        for name in bystanders {
            assert!(left.contains(&name.to_owned()), "{name} is gone: {left:?}");
        }
    }

    #[test]
    fn a_stream_cannot_fill_the_disk() {
        let directory = tempfile::tempdir().unwrap();
        let keep = Keep { total_bytes: 350, ..KEEP };
        let mut stream = Stream::new(directory.path().into(), "events", keep);
        let start = SystemClock.now();
        for second in 0..20 {
            stream.write(&[b'x'; 100], start.after(Duration::from_secs(second))).unwrap();
        }
        let closed = names(directory.path()).len() - 1;
        assert!((2..=3).contains(&closed), "{closed}");
    }

    #[test]
    fn a_part_that_cannot_be_closed_is_written_on() {
        let above = tempfile::tempdir().unwrap();
        let (directory, aside) = (above.path().join("log"), above.path().join("aside"));
        fs::create_dir(&directory).unwrap();
        let mut stream = Stream::new(directory.clone(), "events", KEEP);
        let now = SystemClock.now();
        stream.write(&[b'a'; 200], now).unwrap();
        // Below what is no directory nothing can be renamed, not even by the superuser, but the open file can be written.
        fs::rename(&directory, &aside).unwrap();
        fs::write(&directory, b"").unwrap();
        let second = stream.write(b"b\n", now);
        let third = stream.write(b"c\n", now);
        fs::remove_file(&directory).unwrap();
        fs::rename(&aside, &directory).unwrap();
        assert!(second.is_err() && third.is_ok(), "told once, then tried again after a minute");
        assert_eq!(fs::read(directory.join("events.jsonl")).unwrap().len(), 204);
        stream.write(b"d\n", now.after(Duration::from_secs(60))).unwrap();
        assert_eq!(fs::read(directory.join("events.jsonl")).unwrap(), b"d\n");
    }

    #[test]
    fn a_torn_line_does_not_spoil_the_next() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("events.jsonl"), b"{\"torn").unwrap();
        let mut stream = Stream::new(directory.path().into(), "events", KEEP);
        stream.write(b"{}\n", SystemClock.now()).unwrap();
        assert_eq!(fs::read(directory.path().join("events.jsonl")).unwrap(), b"{\"torn\n{}\n");
    }

    #[cfg(unix)]
    #[test]
    fn the_file_is_for_its_owner_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        Stream::new(directory.path().into(), "events", KEEP).write(b"{}\n", SystemClock.now()).unwrap();
        let mode = fs::metadata(directory.path().join("events.jsonl")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
