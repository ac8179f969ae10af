//! The host: a directory with its files, and the agent that runs on it.

use std::{
    env,
    fs::{self, File},
    io::{self, Read as _, Write as _},
    os::unix::{fs::OpenOptionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{self, Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::{AGENT, Outcome, stage::Stage};

/// The host's files.
pub(crate) struct Host {
    root: PathBuf,
    agent: Child,
}

/// One pass of the agent.
#[derive(Debug)]
pub(crate) struct Pass {
    pub(crate) took: Duration,
    /// The agent's own summary.
    pub(crate) summary: String,
}

impl Host {
    /// A host as it boots: a configuration and a key from its image, a resolv.conf from DHCP.
    pub(crate) fn new(
        root: &Path,
        stage: &Stage,
        resolv_conf: &str,
        agent: &Child,
    ) -> Outcome<Self> {
        let host = Self { root: root.to_owned(), agent: agent.clone() };
        fs::create_dir_all(host.path("etc/tagalong"))?;
        fs::create_dir_all(host.path("var/lib/tagalong"))?;
        host.write("etc/tagalong/tsig.key", &stage.key.to_key_file(), 0o600)?;
        host.write(CONFIG, &host.config(stage)?, 0o644)?;
        host.write(RESOLV_CONF, resolv_conf, 0o644)?;
        Ok(host)
    }

    /// The configuration. Its first two keys, the port and the fallback are the demo's; a real host leaves them out.
    pub(crate) fn config(&self, stage: &Stage) -> Outcome<String> {
        let (metadata, aws, port) = (stage.metadata()?, stage.aws()?, stage.port());
        let key_file = self.path("etc/tagalong/tsig.key");
        Ok(format!(
            "version = 1\n\
             metadata.endpoint = \"http://{metadata}\"\n\
             aws.endpoint = \"http://{aws}\"\n\
             record = [{{ name = \"{{tag:Name}}.corp.internal\", reverse = true }}]\n\
             backend.internal.kind = \"rfc2136\"\n\
             backend.internal.key_file = \"{}\"\n\
             discovery = {{ value = \"corp.internal\", port = {port} }}\n\
             resolver = {{ search = [\"corp.internal\"], fallback = \"none\" }}\n",
            key_file.display()
        ))
    }

    /// Runs the agent once, as boot, a lease hook or a timer does; it must succeed.
    pub(crate) fn once(&self) -> Outcome<Pass> {
        let mut command = Command::new(env::current_exe()?);
        command.arg0(AGENT).args(["once", "--deadline", "5s"]);
        command.arg("--config").arg(self.path(CONFIG)).arg("--root").arg(&self.root);
        command.arg("--state-dir").arg(self.path("var/lib/tagalong"));
        command.arg("--run-dir").arg(self.path("run/tagalong"));
        // what the shell says of AWS, of proxies and of tagalong is not for this host
        command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = Instant::now();
        let (said, errors, is_good) = self.agent.run(&mut command)?;
        if !is_good {
            return Err(format!("the agent failed:\n{errors}{said}").into());
        }
        Ok(Pass { took: started.elapsed(), summary: said.trim().to_owned() })
    }

    /// Where resolv.conf is.
    pub(crate) fn resolv_conf(&self) -> PathBuf {
        self.path(RESOLV_CONF)
    }

    /// The servers in resolv.conf, as they stand there.
    pub(crate) fn servers(&self) -> Outcome<Vec<String>> {
        let text = fs::read_to_string(self.resolv_conf())?;
        let servers = text.lines().filter_map(|line| line.strip_prefix("nameserver "));
        Ok(servers.map(str::to_owned).collect())
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    fn write(&self, path: &str, text: &str, mode: u32) -> io::Result<()> {
        let mut options = File::options();
        let mut file = options.write(true).create(true).mode(mode).open(self.path(path))?;
        file.write_all(text.as_bytes())
    }
}

/// The agent while it runs: whoever ends the demo ends it too.
#[derive(Clone, Debug, Default)]
pub(crate) struct Child(Arc<Mutex<Slot>>);

#[derive(Debug, Default)]
struct Slot {
    running: Option<process::Child>,
    is_over: bool,
}

impl Child {
    /// Runs a program to its end: what it printed, what it complained of, and whether it succeeded.
    fn run(&self, command: &mut Command) -> Outcome<(String, String, bool)> {
        let (mut output, mut errors) = {
            let mut slot = self.slot();
            if slot.is_over {
                return Err("the demo is over".into());
            }
            let mut child = command.spawn()?;
            let pipes = (child.stdout.take(), child.stderr.take());
            slot.running = Some(child);
            pipes
        };
        // it prints a few lines: neither pipe is ever full
        let (mut said, mut complained) = (String::new(), String::new());
        if let (Some(output), Some(errors)) = (&mut output, &mut errors) {
            output.read_to_string(&mut said)?;
            errors.read_to_string(&mut complained)?;
        }
        let child = self.slot().running.take();
        let status = child.ok_or("the agent was ended")?.wait()?;
        Ok((said, complained, status.success()))
    }

    /// Ends what runs, and keeps anything else from starting.
    pub(crate) fn end(&self) {
        let mut slot = self.slot();
        slot.is_over = true;
        if let Some(mut child) = slot.running.take() {
            // it may have ended by itself
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const CONFIG: &str = "etc/tagalong/config.toml";
const RESOLV_CONF: &str = "etc/resolv.conf";
