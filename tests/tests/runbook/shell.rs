//! An operator's terminal: one shell, in which the commands of a page run as they stand.
//!
//! What the page calls `/var`, `/etc`, `/usr/bin` and `/mnt` lies in a directory of its own here,
//! and each address of the page is one of this machine's. What is printed is mapped back.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::ChildStdin;
use std::sync::mpsc::{Receiver, channel};

use anyhow::{Context, Result, ensure};
use cairn_playground::world::{Launch, Port, Ports, Process};
use cairn_tests::{DEADLINE, program};
use tempfile::TempDir;

use crate::page::{Block, Command, blocks, is_as_told};

/// The folders of the page that lie below the terminal's own.
const FOLDERS: [&str; 4] = ["/etc/", "/usr/bin/", "/var/lib/", "/mnt/"];

/// The address of the page's cluster.
const CLUSTER: &str = "10.0.0.1:8046";

/// The address of the page's rehearsal.
const REHEARSAL: &str = "127.0.0.1:9999";

/// What a command came to.
struct Done {
    status: i32,
    printed: String,
}

/// The terminal. Whatever was started in it ends with it.
pub(crate) struct Terminal {
    name: &'static str,
    page: Vec<Block>,
    process: Process,
    input: ChildStdin,
    statuses: Receiver<String>,
    /// What the page says, and what that is here.
    mapped: Vec<(String, String)>,
    cluster: Port,
    rehearsal: Port,
    commands: usize,
    _ports: Ports,
    /// Last, so that nobody writes there any more when it goes.
    root: TempDir,
}

impl Terminal {
    /// Opens one, with the variables that `operations.md` sets at its beginning.
    pub(crate) fn open() -> Result<Self> {
        let mut terminal = Self::open_on("operations.md")?;
        let heading = "The commands on this page";
        let variables = terminal.block("sh", heading, 1)?.script();
        terminal.done(&variables)?;
        Ok(terminal)
    }

