//! The life of one socket: one task that drives both the client's side and the core's.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_channel::mpsc;
use futures_util::{Sink as _, Stream as _};
use tokio::time::{Instant, Sleep, timeout};
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::{
    farewell::{Close, Farewell},
    fault::Fault,
    frame::{Frames, Protocol},
    link::Link,
};
use crate::{
    client::settle,
    config::{MAX_FRAME_CAP, Settings},
    websocket::{WebSocket, hang_up},
};

/// How many times the size that is taken a message may have to be refused by an answer: what is larger is not read to its end.
const READ_FACTOR: usize = 4;
/// How many bad frames are answered within [`PATIENCE_WINDOW`] before the socket is closed.
const PATIENCE: u32 = 20;
const PATIENCE_WINDOW: Duration = Duration::from_secs(10);
/// How long the core has, once the bridge stops, to end a session in its own words: one in the same process stops as well.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// The least time over which clients come back whom a bridge sends away together, in milliseconds.
const LEAST_SPREAD_MS: u64 = 1000;
/// The most.
const MOST_SPREAD_MS: u64 = 60_000;
/// How long a socket may take to say goodbye.
const FAREWELL_LIMIT: Duration = Duration::from_secs(5);

/// How a socket is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hygiene {
    max_frame_bytes: usize,
    ping_interval: Duration,
    silence_limit: Duration,
    drain_limit: Duration,
    send_timeout: Duration,
    window_bytes: usize,
    reconnects_per_second: u32,
    shutdown_grace: Duration,
}

impl From<&Settings> for Hygiene {
    fn from(settings: &Settings) -> Self {
        Self {
            max_frame_bytes: settings.max_frame_bytes,
            ping_interval: settings.ping_interval,
            silence_limit: settings.silence_limit,
            drain_limit: settings.drain_limit,
            send_timeout: settings.send_timeout,
            window_bytes: settings.window_bytes,
            reconnects_per_second: settings.reconnects_per_second,
            shutdown_grace: settings.shutdown_grace,
        }
    }
}

impl Hygiene {
    /// The largest message that is read at all, in bytes.
    pub(crate) fn max_read_bytes(&self) -> usize {
        self.max_frame_bytes.saturating_mul(READ_FACTOR).min(MAX_FRAME_CAP)
    }

    /// Bytes that are taken of the core beyond what the client took.
    pub(crate) fn window_bytes(&self) -> usize {
        self.window_bytes
    }
}

/// A socket and its session.
///
/// What the core sends is always read, so that no socket uses up the window of a connection that many share; it sends no more
/// than the socket took, and a window. A frame of the client is taken only when the core took the one before it. A client that
/// does not drain a frame in time is let go.
pub(crate) struct Session {
    frames: Arc<Frames>,
    protocol: Protocol,
    hygiene: Hygiene,
    socket: WebSocket,
    /// What the core sends.
    upstream: Streaming<Bytes>,
    /// What the core is sent.
    requests: mpsc::Sender<Bytes>,
    /// A frame that the core has no room for yet.
    waiting: Option<Bytes>,
    /// What the core sent while the client drained something else, and its end.
    backlog: VecDeque<Option<Result<Bytes, Status>>>,
    backlog_bytes: usize,
    /// What the core is to be told.
    link: Link,
    /// What the client has not drained.
    undrained: Option<Undrained>,
    opened: Instant,
    /// When the client was last heard.
    heard: Instant,
    ping_at: Instant,
    /// When to look at all that.
    check: Pin<Box<Sleep>>,
    patience: Patience,
    /// Whether the last frame asked the client to come back.
    reconnect: bool,
    /// Counts it among the open ones.
    _open: Open,
}

/// What a client is draining.
#[derive(Clone, Copy, Debug)]
struct Undrained {
    since: Instant,
    /// Bytes of it as the core sent them.
    bytes: usize,
    /// How often the core was told that the client takes nothing.
    failures: u32,
}

