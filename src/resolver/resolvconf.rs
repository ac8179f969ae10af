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

use super::{
    direct::{Direct, keep},
    probe::settings,
};
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
        let file = settings(&self.root)?;
        // A name server of this host stands in the file, and asks those of the records.
        match run(&self.root, &["-l", RECORD], b"").await {
            Ok(record) if file.is_local() => Ok(ResolvConf::parse(&record).settings()),
            _ => Ok(file),
        }
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
    /// Stands while its updates are off by our doing.
    off: PathBuf,
    file: Direct,
}

impl DebianResolvconf {
    /// The manager of the host whose files are at `root`; `file` writes resolv.conf, and `run_dir` knows whether updates are off
    /// by our doing, as long as resolvconf does.
    #[must_use]
    pub fn new(root: &Path, run_dir: &Path, file: Direct) -> Self {
        Self { root: root.to_path_buf(), off: run_dir.join("resolvconf.off"), file }
    }

    /// Switches its updates on again, if they are off by our doing; gives whether they were.
    async fn switch_on(&self) -> Result<bool, ResolverError> {
        if !self.off.exists() {
            return Ok(false);
        }
        run(&self.root, &["--enable-updates"], b"").await?;
        let _ = std::fs::remove_file(&self.off);
        Ok(true)
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
        let kept = keep(&self.off, b"");
        run(&self.root, &["--disable-updates"], b"").await?;
        let told = kept.and(self.file.apply(wanted).await);
        let now = self.file.current().await;
        if now.is_ok_and(|now| self.file.becomes(&now, wanted) != now) {
            // Better its own servers than nobody's.
            self.switch_on().await?;
        }
        told
    }

    async fn release(&self) -> Result<(), ResolverError> {
        self.switch_on().await.map(drop)
    }

    async fn restore(&self) -> Result<bool, ResolverError> {
        let given = self.file.restore().await;
        if !self.switch_on().await? && !matches!(given, Ok(true)) {
            return given;
        }
        // What was found may be old by now: the interfaces' own records are not.
        run(&self.root, &["-u"], b"").await?;
        given.map(|_| true)
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
            // Ours alone; what it runs may have credentials of its own.
            .env_remove("KRB5CCNAME")
            .env_remove("KRB5_CLIENT_KTNAME")
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