    /// Opens one for the commands of the page `name` of `docs/`.
    pub(crate) fn open_on(name: &'static str) -> Result<Self> {
        let root = tempfile::tempdir()?;
        let at = root.path();
        let programs = program("persister")?;
        let programs = programs.parent().context("it lies in a directory")?;
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for folder in FOLDERS {
            fs::create_dir_all(at.join(&folder[1..]))?;
        }
        fs::create_dir_all(at.join("etc/systemd/system"))?;
        fs::create_dir_all(at.join("here/target"))?;
        symlink(programs, at.join("here/target/release"))?;
        symlink(
            fs::canonicalize(repository.join("dist"))?,
            at.join("here/dist"),
        )?;
        let fakes = fs::canonicalize(repository.join("tests/tests/runbook/bin"))?;
        let path = std::env::var("PATH").context("there is a PATH")?;
        let path = format!("{}:{}:{path}", fakes.display(), programs.display());
        let mut shell = std::process::Command::new("bash");
        shell
            .args(["--norc", "--noprofile"])
            .env("PATH", path)
            .env("ROOT", at)
            .current_dir(at.join("here"));
        let launch = Launch {
            pipe_stdin: true,
            pipe_stdout: true,
            ..Launch::of("terminal", &shell, at.join("log"))
        };
        let process = Process::start(&launch, &program("cairn")?)?;
        let input = process.take_stdin().context("standard input is piped")?;
        let output = process.take_stdout().context("standard output is piped")?;
        let (said, statuses) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if said.send(line).is_err() {
                    break;
                }
            }
        });
        let mut ports = Ports::default();
        let (cluster, rehearsal) = (ports.port()?, ports.port()?);
        let addresses = [(CLUSTER, &cluster), (REHEARSAL, &rehearsal)];
        let addresses = addresses.map(|(page, port)| (page.to_owned(), port.address()));
        let folder = |folder: &str| (folder.to_owned(), format!("{}{folder}", at.display()));
        Ok(Self {
            name,
            page: blocks(name)?,
            process,
            input,
            statuses,
            mapped: addresses.into_iter().chain(FOLDERS.map(folder)).collect(),
            cluster,
            rehearsal,
            commands: 0,
            _ports: ports,
            root,
        })
    }

    /// Where the page's cluster is.
    pub(crate) fn cluster(&self) -> String {
        self.cluster.address()
    }

    /// Where the page's rehearsal is.
    pub(crate) fn rehearsal(&self) -> String {
        self.rehearsal.address()
    }

    /// Where a path of the page is.
    pub(crate) fn path(&self, page: &str) -> PathBuf {
        self.root.path().join(page.trim_start_matches('/'))
    }

    /// The log of a persister that was started by its unit.
    pub(crate) fn log(&self, id: u32) -> String {
        let log = self.path(&format!("/run/{id}/log"));
        fs::read_to_string(log).unwrap_or_default()
    }

    /// What something of the page is here, from now on.
    pub(crate) fn map(&mut self, page: &str, here: String) {
        self.mapped.retain(|(known, _)| known != page);
        self.mapped.push((page.to_owned(), here));
    }

    fn block(&self, language: &str, heading: &str, number: usize) -> Result<Block> {
        let is_it = |block: &&Block| block.heading == heading && block.language == language;
        let block = self.page.iter().filter(is_it).nth(number - 1);
        block.cloned().with_context(|| {
            let name = self.name;
            format!("{name} has no block {number} of {language} below \"{heading}\"")
        })
    }

    /// The commands of the block `number`, from 1, of commands alone below `heading`.
    pub(crate) fn commands<const N: usize>(
        &self,
        heading: &str,
        number: usize,
    ) -> Result<[Command; N]> {
        let commands = self.block("sh", heading, number)?.commands();
        let found = commands.len();
        <[Command; N]>::try_from(commands)
            .ok()
            .with_context(|| format!("{heading}, {number}: {found} commands, not {N}"))
    }

    /// Runs what the block `number`, from 1, below `heading` shows. Each command must print what
    /// the page says, and succeed unless the page asks for its status next. What the last prints.
    pub(crate) fn play(&mut self, heading: &str, number: usize) -> Result<String> {
        let block = self.block("console", heading, number)?;
        let commands = block.commands();
        ensure!(!commands.is_empty(), "{heading}, {number}: no command");
        let mut printed = String::new();
        for (at, command) in commands.iter().enumerate() {
            let next = commands.get(at + 1).map(|next| &*next.text);
            printed = self.command(command, next == Some("echo $?"))?;
        }
        Ok(printed)
    }

    /// Runs a command of the page, which must print what the page says, and succeed. What it
    /// prints.
    pub(crate) fn enter(&mut self, command: &Command) -> Result<String> {
        self.command(command, false)
    }

    /// Starts the persister of this command, and waits until it follows its cluster.
    pub(crate) fn serve(&mut self, command: &Command) -> Result<()> {
        // What is behind a command would swallow the `&`.
        let text = command.text.split(" # ").next().unwrap_or_default();
        self.done(&format!("{} &", text.trim_end()))?;
        self.wait_for(text, |printed| printed.contains(" following cluster="))
    }

    /// Waits until what the newest command prints is as `is_there` says.
    fn wait_for(&self, text: &str, is_there: impl Fn(&str) -> bool) -> Result<()> {
        let begun = std::time::Instant::now();
        loop {
            let printed = fs::read_to_string(self.output()).unwrap_or_default();
            if is_there(&printed) {
                return Ok(());
            }
            ensure!(
                begun.elapsed() < DEADLINE,
                "$ {text}\nis not there yet, and has printed\n{printed}"
            );
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// Ends in good order what was started last.
    pub(crate) fn end(&mut self) -> Result<()> {
        self.run("kill $! && wait $!").map(drop)
    }

    /// What the newest command prints into.
    fn output(&self) -> PathBuf {
        self.root.path().join(format!("output-{}", self.commands))
    }

    fn command(&mut self, command: &Command, may_fail: bool) -> Result<String> {
        let done = self.done(&command.text)?;
        let lines: Vec<&str> = done.printed.lines().map(str::trim_end).collect();
        // A thread of its own writes the log: its lines may come between any two others.
        let mut answer = lines.clone();
        answer.retain(|line| !is_of_a_log(line));
        let told = &command.prints;
        ensure!(
            (is_as_told(told, &lines) || is_as_told(told, &answer))
                && (done.status == 0 || may_fail),
            "{}:{}: $ {}\nends with status {}, and prints\n{}\nThe page says\n{}",
            self.name,
            command.line,
            command.text,
            done.status,
            done.printed,
            command.prints.join("\n")
        );
        Ok(done.printed)
    }

    /// Runs a command that is not on the page, which must succeed. What it prints.
    pub(crate) fn run(&mut self, text: &str) -> Result<String> {
        let done = self.done(text)?;
        ensure!(done.status == 0, "$ {text}\n{}", done.printed);
        Ok(done.printed)
    }

    fn done(&mut self, text: &str) -> Result<Done> {
        self.commands += 1;
        let output = self.output();
        let text = self
            .mapped
            .iter()
            .fold(text.to_owned(), |text, (page, here)| {
                text.replace(page, here)
            });
        // The status of the last command stays what `$?` says.
        writeln!(
            self.input,
            "{{\n{text}\n}} >{} 2>&1 </dev/null\nstatus=$?; echo $status; (exit $status)",
            output.display()
        )?;
        let status = self.statuses.recv_timeout(DEADLINE);
        let printed = || fs::read_to_string(&output).unwrap_or_default();
        let status = status.with_context(|| format!("$ {text}\ndoes not end:\n{}", printed()))?;
        if text.ends_with('&') {
            // It has begun once it says so.
            self.wait_for(&text, |printed| !printed.is_empty())?;
        }
        let printed = self
            .mapped
            .iter()
            .fold(printed(), |text, (page, here)| text.replace(here, page));
        Ok(Done {
            status: status.parse()?,
            printed,
        })
    }
}

/// Whether a program has logged this line: it begins with a time and a level.
fn is_of_a_log(line: &str) -> bool {
    let mut words = line.split_whitespace();
    let is_time = |word: &str| word.len() > 20 && word.ends_with('Z') && word.contains('T');
    words.next().is_some_and(is_time)
        && matches!(words.next(), Some("ERROR" | "WARN" | "INFO" | "DEBUG"))
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- terminal ---\n{}", self.process.log());
        }
    }
}
