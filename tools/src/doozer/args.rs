//! The command line of `doozer`.

use std::ffi::OsStr;
use std::time::Duration;

use cairn_client::{Revision, Uri};
use clap::ArgAction;
use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use clap_complete::Shell;

/// The command line.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "doozer",
    version,
    disable_version_flag = true,
    about = "Reads and writes a coordination cluster that speaks the doozer protocol",
    after_long_help = LONG_HELP
)]
pub struct Args {
    /// The cluster.
    #[arg(
        short = 'a',
        long = "address",
        value_name = "URI",
        global = true,
        value_parser = UriParser,
        help = "The cluster: doozer:?ca=HOST:PORT[&ca=...][&cn=NAME][&sk=SECRET], or HOST:PORT \
            [default: DOOZER_URI, else 127.0.0.1:8046]"
    )]
    pub uri: Option<Uri>,
    /// Look the cluster name (cn) of the URI up in this cluster [default: DOOZER_BOOT_URI]
    #[arg(short = 'b', long, value_name = "URI", global = true, value_parser = UriParser)]
    pub boot: Option<Uri>,
    /// Return from a write once these persisters have it on disk, such as 1 or 1,2,3 [default:
    /// persist= in the URI, else CAIRN_PERSIST, else do not wait]
    #[arg(long, value_name = "ID[,ID...]", global = true)]
    pub sync: Option<String>,
    /// Of these persisters, wait for K [default: require= in the URI, else CAIRN_REQUIRE, else all
    /// that are named]
    #[arg(long, value_name = "K", global = true)]
    pub require: Option<String>,
    /// Give a request this long, and after it the persisters, such as 500ms, 5s, 1m30s. Without it
    /// `wait`, and reading at a revision that is still to come, have no limit [default: 5s]
    #[arg(short = 't', long, value_name = "TIME", global = true, value_parser = duration)]
    pub timeout: Option<Duration>,
    /// Print results and errors as JSON, one object a line
    #[arg(long, global = true)]
    pub json: bool,
    /// Print the version
    #[arg(short = 'v', short_alias = 'V', long, action = ArgAction::Version)]
    version: Option<bool>,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Create a file that does not exist; reads its body from standard input
    Add {
        /// The file
        path: String,
    },
    /// Write a file whose revision is at most REV; reads its body from standard input
    #[command(allow_negative_numbers = true)]
    Set {
        /// The file
        path: String,
        /// The revision that the writer knows; 0: the file must not exist, -1: any revision
        #[arg(value_name = "REV", value_parser = revision)]
        rev: Revision,
    },
    /// Print a file's body
    Get {
        /// The file
        path: String,
        /// As of this revision
        #[arg(short, long, value_name = "REV", value_parser = revision)]
        rev: Option<Revision>,
    },
    /// Delete a file whose revision is at most REV
    #[command(allow_negative_numbers = true)]
    Del {
        /// The file
        path: String,
        /// The revision that the writer knows; -1: any revision
        #[arg(value_name = "REV", value_parser = revision)]
        rev: Revision,
    },
    /// Print a path and all paths below it, or those of all files that match a glob
    Find {
        /// A path, or one with wildcards: ? is one character, * a name or a part of one, ** any
        /// path
        glob: String,
        /// As of this revision
        #[arg(short, long, value_name = "REV", value_parser = revision)]
        rev: Option<Revision>,
    },
    /// Print a file's revision and length (0 0: missing; d N: a directory of N entries)
    Stat {
        /// The file or directory
        path: String,
        /// As of this revision
        #[arg(short, long, value_name = "REV", value_parser = revision)]
        rev: Option<Revision>,
    },
    /// Print the newest revision
    Rev,
    /// Print every change of files that match a glob, as it happens
    Watch {
        /// A path with wildcards, as for find
        glob: String,
        /// Begin at this revision [default: from now on]
        #[arg(short, long, value_name = "REV", value_parser = revision)]
        rev: Option<Revision>,
    },
    /// Print the first change of a file that matches a glob, and end
    Wait {
        /// A path with wildcards, as for find
        glob: String,
        /// Begin at this revision [default: from now on]
        #[arg(short, long, value_name = "REV", value_parser = revision)]
        rev: Option<Revision>,
    },
    /// Consume a revision and change nothing
    Nop,
    /// Print the name of the node that answers
    #[command(name = "self")]
    Self_,
    /// Rewrite a file with its own content, or create it empty
    Touch {
        /// The file
        path: String,
    },
    /// Measure how fast writes are: plain, and with --sync durable too
    Bench(Bench),
    /// Print a script that makes a shell complete this command
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// The load that `bench` makes.
#[derive(Clone, Debug, clap::Args)]
pub struct Bench {
    /// Write over this many connections
    #[arg(
        long,
        default_value_t = 1,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=1_000)
    )]
    pub clients: u32,
    /// Keep this many writes in flight on each
    #[arg(
        long,
        default_value_t = 1,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=1_000)
    )]
    pub in_flight: u32,
    /// Make this many writes in all
    #[arg(
        long,
        default_value_t = 10_000,
        value_name = "N",
        value_parser = clap::value_parser!(u64).range(1..=10_000_000)
    )]
    pub count: u64,
    /// Write this many bytes each time
    #[arg(
        long,
        default_value_t = 100,
        value_name = "BYTES",
        value_parser = clap::value_parser!(u32).range(0..=1_000_000)
    )]
    pub size: u32,
}

