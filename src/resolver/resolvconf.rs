//! resolvconf(8), which puts resolv.conf together from what every interface says.
//!
//! openresolv takes a record of ours that excludes the others'. Debian's cannot leave the others' servers out, so its updates
//! are switched off while the file is ours, as resolvconf(8) has it, and it is run again when the file is given back.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use async_trait::async_trait;
use tokio::{io::AsyncWriteExt as _, process::Command, time::timeout};

use super::{direct::Direct, probe::settings};
use crate::{
    core::{
        detect::Verdict,
        resolv_conf::{ResolvConf, Wanted},
    },
    ports::{ResolverManager, error::ResolverError},
    sys::fs::inside,
};

/// The manager of openresolv.
#[derive(Debug)]
pub struct Openresolv {
    root: PathBuf,
    verdict: Verdict,
}

impl Openresolv {
    /// The manager of the host whose files are at `root`.
    #[must_use]
    pub fn new(root: &Path, verdict: Verdict) -> Self {
        Self { root: root.to_path_buf(), verdict }
    }
}

#[async_trait]
impl ResolverManager for Openresolv {
    async fn current(&self) -> Result<ResolvConf, ResolverError> {
        settings(&self.root)
    }

    fn becomes(&self, current: &ResolvConf, wanted: &Wanted) -> ResolvConf {
        current.settings_with(wanted)
    }

    async fn apply(&self, wanted: &Wanted) -> Result<(), ResolverError> {
        // Of the others' records, since the file may be anybody's now.
        let records = run(&self.root, &["-l"], b"").await?;
        let record = ResolvConf::parse(&records).with(wanted).settings();
        let taken = run(&self.root, &["-x", "-m", "0", "-a", RECORD], &record.render()).await;
        // A record that it had already is not looked at again (3.12), and a file that it did not write is left alone (3.17):
        // this has the file written anew in both cases.
        run(&self.root, &["-u"], b"").await?;
        let now = self.current().await?;
        if self.becomes(&now, wanted) == now { Ok(()) } else { taken.map(drop) }
    }

    async fn restore(&self) -> Result<bool, ResolverError> {
        if run(&self.root, &["-l", RECORD], b"").await.is_err() {
            return Ok(false);
        }
        run(&self.root, &["-d", RECORD], b"").await?;
        Ok(true)
    }

    fn verdict(&self) -> &Verdict {
        &self.verdict
    }
}

/// The manager of the file that Debian's resolvconf writes.
#[derive(Debug)]
pub struct DebianResolvconf {
    root: PathBuf,
    file: Direct,
}

impl DebianResolvconf {
    /// The manager of the host whose files are at `root`; `file` writes resolv.conf.
    #[must_use]
    pub fn new(root: &Path, file: Direct) -> Self {
        Self { root: root.to_path_buf(), file }
    }
}

#[async_trait]
impl ResolverManager for DebianResolvconf {
    async fn current(&self) -> Result<ResolvConf, ResolverError> {
        self.file.current().await
    }

    fn becomes(&self, current: &ResolvConf, wanted: &Wanted) -> ResolvConf {
        self.file.becomes(current, wanted)
    }

    async fn apply(&self, wanted: &Wanted) -> Result<(), ResolverError> {
        run(&self.root, &["--disable-updates"], b"").await?;
        self.file.apply(wanted).await
    }

    async fn restore(&self) -> Result<bool, ResolverError> {
        if !self.file.restore().await? {
            return Ok(false);
        }
        run(&self.root, &["--enable-updates"], b"").await?;
        // What was found may be old by now: the interfaces' own records are not.
        run(&self.root, &["-u"], b"").await?;
        Ok(true)
    }

    fn verdict(&self) -> &Verdict {
        self.file.verdict()
    }
}

/// Runs resolvconf(8) of the host at `root`, and gives what it printed: of an image, none is run.
async fn run(root: &Path, arguments: &[&str], input: &[u8]) -> Result<Vec<u8>, ResolverError> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| ResolverError::Command {
        command: format!("resolvconf {}", arguments.join(" ")),
        source,
    };
    let program = PROGRAMS.iter().map(|path| inside(root, Path::new(path)));
    let program = program.into_iter().find(|path| path.exists() && root == Path::new("/"));
    let program = program.ok_or_else(|| failed("there is no such program".into()))?;
    let work = async {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        if let Some(mut pipe) = child.stdin.take() {
            pipe.write_all(input).await?;
        }
        child.wait_with_output().await
    };
    match timeout(LIMIT, work).await {
        Ok(Ok(output)) if output.status.success() => Ok(output.stdout),
        Ok(Ok(output)) => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(failed(format!("{}: {}", output.status, said.trim()).into()))
        }
        Ok(Err(error)) => Err(failed(Box::new(error))),
        Err(_) => Err(failed("it did not end in time".into())),
    }
}

/// Where resolvconf(8) is.
pub(super) const PROGRAMS: [&str; 3] =
    ["/usr/sbin/resolvconf", "/sbin/resolvconf", "/usr/bin/resolvconf"];
/// Our record among those of interfaces.
const RECORD: &str = "tagalong";
/// It may run programs of those who follow it.
const LIMIT: Duration = Duration::from_secs(5);
