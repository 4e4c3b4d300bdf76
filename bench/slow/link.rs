//! A connection that reads as slowly as it is told to.

use std::{net::SocketAddr, time::Duration};

use anyhow::Result;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream},
    net::TcpSocket,
    sync::watch,
    task::JoinSet,
    time::sleep,
};

/// What a slow reader takes each second, in bytes.
const SLOW: usize = 1024;
/// What the kernel keeps for this side: little, so that it is the server that has to.
const BUFFER: u32 = 4096;

/// What waits on this side for somebody to look at it, in bytes: more than a slow reader takes while answers stream.
const TAKEN: usize = 1 << 20;

/// How fast a connection is read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// As fast as it comes.
    Free,
    /// 1 KB each second.
    Slow,
    /// Not at all.
    Stopped,
}

/// Connects; what goes through the stream that is returned goes at the pace that is told, for as long as the tasks live.
pub(super) async fn connect(
    server: SocketAddr,
    pace: watch::Receiver<Pace>,
    tasks: &mut JoinSet<()>,
) -> Result<DuplexStream> {
    let tcp = TcpSocket::new_v4()?;
    tcp.set_recv_buffer_size(BUFFER)?;
    let (from_server, mut to_server) = tcp.connect(server).await?.into_split();
    let (near, far) = tokio::io::duplex(TAKEN);
    let (mut from_client, to_client) = tokio::io::split(far);
    tasks.spawn(async move {
        // A side that is gone ends this.
        let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
    });
    tasks.spawn(async move {
        let _ = pass_on(from_server, to_client, pace).await;
    });
    Ok(near)
}

async fn pass_on(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::io::WriteHalf<DuplexStream>,
    mut pace: watch::Receiver<Pace>,
) -> Result<()> {
    let mut bytes = [0; SLOW];
    loop {
        let told = *pace.borrow_and_update();
        if told == Pace::Stopped {
            pace.changed().await?;
            continue;
        }
        let read = from.read(&mut bytes).await?;
        if read == 0 {
            return Ok(to.shutdown().await?);
        }
        to.write_all(&bytes[..read]).await?;
        if told == Pace::Slow {
            tokio::select! {
                () = sleep(Duration::from_secs(1)) => {}
                changed = pace.changed() => changed?,
            }
        }
    }
}