/// What happens next.
enum Turn {
    Received(Option<Result<Message, tungstenite::Error>>),
    Sent(Option<Result<Bytes, Status>>),
    Undrainable,
    Check,
}

/// How a session ends.
enum End {
    /// The client is not there any more, or cannot be told.
    Gone,
    /// The client is told why.
    Told(Farewell),
}

impl<F: Into<Farewell>> From<F> for End {
    fn from(farewell: F) -> Self {
        Self::Told(farewell.into())
    }
}

impl Session {
    pub(crate) fn new(
        frames: Arc<Frames>,
        protocol: Protocol,
        hygiene: Hygiene,
        socket: WebSocket,
        upstream: Streaming<Bytes>,
        requests: mpsc::Sender<Bytes>,
    ) -> Self {
        Self {
            frames,
            protocol,
            hygiene,
            socket,
            upstream,
            requests,
            waiting: None,
            backlog: VecDeque::new(),
            backlog_bytes: 0,
            link: Link::new(hygiene.window_bytes),
            undrained: None,
            opened: Instant::now(),
            heard: Instant::now(),
            ping_at: Instant::now() + hygiene.ping_interval,
            check: Box::pin(tokio::time::sleep(hygiene.ping_interval.min(hygiene.silence_limit))),
            patience: Patience::default(),
            reconnect: false,
            _open: Open::count(),
        }
    }

    /// Carries frames until one side ends. From `stop` on the core has a moment to end the session in its own words; then the
    /// client is asked to come back, to a bridge that stays.
    pub(crate) async fn run(mut self: Box<Self>, stop: CancellationToken) {
        let grace = self.hygiene.shutdown_grace.min(LAST_WORDS);
        let stopped = async {
            stop.cancelled().await;
            tokio::time::sleep(grace).await;
        };
        let end = tokio::select! {
            end = self.carry() => end,
            () = stopped => self.send_away(),
        };
        // The session is over for the core before the client has answered.
        drop((self.upstream, self.requests));
        if let End::Told(farewell) = end {
            say_goodbye(self.socket, &self.frames, self.protocol, farewell).await;
        }
    }

