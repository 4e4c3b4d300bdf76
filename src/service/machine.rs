//! The machine under this node: how busy it is.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use sysinfo::{DiskRefreshKind, Disks, MINIMUM_CPU_UPDATE_INTERVAL, System};
use tokio::{
    sync::Mutex,
    time::{Instant, sleep_until},
};

use crate::error::{Error, Result};

/// How busy a machine is, in percent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// Of all its processors, since it was asked last.
    pub cpu: f64,
    /// Of its memory.
    pub memory: f64,
    /// Of the disk with the data folder.
    pub disk: f64,
}

/// Watches the machine. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Machine {
    folder: PathBuf,
    gauge: Arc<Mutex<Gauge>>,
}

#[derive(Debug)]
struct Gauge {
    system: System,
    /// What processors do is seen between two looks, which must be so far apart.
    next_look: Instant,
}

impl Machine {
    /// Looks at the processors for the first time. The folder is that of the data.
    ///
    /// # Errors
    /// Where the machine does not tell.
    pub fn watch(folder: &Path) -> anyhow::Result<Self> {
        let mut system = System::new()?;
        system.refresh_cpu_usage();
        let gauge = Gauge { system, next_look: Instant::now() + MINIMUM_CPU_UPDATE_INTERVAL };
        Ok(Self { folder: folder.to_owned(), gauge: Arc::new(Mutex::new(gauge)) })
    }

    /// How busy it is.
    ///
    /// # Errors
    /// Where the machine does not tell.
    pub async fn load(&self) -> Result<Load> {
        let folder = self.folder.clone();
        // A disk may be slow to answer.
        let disk = tokio::task::spawn_blocking(move || disk(&folder)).await.map_err(Error::internal)??;
        let mut gauge = self.gauge.lock().await;
        sleep_until(gauge.next_look).await;
        gauge.next_look = Instant::now() + MINIMUM_CPU_UPDATE_INTERVAL;
        gauge.system.refresh_cpu_usage();
        gauge.system.refresh_memory();
        let (total, free) = (gauge.system.total_memory(), gauge.system.available_memory());
        Ok(Load { cpu: gauge.system.global_cpu_usage().into(), memory: used(total, free), disk })
    }
}

/// How full the disk is on which a folder lies.
fn disk(folder: &Path) -> Result<f64> {
    // The folder may not be there, on a node whose data is elsewhere.
    let folder = std::path::absolute(folder).map_err(Error::internal)?;
    let folder = folder.ancestors().find_map(|ancestor| ancestor.canonicalize().ok()).unwrap_or(folder);
    let disks = Disks::new_with_refreshed_list_specifics(DiskRefreshKind::nothing().with_storage());
    let disks = disks.map_err(|error| Error::internal(anyhow::anyhow!("cannot list disks: {error}")))?;
    let over = disks.iter().filter(|disk| folder.starts_with(disk.mount_point()));
    let nearest = over.max_by_key(|disk| disk.mount_point().components().count());
    Ok(nearest.map_or(0.0, |disk| used(disk.total_space(), disk.available_space())))
}

/// What is not free, in percent.
fn used(total: u64, free: u64) -> f64 {
    if total == 0 { 0.0 } else { 100.0 * total.saturating_sub(free) as f64 / total as f64 }
}
