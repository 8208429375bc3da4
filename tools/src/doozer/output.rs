//! Prints results: plain for people and shells, or JSON for programs.

use std::io::{self, Write};

use cairn_client::{Event, EventKind, File, Revision, Stat};
use cairn_sync_client::Error;
use serde_json::{Map, Value, json};

/// Writes results, each flushed: a reader of `watch` must not wait for a buffer to fill.
#[derive(Debug)]
pub struct Output<W> {
    out: W,
    json: bool,
}

impl<W: Write> Output<W> {
    /// Prints to `out`.
    pub fn new(out: W, json: bool) -> Self {
        Self { out, json }
    }

    /// The revision of a write, or the newest one.
    pub fn revision(&mut self, path: Option<&str>, rev: Revision, durable: bool) -> io::Result<()> {
        match (self.json, path) {
            (false, _) => self.text(format_args!("{rev}\n")),
            (true, None) => self.object(json!({ "rev": rev.0 })),
            (true, Some(path)) => {
                self.object(json!({ "path": path, "rev": rev.0, "durable": durable }))
            }
        }
    }

    /// A delete that was done; nothing to say to people.
    pub fn deleted(&mut self, path: &str, durable: bool) -> io::Result<()> {
        if self.json {
            self.object(json!({ "path": path, "deleted": true, "durable": durable }))?;
        }
        Ok(())
    }

    /// A file's body.
    pub fn file(&mut self, path: &str, file: &File) -> io::Result<()> {
        if self.json {
            let mut object = fields(json!({ "path": path, "rev": file.revision.0 }));
            body(&mut object, &file.value);
            return self.object(object.into());
        }
        self.out.write_all(&file.value)?;
        self.out.flush()
    }

    /// A file that was found.
    pub fn found(&mut self, file: &Event) -> io::Result<()> {
        if self.json {
            let length = file.value.len();
            let object = json!({ "path": file.path, "rev": file.revision.0, "len": length });
            return self.object(object);
        }
        self.text(format_args!("{}\n", file.path))
    }

    /// A directory that was found.
    pub fn directory(&mut self, path: &str) -> io::Result<()> {
        if self.json {
            return self.object(json!({ "path": path, "kind": "directory" }));
        }
        self.text(format_args!("{path}\n"))
    }

    /// What is at a path.
    pub fn stat(&mut self, path: &str, stat: Stat) -> io::Result<()> {
        if !self.json {
            return match stat {
                Stat::Missing => self.text(format_args!("0 0\n")),
                Stat::File { revision, len } => self.text(format_args!("{revision} {len}\n")),
                Stat::Directory { entries } => self.text(format_args!("d {entries}\n")),
            };
        }
        self.object(match stat {
            Stat::Missing => json!({ "path": path, "kind": "missing" }),
            Stat::File { revision, len } => {
                json!({ "path": path, "kind": "file", "rev": revision.0, "len": len })
            }
            Stat::Directory { entries } => {
                json!({ "path": path, "kind": "directory", "entries": entries })
            }
        })
    }

    /// A change.
    pub fn event(&mut self, event: &Event) -> io::Result<()> {
        let Event {
            path,
            revision,
            value,
            kind,
        } = event;
        let op = match kind {
            EventKind::Set => "set",
            EventKind::Delete => "del",
            EventKind::Nop => "nop",
        };
        if self.json {
            let mut object = fields(json!({ "path": path, "rev": revision.0, "op": op }));
            if *kind == EventKind::Set {
                body(&mut object, value);
            }
            return self.object(object.into());
        }
        writeln!(self.out, "{path} {revision} {op} {}", value.len())?;
        self.out.write_all(value)?;
        self.text(format_args!("\n"))
    }

    /// The name of a node.
    pub fn node(&mut self, name: &[u8]) -> io::Result<()> {
        let name = String::from_utf8_lossy(name);
        if self.json {
            return self.object(json!({ "self": name }));
        }
        self.text(format_args!("{name}\n"))
    }

    fn text(&mut self, text: std::fmt::Arguments<'_>) -> io::Result<()> {
        self.out.write_fmt(text)?;
        self.out.flush()
    }

    fn object(&mut self, object: Value) -> io::Result<()> {
        self.text(format_args!("{object}\n"))
    }
}

fn fields(object: Value) -> Map<String, Value> {
    match object {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// JSON has no bytes: a body that is not text comes in hex, under a name that says so.
fn body(object: &mut Map<String, Value>, value: &[u8]) {
    object.insert("len".into(), value.len().into());
    match str::from_utf8(value) {
        Ok(text) => object.insert("value".into(), text.into()),
        Err(_) => {
            let hex: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
            object.insert("value_hex".into(), hex.into())
        }
    };
}

/// An error as a line of JSON.
#[must_use]
pub fn error_object(error: &Error) -> Value {
    let mut object = fields(json!({
        "error": error.to_string(),
        "rev_mismatch": error.is_rev_mismatch(),
        "may_have_happened": error.may_have_happened(),
    }));
    if let Error::Unconfirmed {
        revision,
        exact,
        confirmed_by,
        ..
    } = error
    {
        object.insert("unconfirmed".into(), true.into());
        object.insert("confirmed_by".into(), confirmed_by.clone().into());
        if *exact {
            object.insert("rev".into(), revision.0.into());
        }
    }
    object.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(json: bool, print: impl FnOnce(&mut Output<&mut Vec<u8>>)) -> String {
        let mut out = Vec::new();
        print(&mut Output::new(&mut out, json));
        String::from_utf8(out).unwrap()
    }

    fn event(value: &'static [u8], kind: EventKind) -> Event {
        Event {
            revision: Revision(61),
            path: "/a".into(),
            value: value.into(),
            kind,
        }
    }

    #[test]
    fn changes_are_printed_with_length_and_body() {
        let set = event(b"x\ny", EventKind::Set);
        let delete = event(b"", EventKind::Delete);
        assert_eq!(
            printed(false, |out| out.event(&set).unwrap()),
            "/a 61 set 3\nx\ny\n"
        );
        assert_eq!(
            printed(false, |out| out.event(&delete).unwrap()),
            "/a 61 del 0\n\n"
        );
    }

    #[test]
    fn json_is_one_object_a_line_and_keeps_bytes() {
        let text = printed(true, |out| {
            out.event(&event(b"x\ny", EventKind::Set)).unwrap();
            out.event(&event(b"\xff\x00", EventKind::Set)).unwrap();
        });
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines[0]["value"], "x\ny");
        assert_eq!(lines[1]["value_hex"], "ff00");
        assert_eq!(lines[1]["len"], 2);
    }

    #[test]
    fn stat_prints_what_the_original_does() {
        let stat = |stat| printed(false, |out| out.stat("/a", stat).unwrap());
        assert_eq!(stat(Stat::Missing), "0 0\n");
        assert_eq!(
            stat(Stat::File {
                revision: Revision(61),
                len: 3
            }),
            "61 3\n"
        );
        assert_eq!(stat(Stat::Directory { entries: 2 }), "d 2\n");
    }
}
