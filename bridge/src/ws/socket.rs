//! The life of one socket: one task that drives both the client's side and the core's.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
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
    draining::Draining,
    farewell::{Close, Farewell},
    fault::Fault,
    frame::{Frames, Protocol},
    hygiene::Hygiene,
    link::Link,
    open::Open,
    patience::Patience,
    pulse::Pulse,
};
use crate::{
    client::settle,
    websocket::{WebSocket, hang_up},
};

/// How many bad frames are answered within ten seconds before the socket is closed.
const BAD_FRAMES: u32 = 20;
/// How many pings, and pongs that answer nothing, are read within ten seconds: no client that is well needs a tenth of it.
const CONTROL_FRAMES: u32 = 100;
/// How long the core has, once the bridge stops, to end a session in its own words: one in the same process stops as well.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How long a socket may take to say goodbye.
const FAREWELL_LIMIT: Duration = Duration::from_secs(5);

/// A socket and its session.
///
/// What the core sends is always read, so that no socket uses up the window of a connection that many share; it sends no more
/// than the socket took, and a window. A frame of the client is taken only when the core took the one before it. A client that
/// takes nothing for too long is let go by its [line](crate::line).
pub(super) struct Session {
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
    draining: Option<Draining>,
    pulse: Pulse,
    /// When to look at the two.
    check: Pin<Box<Sleep>>,
    bad_frames: Patience,
    control_frames: Patience,
    /// Whether the client is asked first what is next, or the core: neither holds up the other.
    client_first: bool,
    /// Whether the last frame asked the client to come back.
    reconnect: bool,
    /// Counts it among the open ones.
    _open: Open,
}

