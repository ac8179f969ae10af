//! `tagalong completions` and `tagalong man`: made from the command line's own definition.

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::{Code, args::Args, print};

pub(super) fn completions(shell: Shell) -> Code {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "tagalong", &mut text);
    print::raw(&text);
    Code::Done
}

pub(super) fn man() -> Code {
    let mut text = Vec::new();
    match clap_mangen::Man::new(Args::command()).section("8").render(&mut text) {
        Ok(()) => {
            print::raw(&text);
            Code::Done
        }
        Err(error) => {
            print::error(format!("the manual page cannot be made: {error}"));
            Code::Failed
        }
    }
}
