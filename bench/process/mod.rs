//! Processes that are measured: nodes of `colloquy`, peers that are this program again, and programs of other people. All end
//! with their handle.

mod node;
mod peer;
mod program;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::process::{Child, Command};

pub(crate) use self::{
    node::{Core, Node, PROGRAM},
    peer::{PEER, Peer, answer_at},
    program::{Program, free_address},
};

/// How long a process may take until it answers, and until it has ended when it is asked to.
const LIMIT: Duration = Duration::from_secs(20);

/// A running process, and what the kernel knows of it.
pub(crate) struct Process(Child);

impl Process {
    fn spawn(command: &mut Command) -> Result<Self> {
        let program = command.as_std().get_program().to_owned();
        Ok(Self(command.kill_on_drop(true).spawn().with_context(|| format!("cannot start {}", program.display()))?))
    }

    /// The memory that it occupies, in KiB.
    pub(crate) fn resident_kib(&self) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()?))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }

    /// How long its threads have run so far, in user and system mode; counted in hundredths of a second, as proc(5) says of
    /// `utime` and `stime`.
    pub(crate) fn processor_time(&self) -> Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id()?))?;
        let (_, fields) = stat.rsplit_once(") ").context("no name in stat")?;
        let ticks: Vec<u64> = fields.split(' ').skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
        Ok(Duration::from_millis(10 * ticks.iter().sum::<u64>()))
    }

    /// Ends it at once.
    pub(crate) async fn end(mut self) -> Result<()> {
        Ok(self.0.kill().await?)
    }

    /// Asks it to end, and returns once it has.
    pub(crate) async fn terminate(mut self) -> Result<()> {
        let mut kill = Command::new("sh");
        kill.args(["-c", "kill -TERM \"$1\"", "sh"]).arg(self.id()?.to_string());
        ensure!(kill.status().await?.success(), "cannot ask a process to end");
        tokio::time::timeout(LIMIT, self.0.wait()).await.context("a process did not end when asked to")??;
        Ok(())
    }

    fn id(&self) -> Result<u32> {
        self.0.id().context("the process has ended")
    }
}
