//! The `tagalong` program: parse, install the log, run, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    tagalong::cli::main()
}
