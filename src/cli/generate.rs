//! `tagalong completions` and `tagalong man`: made from the command line's own definition, and the configuration's.

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::{
    Code,
    args::{Args, Page},
    print, reference,
};

pub(super) fn completions(shell: Shell) -> Code {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "tagalong", &mut text);
    print::raw(&text);
    Code::Done
}

pub(super) fn man(page: Page) -> Code {
    let made = match page {
        Page::Tagalong => reference::program_page(),
        Page::TagalongToml => reference::configuration_page(),
    };
    match made {
        Ok(text) => {
            print::raw(&text);
            Code::Done
        }
        Err(error) => {
            print::error(format!("the manual page cannot be made: {error}"));
            Code::Failed
        }
    }
}
