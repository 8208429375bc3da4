//! The exit codes of the tools, in one place: scripts depend on them.

use std::process::ExitCode;

/// Everything was done, and what was read is whole.
pub const OK: u8 = 0;
/// `dumpjournal --check`: whole, with a torn tail.
pub const TORN_TAIL: u8 = 1;
/// `dumpjournal`, `diffjournal`: damaged where it had been acknowledged.
pub const CORRUPT: u8 = 2;
/// `dumpjournal --check`: whole, with revisions that nobody saw.
pub const GAPS: u8 = 3;
/// `diffjournal`: the journals differ.
pub const DIFFERENT: u8 = 1;
/// `diffjournal`: there is nothing that both journals saw.
pub const NOTHING_IN_COMMON: u8 = 3;
/// `writejournal`: something in the input could not be read or stored.
pub const BAD_INPUT: u8 = 1;
/// `writejournal --skip-damaged`: damage was left out.
pub const LEFT_OUT: u8 = 3;
/// All: no journal there, or the operating system refused.
pub const UNUSABLE: u8 = 4;
/// All: the command line is wrong (`EX_USAGE`; clap's own 2 would say "corrupt").
pub const USAGE: u8 = 64;

/// Parses the command line; where that ends the program, says with which code.
///
/// `usage`: the code for a wrong command line. Help and version always exit 0.
pub fn parse<T: clap::Parser>(usage: u8) -> Result<T, ExitCode> {
    T::try_parse().map_err(|error| {
        // Nothing is left to be done about a closed standard error.
        let _ = error.print();
        if error.use_stderr() {
            ExitCode::from(usage)
        } else {
            ExitCode::SUCCESS
        }
    })
}
