//! The file in the run directory that tells the hooks of DHCP clients to keep away from resolv.conf. It stands from the
//! first time in a boot that servers which had answered were set, until the agent is stopped or shall leave the resolver alone; without it
//! every client does as it always did.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::sys::fs::replace;

/// Whether resolv.conf is kept by us, as the hooks see it from now on.
///
/// # Errors
/// The file cannot be made or removed.
pub fn set(run_dir: &Path, is_managed: bool) -> io::Result<()> {
    let file = file(run_dir);
    match (is_managed, file.exists()) {
        (true, false) => {
            fs::create_dir_all(run_dir)?;
            replace(run_dir, &file, b"", 0o644).map(drop)
        }
        (false, true) => fs::remove_file(file),
        (true, true) | (false, false) => Ok(()),
    }
}

fn file(run_dir: &Path) -> PathBuf {
    run_dir.join("resolver")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_there_while_we_manage_the_resolver() {
        let base = tempfile::tempdir().unwrap();
        let run_dir = base.path().join("run");
        for is_managed in [false, true, true, false, false] {
            set(&run_dir, is_managed).unwrap();
            assert_eq!(file(&run_dir).exists(), is_managed);
        }
    }
}
