//! The file in the run directory that tells the hooks of DHCP clients to keep away from resolv.conf, and each process of ours
//! what another one set. It stands while an agent runs, from the first time that it set servers which had answered, and not
//! where it shall leave the resolver alone; without it every client does as it always did.

use std::{
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    core::resolv_conf::Wanted,
    sys::fs::{is_locked, read_regular, replace},
};

/// What resolv.conf is kept at by us, as the hooks see it from now on; `None` when it is not. Where no agent runs, nobody
/// keeps it: then a client's own servers are better than those of one pass, once these have died.
///
/// # Errors
/// The file cannot be made or removed.
pub fn set(run_dir: &Path, wanted: Option<&Wanted>) -> io::Result<()> {
    let file = file(run_dir);
    match wanted.filter(|_| matches!(is_locked(&run_dir.join(AGENT_LOCK)), Ok(Some(true)))) {
        Some(wanted) if self::wanted(run_dir).as_ref() == Some(wanted) => Ok(()),
        Some(wanted) => {
            let mut content = serde_json::to_vec(&Kept::of(wanted))?;
            content.push(b'\n');
            replace(run_dir, &file, &content, 0o644).map(drop)
        }
        None => match fs::remove_file(file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        },
    }
}

/// What a process of ours set last, or is about to set.
#[must_use]
pub fn wanted(run_dir: &Path) -> Option<Wanted> {
    let content = read_regular(&file(run_dir), LIMIT).ok()??;
    let Kept { nameservers, search, options, sortlist } = serde_json::from_slice(&content).ok()?;
    Some(Wanted { nameservers, search, options, sortlist })
}

#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    nameservers: Vec<IpAddr>,
    search: Vec<String>,
    options: Vec<String>,
    sortlist: Option<String>,
}

impl Kept {
    fn of(wanted: &Wanted) -> Self {
        let Wanted { nameservers, search, options, sortlist } = wanted.clone();
        Self { nameservers, search, options, sortlist }
    }
}

fn file(run_dir: &Path) -> PathBuf {
    run_dir.join("resolver")
}

/// What the agent holds for as long as it runs.
pub const AGENT_LOCK: &str = "agent.lock";
const LIMIT: u64 = 1 << 16;

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn it_is_there_while_an_agent_manages_the_resolver() {
        let base = tempfile::tempdir().unwrap();
        let run_dir = base.path().join("run");
        fs::create_dir(&run_dir).unwrap();
        let one = Wanted { nameservers: vec!["10.0.0.2".parse().unwrap()], ..Wanted::default() };
        set(&run_dir, Some(&one)).unwrap();
        assert!(!file(&run_dir).exists(), "nobody would keep it up");
        let agent = File::create(run_dir.join(AGENT_LOCK)).unwrap();
        agent.lock().unwrap();
        let two = Wanted { search: vec!["corp.internal".to_owned()], ..one.clone() };
        for kept in [None, Some(&one), Some(&one), Some(&two), None, None] {
            set(&run_dir, kept).unwrap();
            assert_eq!(file(&run_dir).exists(), kept.is_some());
            assert_eq!(wanted(&run_dir).as_ref(), kept);
        }
        set(&run_dir, Some(&one)).unwrap();
        agent.unlock().unwrap();
        set(&run_dir, Some(&one)).unwrap();
        assert!(!file(&run_dir).exists(), "the agent is gone");
    }
}
