//! Programs that some tests need and that not every machine has. `./test` installs them.

use std::env;
use std::process::Command;

use anyhow::{Result, ensure};

/// What a test says where it cannot run.
const ADVICE: &str = "./test installs what the tests need, and runs them";

/// A command for `program`; an error that names `./test` if this machine does not have it.
pub fn needed(program: &str) -> Result<Command> {
    let path = env::var_os("PATH").unwrap_or_default();
    ensure!(
        env::split_paths(&path).any(|folder| folder.join(program).is_file()),
        "this test needs the program {program}, which is not on this machine: {ADVICE}"
    );
    Ok(Command::new(program))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_named_with_what_installs_it() {
        let said = needed("no-such-program").unwrap_err().to_string();
        assert!(
            said.contains("no-such-program") && said.contains("./test"),
            "{said}"
        );
        assert!(needed("cargo").is_ok());
    }
}
