//! The file in the run directory that tells the hooks of DHCP clients to keep away from resolv.conf, and each process of ours
//! which servers another one set. It stands from the first time in a boot that servers which had answered were set, until
//! the agent is stopped or shall leave the resolver alone; without it every client does as it always did.

use std::{
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
};

use crate::sys::fs::{read_regular, replace};

/// The servers that resolv.conf is kept at by us, as the hooks see it from now on; `None` when it is not.
///
/// # Errors
/// The file cannot be made or removed.
pub fn set(run_dir: &Path, servers: Option<&[IpAddr]>) -> io::Result<()> {
    let file = file(run_dir);
    match servers {
        Some(servers) if self::servers(run_dir).as_deref() == Some(servers) => Ok(()),
        Some(servers) => {
            fs::create_dir_all(run_dir)?;
            let lines = servers.iter().flat_map(|server| [server.to_string(), "\n".to_owned()]);
            let lines = lines.collect::<String>();
            replace(run_dir, &file, lines.as_bytes(), 0o644).map(drop)
        }
        None => match fs::remove_file(file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        },
    }
}

/// The servers that a process of ours set last in this boot.
#[must_use]
pub fn servers(run_dir: &Path) -> Option<Vec<IpAddr>> {
    let content = read_regular(&file(run_dir), LIMIT).ok()??;
    String::from_utf8(content).ok()?.lines().map(|line| line.parse().ok()).collect()
}

fn file(run_dir: &Path) -> PathBuf {
    run_dir.join("resolver")
}

const LIMIT: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_there_while_we_manage_the_resolver() {
        let base = tempfile::tempdir().unwrap();
        let run_dir = base.path().join("run");
        let one = ["10.0.0.2".parse().unwrap()];
        let two = [one[0], "fd00::2".parse().unwrap()];
        for kept in [None, Some(&one[..]), Some(&one[..]), Some(&two[..]), None, None] {
            set(&run_dir, kept).unwrap();
            assert_eq!(file(&run_dir).exists(), kept.is_some());
            assert_eq!(servers(&run_dir).as_deref(), kept);
        }
    }
}