/// What happens next.
enum Turn {
    Received(Option<Result<Message, tungstenite::Error>>),
    Sent(Option<Result<Bytes, Status>>),
    /// The client takes nothing any more.
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
    pub(super) fn new(
        frames: Arc<Frames>,
        protocol: Protocol,
        hygiene: Hygiene,
        socket: WebSocket,
        upstream: Streaming<Bytes>,
        requests: mpsc::Sender<Bytes>,
    ) -> Self {
        let pulse = Pulse::new(&hygiene);
        let check = Box::pin(tokio::time::sleep_until(pulse.due_at()));
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
            draining: None,
            pulse,
            check,
            bad_frames: Patience::new(BAD_FRAMES),
            control_frames: Patience::new(CONTROL_FRAMES),
            client_first: false,
            reconnect: false,
            _open: Open::count(),
        }
    }

    /// Carries frames until one side ends. From `stop` on the core has a moment to end the session in its own words; then the
    /// client is asked to come back, to a bridge that stays.
    pub(super) async fn run(mut self: Box<Self>, stop: CancellationToken) {
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
        if let Poll::Ready(turn) = self.poll_drained(cx) {
            return Poll::Ready(turn);
        }
        if self.check.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Turn::Check);
        }
        self.poll_requests(cx);
        self.client_first = !self.client_first;
        if self.client_first
            && let Poll::Ready(message) = self.poll_client(cx)
        {
            return Poll::Ready(Turn::Received(message));
        }
        if let Poll::Ready(sent) = self.poll_upstream(cx) {
            return Poll::Ready(Turn::Sent(sent));
        }
        if self.client_first { Poll::Pending } else { self.poll_client(cx).map(Turn::Received) }
    }

    /// Writes what waits for the client. It is ready when something is to be done about that.
    fn poll_drained(&mut self, cx: &mut Context<'_>) -> Poll<Turn> {
        let Some(draining) = &mut self.draining else { return Poll::Pending };
        match Pin::new(&mut self.socket).poll_flush(cx) {
            Poll::Ready(Ok(())) => {
                self.link.take(draining.bytes);
                let has_failed = draining.has_failed;
                self.draining = None;
                // The core sends again once the client has answered.
                if has_failed {
                    self.pulse.hurry(Instant::now());
                    return Poll::Ready(Turn::Check);
                }
            }
            Poll::Ready(Err(_)) => return Poll::Ready(Turn::Undrainable),
            Poll::Pending => {
                if let Some(taken) = draining.stall(self.socket.get_ref().written()) {
                    self.link.take(taken);
                    self.pulse.beat(Instant::now());
                }
                if let Some(fails_at) = draining.fails_at(self.hygiene.send_timeout)
                    && fails_at < self.check.deadline()
                {
                    self.check.as_mut().reset(fails_at);
                }
            }
        }
        Poll::Pending
    }

    /// Sends the core what it has room for.
    fn poll_requests(&mut self, cx: &mut Context<'_>) {
        while (self.link.is_due() || self.waiting.is_some())
            && let Poll::Ready(Ok(())) = self.requests.poll_ready(cx)
        {
            let report = self.link.is_due().then(|| self.frames.report(&mut self.link));
            if let Some(request) = report.or_else(|| self.waiting.take()) {
                // A core that takes no more says why by ending its own side.
                let _ = self.requests.start_send(request);
            }
        }
    }

    /// The next message of the client's, if the core took the last one and the client the answers.
    fn poll_client(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Message, tungstenite::Error>>> {
        if self.waiting.is_some() || self.draining.as_ref().is_some_and(Draining::is_full) {
            return Poll::Pending;
        }
        Pin::new(&mut self.socket).poll_next(cx)
    }

    /// The next frame of the core's for which the client is ready.
    fn poll_upstream(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Status>>> {
        if self.draining.is_none() {
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
        self.pulse.beat(Instant::now());
        let read = match &message {
            Message::Text(_) | Message::Binary(_) if message.len() > self.hygiene.max_frame_bytes => {
                Err(self.frames.too_large(&message, self.hygiene.max_frame_bytes))
            }
            Message::Text(_) | Message::Binary(_) => self.frames.read(self.protocol, &message),
            Message::Pong(pong) => {
                return match self.pulse.answer(pong) {
                    Some(round_trip) => {
                        self.link.answer(round_trip);
                        Ok(())
                    }
                    None => self.bear_control_frame(),
                };
            }
            // Answered by the next look at the socket.
            Message::Ping(_) => {
                self.draining.get_or_insert_default().answer();
                return self.bear_control_frame();
            }
            // So are closes finished.
            Message::Close(_) | Message::Frame(_) => return Ok(()),
        };
        self.frames.received.increment(1);
        match read {
            Ok(request) => self.waiting = Some(request),
            Err(fault) => self.complain(&fault)?,
        }
        Ok(())
    }

    fn bear_control_frame(&mut self) -> Result<(), End> {
        if self.control_frames.ends() { Err(Farewell::abuse("too many pings and pongs").into()) } else { Ok(()) }
    }

    fn send(&mut self, response: &Bytes) -> Result<(), End> {
        match self.frames.write(self.protocol, response) {
            Ok(Some(outgoing)) => {
                self.reconnect = outgoing.reconnect;
                self.frames.sent.increment(1);
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
        let after_ms = rand::random_range(Open::spread_ms(self.hygiene.reconnects_per_second)).cast_signed();
        let asked = self.frames.reconnect(self.protocol, after_ms, "shutdown");
        match asked.map_or(Ok(()), |message| self.put(message, 0)) {
            Ok(()) => Close::Reconnect.into(),
            Err(gone) => gone,
        }
    }

    fn complain(&mut self, fault: &Fault) -> Result<(), End> {
        metrics::counter!("colloquy_socket_bad_frames_total", "code" => fault.code.clone()).increment(1);
        if let Some(message) = self.frames.error(self.protocol, fault) {
            self.draining.get_or_insert_default().answer();
            self.put(message, 0)?;
        }
        if self.bad_frames.ends() { Err(Farewell::abuse("too many bad frames").into()) } else { Ok(()) }
    }

    /// Does what is due, and looks again when the next thing is.
    fn check(&mut self) -> Result<(), End> {
        let (now, timeout) = (Instant::now(), self.hygiene.send_timeout);
        if self.draining.as_mut().is_some_and(|draining| draining.fails(now, timeout)) {
            self.link.fail();
        }
        if self.pulse.is_lost(now) {
            return Err(Close::Silence.into());
        }
        if let Some(ping) = self.pulse.ping(now) {
            self.put(Message::Ping(ping), 0)?;
        }
        let fails_at = self.draining.as_ref().and_then(|draining| draining.fails_at(timeout));
        let due_at = self.pulse.due_at();
        self.check.as_mut().reset(fails_at.map_or(due_at, |at| at.min(due_at)));
        Ok(())
    }

    /// Hands a message to the socket, which writes what it can at once and the rest when it is polled; the core sent it in so
    /// many bytes.
    fn put(&mut self, message: Message, bytes: usize) -> Result<(), End> {
        self.draining.get_or_insert_default().bytes += bytes;
        Pin::new(&mut self.socket).start_send(message).map_err(|_| End::Gone)
    }
}

/// Tells the client why, and lets it read that.
pub(super) async fn say_goodbye(mut socket: WebSocket, frames: &Frames, protocol: Protocol, farewell: Farewell) {
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