    async fn carry(&mut self) -> End {
        loop {
            let turn = std::future::poll_fn(|cx| self.poll_turn(cx)).await;
            let ended = match turn {
                Turn::Received(Some(Ok(message))) => self.receive(message),
                Turn::Received(Some(Err(error))) => Err(Farewell::of_error(&error).map_or(End::Gone, End::Told)),
                Turn::Received(None) | Turn::Undrainable => Err(End::Gone),
                Turn::Sent(Some(Ok(response))) => self.send(&response),
                Turn::Sent(Some(Err(status))) => Err(Farewell::of_status(&settle(status)).into()),
                Turn::Sent(None) if self.reconnect => Err(Close::Reconnect.into()),
                Turn::Sent(None) => Err(Close::Normal.into()),
                Turn::Check => self.check(),
            };
            if let Err(end) = ended {
                return end;
            }
        }
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Turn> {
        if let Some(undrained) = self.undrained {
            match Pin::new(&mut self.socket).poll_flush(cx) {
                Poll::Ready(Ok(())) => {
                    self.undrained = None;
                    self.link.take(undrained.bytes);
                    // The core sends again once the client has answered.
                    if undrained.failures > 0 {
                        return Poll::Ready(Turn::Check);
                    }
                }
                Poll::Ready(Err(_)) => return Poll::Ready(Turn::Undrainable),
                Poll::Pending => {
                    let fails_at = self.fails_at(undrained);
                    if fails_at < self.check.deadline() {
                        self.check.as_mut().reset(fails_at);
                    }
                }
            }
        }
        if self.check.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Turn::Check);
        }
        if (self.waiting.is_some() || self.link.is_due())
            && let Poll::Ready(ready) = self.requests.poll_ready(cx)
            && ready.is_ok()
        {
            let request = self.waiting.take().unwrap_or_else(|| self.frames.report(&mut self.link));
            // A core that takes no more says why by ending its own side.
            let _ = self.requests.start_send(request);
        }
        if self.waiting.is_none()
            && let Poll::Ready(message) = Pin::new(&mut self.socket).poll_next(cx)
        {
            return Poll::Ready(Turn::Received(message));
        }
        self.poll_upstream(cx).map(Turn::Sent)
    }

    /// The next frame of the core's for which the client is ready.
    fn poll_upstream(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Status>>> {
        if self.undrained.is_none() {
            if let Some(sent) = self.backlog.pop_front() {
                self.backlog_bytes -= sent.as_ref().map_or(0, |sent| sent.as_ref().map_or(0, Bytes::len));
                return Poll::Ready(sent);
            }
            self.backlog = VecDeque::new();
            return Pin::new(&mut self.upstream).poll_next(cx);
        }
        let is_over = |backlog: &VecDeque<_>| matches!(backlog.back(), Some(None | Some(Err(_))));
        while self.backlog_bytes < self.link.window()
            && !is_over(&self.backlog)
            && let Poll::Ready(sent) = Pin::new(&mut self.upstream).poll_next(cx)
        {
            self.backlog_bytes += sent.as_ref().map_or(0, |sent| sent.as_ref().map_or(0, Bytes::len));
            self.backlog.push_back(sent);
        }
        Poll::Pending
    }

    fn receive(&mut self, message: Message) -> Result<(), End> {
        self.heard = Instant::now();
        let read = match &message {
            Message::Text(_) | Message::Binary(_) if message.len() > self.hygiene.max_frame_bytes => {
                Err(self.frames.too_large(&message, self.hygiene.max_frame_bytes))
            }
            Message::Text(_) | Message::Binary(_) => self.frames.read(self.protocol, &message),
            Message::Pong(sent_after) => {
                // A client may send pongs that answer nothing.
                if let Ok(micros) = <[u8; 8]>::try_from(&sent_after[..]).map(u64::from_be_bytes)
                    && let Some(round_trip) = self.opened.elapsed().checked_sub(Duration::from_micros(micros))
                {
                    self.link.answer(round_trip);
                }
                return Ok(());
            }
            // Pings are answered, and closes are finished, by the next look at the socket.
            Message::Ping(_) | Message::Close(_) | Message::Frame(_) => return Ok(()),
        };
        metrics::counter!("colloquy_socket_frames_total", "direction" => "in").increment(1);
        match read {
            Ok(request) => self.waiting = Some(request),
            Err(fault) => self.complain(&fault)?,
        }
        Ok(())
    }

    fn send(&mut self, response: &Bytes) -> Result<(), End> {
        match self.frames.write(self.protocol, response) {
            Ok(Some(outgoing)) => {
                self.reconnect = outgoing.reconnect;
                metrics::counter!("colloquy_socket_frames_total", "direction" => "out").increment(1);
                self.put(outgoing.message, response.len())
            }
            Ok(None) => {
                self.link.take(response.len());
                Ok(())
            }
            Err(malformed) => {
                tracing::error!(error = %malformed, "the core sent an unreadable frame");
                Err(Close::Unavailable.into())
            }
        }
    }

    fn send_away(&mut self) -> End {
        let spread = OPEN.load(Ordering::Relaxed) * 1000 / u64::from(self.hygiene.reconnects_per_second.max(1));
        let after_ms = rand::random_range(0..spread.clamp(LEAST_SPREAD_MS, MOST_SPREAD_MS)).cast_signed();
        let asked = self.frames.reconnect(self.protocol, after_ms, "shutdown");
        match asked.map_or(Ok(()), |message| self.put(message, 0)) {
            Ok(()) => Close::Reconnect.into(),
            Err(gone) => gone,
        }
    }

    fn complain(&mut self, fault: &Fault) -> Result<(), End> {
        metrics::counter!("colloquy_socket_bad_frames_total", "code" => fault.code.clone()).increment(1);
        if let Some(message) = self.frames.error(self.protocol, fault) {
            self.put(message, 0)?;
        }
        if self.patience.ends() { Err(Farewell::abuse().into()) } else { Ok(()) }
    }

    fn check(&mut self) -> Result<(), End> {
        let now = Instant::now();
        if self.undrained.is_some_and(|undrained| now - undrained.since >= self.hygiene.drain_limit) {
            return Err(End::Gone);
        }
        if now - self.heard >= self.hygiene.silence_limit {
            return Err(Close::Silence.into());
        }
        match self.undrained {
            Some(undrained) if now >= self.fails_at(undrained) => {
                self.undrained = Some(Undrained { failures: undrained.failures + 1, ..undrained });
                self.link.fail();
            }
            Some(_) => {}
            None => {
                self.ping_at = now + self.hygiene.ping_interval;
                let sent_after = u64::try_from((now - self.opened).as_micros()).unwrap_or(u64::MAX);
                self.put(Message::Ping(Bytes::copy_from_slice(&sent_after.to_be_bytes())), 0)?;
            }
        }
        let silent_at = self.heard + self.hygiene.silence_limit;
        let ping_at = if self.ping_at > now { self.ping_at } else { now + self.hygiene.ping_interval };
        self.check.as_mut().reset(silent_at.min(ping_at));
        Ok(())
    }

    /// When a send counts as failed that the client takes nothing of; once more each time it did.
    fn fails_at(&self, undrained: Undrained) -> Instant {
        undrained.since + self.hygiene.send_timeout * (undrained.failures + 1)
    }

    /// Hands a message to the socket, which writes what it can at once and the rest when it is polled; the core sent it in so
    /// many bytes.
    fn put(&mut self, message: Message, bytes: usize) -> Result<(), End> {
        let undrained = Undrained { since: Instant::now(), bytes: 0, failures: 0 };
        self.undrained.get_or_insert(undrained).bytes += bytes;
        Pin::new(&mut self.socket).start_send(message).map_err(|_| End::Gone)
    }
}

