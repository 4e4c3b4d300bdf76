//! A model provider that speaks chat completions and says the time: each piece is the moment at which it was written.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{MissedTickBehavior, interval_at},
};

/// How often a run says something.
const PACE: Duration = Duration::from_millis(20);

/// A running provider.
pub(crate) struct Provider {
    /// Where it answers.
    pub(crate) address: SocketAddr,
    /// What its moments are counted from.
    pub(crate) epoch: Instant,
    _tasks: JoinSet<()>,
}

impl Provider {
    /// Starts a provider of runs of so many pieces; `runs` of them are spread evenly over the time between two pieces.
    pub(crate) async fn start(runs: u32, pieces: u32) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let epoch = Instant::now();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut answers = JoinSet::new();
            let begun = Arc::new(AtomicU32::new(0));
            while let Ok((stream, _)) = listener.accept().await {
                let phase = PACE * (begun.fetch_add(1, Ordering::Relaxed) % runs) / runs;
                answers.spawn(async move {
                    // Whoever misses pieces of a run that broke off says so itself.
                    let _ = answer(stream, epoch, phase, pieces).await;
                });
            }
        });
        Ok(Self { address, epoch, _tasks: tasks })
    }

    /// The base URL of its API.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }
}

async fn answer(mut stream: TcpStream, epoch: Instant, phase: Duration, pieces: u32) -> Result<()> {
    stream.set_nodelay(true)?;
    let (reader, mut writer) = stream.split();
    read_request(&mut BufReader::new(reader)).await?;
    writer.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n").await?;
    let beats = u32::try_from(epoch.elapsed().as_millis() / PACE.as_millis())? + 1;
    let mut ticks = interval_at((epoch + PACE * beats + phase).into(), PACE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    for _ in 0..pieces {
        ticks.tick().await;
        let moment = epoch.elapsed().as_nanos();
        let event = format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{moment} \"}}}}]}}\n\n");
        writer.write_all(event.as_bytes()).await?;
    }
    let end = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    Ok(writer.write_all(end.as_bytes()).await?)
}

async fn read_request(reader: &mut BufReader<tokio::net::tcp::ReadHalf<'_>>) -> Result<()> {
    let (mut line, mut length) = (String::new(), None);
    loop {
        line.clear();
        reader.read_line(&mut line).await?;
        if line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = Some(value.trim().parse::<usize>()?);
        }
    }
    let mut body = vec![0; length.context("a request without a length")?];
    reader.read_exact(&mut body).await?;
    Ok(())
}
