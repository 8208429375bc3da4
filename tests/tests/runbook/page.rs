//! The commands of a page, with what the page says that they print.
//!
//! A block that is marked `console` is what a terminal shows: a line that begins with `$ ` is a
//! command (a `\` at its end continues it), the lines below are what it prints. `...` stands for
//! anything within a line, and on a line of its own for any number of lines. A block that is marked
//! `sh` has commands alone, which may print anything.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// One command, and what it prints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Command {
    /// The line of the page.
    pub(crate) line: usize,
    /// What is typed.
    pub(crate) text: String,
    /// What is printed then.
    pub(crate) prints: Vec<String>,
}

/// A block of the page.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    /// The heading that it stands below, without its `#`.
    pub(crate) heading: String,
    /// `console`, `sh`, ...
    pub(crate) language: String,
    lines: Vec<(usize, String)>,
}

impl Block {
    /// Its commands.
    pub(crate) fn commands(&self) -> Vec<Command> {
        let (prompt, prints) = match &*self.language {
            "sh" => ("", vec!["...".to_owned()]),
            _ => ("$ ", Vec::new()),
        };
        let mut commands: Vec<Command> = Vec::new();
        let mut continued = false;
        for (line, text) in &self.lines {
            let typed = text.strip_prefix(prompt);
            match (typed, commands.last_mut()) {
                (_, Some(last)) if continued => last.text += &format!("\n{text}"),
                (Some(text), _) => commands.push(Command {
                    line: *line,
                    text: text.to_owned(),
                    prints: prints.clone(),
                }),
                (None, Some(last)) => last.prints.push(text.trim_end().to_owned()),
                (None, None) => {}
            }
            continued = (continued || typed.is_some()) && text.ends_with('\\');
        }
        commands
    }

    /// All of it, as a script.
    pub(crate) fn script(&self) -> String {
        let lines: Vec<&str> = self.lines.iter().map(|(_, text)| &**text).collect();
        lines.join("\n")
    }
}

/// The blocks of a page of `docs/`, in order.
pub(crate) fn blocks(name: &str) -> Result<Vec<Block>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../docs")
        .join(name);
    let page = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let found = of_text(&page)?;
    ensure!(!found.is_empty(), "{name} has no blocks");
    Ok(found)
}

fn of_text(page: &str) -> Result<Vec<Block>> {
    let mut blocks = Vec::new();
    let (mut heading, mut open) = (String::new(), None::<(usize, Block)>);
    for (number, line) in page.lines().enumerate() {
        let text = line.trim_start();
        let fence = text.strip_prefix("```");
        match (open.take(), fence) {
            (Some((_, block)), Some(_)) => blocks.push(block),
            (Some((indent, mut block)), None) => {
                let text = line.get(indent..).unwrap_or_default();
                block.lines.push((number + 1, text.to_owned()));
                open = Some((indent, block));
            }
            (None, Some(language)) => {
                let block = Block {
                    heading: heading.clone(),
                    language: language.to_owned(),
                    lines: Vec::new(),
                };
                open = Some((line.len() - text.len(), block));
            }
            (None, None) if line.starts_with('#') => {
                line.trim_start_matches('#').trim().clone_into(&mut heading);
            }
            (None, None) => {}
        }
    }
    ensure!(open.is_none(), "a block is not closed");
    Ok(blocks)
}

/// Whether `found` is what the page says.
pub(crate) fn is_as_told(told: &[String], found: &[&str]) -> bool {
    let Some((first, rest)) = told.split_first() else {
        return found.is_empty();
    };
    if first == "..." {
        return (0..=found.len()).any(|skipped| is_as_told(rest, &found[skipped..]));
    }
    let Some((line, left)) = found.split_first() else {
        return false;
    };
    is_line_as_told(first, line) && is_as_told(rest, left)
}

fn is_line_as_told(told: &str, line: &str) -> bool {
    let mut parts: Vec<&str> = told.split("...").collect();
    let Some(end) = parts.pop().filter(|_| !parts.is_empty()) else {
        return told == line;
    };
    let Some(mut rest) = line.strip_prefix(parts[0]) else {
        return false;
    };
    for part in &parts[1..] {
        let Some((_, after)) = rest.split_once(part) else {
            return false;
        };
        rest = after;
    }
    rest.ends_with(end)
}

#[test]
fn a_block_is_read_as_a_terminal_shows_it() -> Result<()> {
    let page = "# One\n\ntext `$ no`\n\n   ```console\n   $ a \\\n       b\n   $ c # why\n   1 ... 2\n   \
                ...\n   ```\n## Two\n```sh\nexport X=1\n```\n";
    let blocks = of_text(page)?;
    assert_eq!(blocks.len(), 2);
    assert_eq!((&*blocks[0].heading, &*blocks[1].heading), ("One", "Two"));
    let commands = blocks[0].commands();
    assert_eq!(commands.len(), 2, "{commands:?}");
    assert_eq!(commands[0].text, "a \\\n    b");
    assert!(commands[0].prints.is_empty());
    assert_eq!(commands[1].line, 8);
    assert_eq!(commands[1].prints, ["1 ... 2", "..."]);
    assert_eq!(blocks[1].script(), "export X=1");
    let typed = blocks[1].commands();
    assert_eq!((&*typed[0].text, typed[0].line), ("export X=1", 14));
    Ok(())
}

#[test]
fn what_is_printed_is_compared_with_what_the_page_says() {
    let told = |lines: &[&str]| {
        lines
            .iter()
            .map(|line| (*line).to_owned())
            .collect::<Vec<_>>()
    };
    let same = |page: &[&str], found: &[&str]| is_as_told(&told(page), found);
    assert!(same(&[], &[]) && !same(&[], &["x"]) && !same(&["x"], &[]));
    assert!(same(&["a ... c"], &["a b c"]) && !same(&["a ... c"], &["a b"]));
    assert!(same(&["...c"], &["c"]) && same(&["a...", "..."], &["a"]));
    assert!(same(&["...", "b", "..."], &["a", "b"]) && !same(&["...", "b"], &["b", "c"]));
    assert!(!same(&["a ... a"], &["a "]), "one place is not both");
}