/// Sessions that are open in this process.
static OPEN: AtomicU64 = AtomicU64::new(0);

/// An open session, counted.
struct Open;

impl Open {
    fn count() -> Self {
        OPEN.fetch_add(1, Ordering::Relaxed);
        metrics::gauge!("colloquy_sockets_open").increment(1.0);
        Self
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::Relaxed);
        metrics::gauge!("colloquy_sockets_open").decrement(1.0);
    }
}

/// How much rubbish is put up with.
#[derive(Debug, Default)]
struct Patience {
    since: Option<Instant>,
    bad: u32,
}

impl Patience {
    /// Counts a bad frame; whether it was one too many.
    fn ends(&mut self) -> bool {
        let now = Instant::now();
        match self.since {
            Some(since) if now - since < PATIENCE_WINDOW => self.bad += 1,
            _ => (self.since, self.bad) = (Some(now), 1),
        }
        self.bad > PATIENCE
    }
}

/// Tells the client why, and lets it read that.
pub(crate) async fn say_goodbye(mut socket: WebSocket, frames: &Frames, protocol: Protocol, farewell: Farewell) {
    let fault = farewell.fault.and_then(|fault| frames.error(protocol, &fault));
    let goodbye = async {
        if let Some(message) = fault {
            futures_util::SinkExt::send(&mut socket, message).await?;
        }
        hang_up(socket, farewell.code.frame()).await
    };
    if !matches!(timeout(FAREWELL_LIMIT, Box::pin(goodbye)).await, Ok(Ok(()))) {
        tracing::debug!(
            code = u16::from(farewell.code.frame().code),
            "the client did not hear why its socket was closed"
        );
    }
}
