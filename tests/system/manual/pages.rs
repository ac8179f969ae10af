//! README and the manual as text: their fenced blocks.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// One fenced block of a page.
pub(crate) struct Block {
    /// `toml` of `toml file=config.toml`
    pub(crate) language: String,
    /// The other words.
    pub(crate) words: Vec<String>,
    pub(crate) text: String,
    /// `docs/servers/bind.md:12`
    pub(crate) place: String,
}

impl Block {
    /// Whether it is commands for a shell.
    pub(crate) fn is_shell(&self) -> bool {
        ["sh", "bash", "shell", "console"].contains(&self.language.as_str())
    }

    pub(crate) fn has(&self, word: &str) -> bool {
        self.words.iter().any(|it| it == word)
    }
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// README, the manual, and what else is read on the way: sorted, as paths below the repository.
pub(crate) fn pages() -> Vec<String> {
    let beside = [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "localstack/README.md",
        "infra/README.md",
    ];
    let mut pages = beside.map(str::to_owned).to_vec();
    let mut folders: Vec<PathBuf> = vec![root().join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == "md") {
                pages.push(path.strip_prefix(root()).unwrap().display().to_string());
            }
        }
    }
    pages.sort();
    pages
}

pub(crate) fn text(page: &str) -> String {
    fs::read_to_string(root().join(page)).unwrap()
}

/// The fenced blocks of a page. A fence is three backticks at the beginning of its line, and nothing else is one.
pub(crate) fn blocks(page: &str) -> Vec<Block> {
    let text = text(page);
    let mut blocks = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let place = format!("{page}:{}", number + 1);
        let is_odd = line.trim_start().starts_with("~~~")
            || (line.trim_start().starts_with("```") && line.starts_with(char::is_whitespace));
        assert!(!is_odd, "{place}: a fence that no test would see: {line}");
        let Some(info) = line.strip_prefix("```") else { continue };
        let mut words = info.split_whitespace().map(str::to_owned);
        let language = words.next().unwrap_or_default();
        assert!(!language.is_empty(), "{place}: say of what the block is: text, sh, toml");
        let mut text = String::new();
        loop {
            let (_, line) =
                lines.next().unwrap_or_else(|| panic!("{place}: a block without an end"));
            if line.starts_with("```") {
                break;
            }
            text.push_str(line);
            text.push('\n');
        }
        blocks.push(Block { language, words: words.collect(), text, place });
    }
    blocks
}