const LONG_HELP: &str = "\
Every change gives the cluster a new revision, a number that only grows. A write names the revision
that the writer knows, and fails if the file has changed since: read, decide, write, and begin again
if somebody else was faster. `add`, `set` and `touch` print the new revision.

`watch` and `wait` print a change as a line PATH REV set|del LEN, then LEN bytes of body, then a
newline.

Examples:
  printf hello | doozer add /greeting         create; fails if the file exists
  doozer get /greeting
  printf bye | doozer set /greeting 61        change; fails if the file is newer than 61
  printf bye | doozer set /greeting -1        change, at any revision
  printf hi | doozer --sync 1,2 set /a -1     return once persisters 1 and 2 have it on disk
  doozer find /                               all that there is
  doozer find '/app/**'                       all files below /app
  doozer --timeout 30s wait /app/leader       the next change of one file, for at most 30 s
  doozer watch '/app/*' | while read path rev op len; do ...
  doozer bench --sync 1,2,3 --require 2 --in-flight 64
  doozer completions bash > /etc/bash_completion.d/doozer

Environment:
  DOOZER_URI       the cluster, as -a
  DOOZER_BOOT_URI  the cluster that knows the addresses of a named cluster, as -b
  CAIRN_PERSIST    the persisters that a write waits for, as --sync
  CAIRN_REQUIRE    how many of them, as --require

Exit codes:
  0  done
  1  revision mismatch: the file has changed since the given revision
  2  anything else, a wrong command line included";

/// Parses a URI. Unlike clap's own, its error does not repeat the text, which may hold a secret.
#[derive(Clone, Debug)]
struct UriParser;

impl TypedValueParser for UriParser {
    type Value = Uri;

    fn parse_ref(
        &self,
        cmd: &clap::Command,
        arg: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<Uri, clap::Error> {
        let text = value.to_str().ok_or_else(|| "not UTF-8".to_owned());
        text.and_then(uri).map_err(|why| {
            let option = arg.map_or_else(|| "URI".to_owned(), ToString::to_string);
            let message = format!("invalid value for '{option}': {why}\n");
            clap::Error::raw(ErrorKind::ValueValidation, message).with_cmd(cmd)
        })
    }
}

fn uri(text: &str) -> Result<Uri, String> {
    if text.starts_with("etcd:") || text.starts_with("etcds:") {
        return Err(
            "this program speaks doozer; for a cluster of etcd there is etcdctl".to_owned(),
        );
    }
    let parsed = if text.starts_with("doozer:") {
        text.parse()
    } else {
        Uri::from_address(text)
    };
    parsed.map_err(|error| error.to_string())
}

fn revision(text: &str) -> Result<Revision, String> {
    let number = text
        .parse()
        .map_err(|_| "a revision is a whole number".to_owned())?;
    Ok(Revision(number))
}

/// Times with their units, such as 1m30s. A bare number would have to guess.
fn duration(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, u64); 6] = [
        ("ns", 1),
        ("us", 1_000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60_000_000_000),
        ("h", 3_600_000_000_000),
    ];
    let mut nanos = Some(0_u64);
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, behind) = rest.split_at(digits);
        let letters = behind.len() - behind.trim_start_matches(char::is_alphabetic).len();
        let (unit, behind) = behind.split_at(letters);
        let unit = UNITS.iter().find(|(name, _)| *name == unit);
        let part = unit.and_then(|(_, nanos)| number.parse::<u64>().ok()?.checked_mul(*nanos));
        nanos = nanos
            .zip(part)
            .and_then(|(sum, part)| sum.checked_add(part));
        if nanos.is_none() {
            break;
        }
        rest = behind;
    }
    nanos
        .filter(|nanos| *nanos > 0)
        .map(Duration::from_nanos)
        .ok_or_else(|| "give whole numbers with their units: 500ms, 5s, 1m30s, 1h".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn revisions_may_be_negative_and_options_stand_anywhere() {
        let args =
            Args::try_parse_from(["doozer", "set", "/a", "-1", "--sync", "1,2", "-a", "h:1"]);
        let args = args.unwrap();
        assert!(matches!(
            args.command,
            Command::Set {
                rev: Revision(-1),
                ..
            }
        ));
        assert_eq!(args.sync.as_deref(), Some("1,2"));
        assert_eq!(args.uri.unwrap().addresses, ["h:1"]);
    }

    #[test]
    fn an_error_never_repeats_a_secret() {
        for bad in [
            "doozer:?ca=h:0&sk=hush",
            "doozer:?ca=h:1&sk=hush&x=1",
            "doozer:?sk=hush",
            "doozer:?ca=&sk=hush",
            "h:1&sk=hush",
            "http://h?sk=hush",
            "etcd://ada:hush@h",
            "http://ada:hush@h",
        ] {
            let error = Args::try_parse_from(["doozer", "-a", bad, "rev"]).unwrap_err();
            let error = error.to_string();
            assert!(
                error.contains("--address") && !error.contains("hush"),
                "{error}"
            );
        }
    }

    #[test]
    fn times_have_units() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("1500us"), Ok(Duration::from_micros(1_500)));
        for bad in [
            "5",
            "s",
            "",
            "-1s",
            "1.5s",
            "5 s",
            "1m30",
            "m30s",
            "0s",
            "5d",
            "99999999999999999999h",
        ] {
            assert!(duration(bad).is_err(), "{bad:?}");
        }
    }
}
