//! The runs of this node: started, stopped, waited for; their leases kept, and those of dead nodes ended.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, field};

use super::{
    insist::insist,
    prompt::{self, Bounds},
    run::{self, Run},
    run_log::{Logged, RunLog},
};
use crate::{
    error::{Error, Result},
    lifecycle::Lifecycle,
    live::{
        bus::Bus,
        response_cache::ResponseCache,
        signal::{Signal, Signals},
    },
    llm::Models,
    model::{
        clock::{Clock, Timestamp},
        conversation::Membership,
        ids::{ConversationId, MessageId, NodeId},
        message::Message,
        tool::{ToolCall, ToolResult},
        usage::Usage,
    },
    store::{Outcome, Store},
    tools::Tools,
    trace,
};

/// How often whoever waits for a run of another node looks again.
pub(super) const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How long the database may take to say what time it is, to be believed.
const SLOW_ANSWER: Duration = Duration::from_secs(1);
/// How long a stop waits for the run to settle.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Bounds of a run.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Tokens of contexts and messages put before the model.
    pub context_tokens: usize,
    /// Tokens that the model may write.
    pub output_tokens: u32,
    /// Rounds of tool calls.
    pub tool_rounds: u32,
    /// How long a run may be without a sign of its node.
    pub lease: Duration,
}

/// What makes answers.
#[derive(Clone, Debug)]
pub struct Makers {
    /// The models.
    pub models: Models,
    /// What models may call.
    pub tools: Tools,
    /// Where answers are kept to be given again; `None`: nowhere.
    pub cache: Option<ResponseCache>,
}

/// Makes answers. Cheap to clone.
#[derive(Clone)]
pub struct Runs(Arc<Inner>);

struct Inner {
    store: Store,
    bus: Bus,
    signals: Signals,
    makers: Makers,
    clock: Clock,
    lifecycle: Lifecycle,
    node: NodeId,
    limits: Limits,
    log: RunLog,
    /// Microseconds that the database's clock is ahead of this node's.
    drift: AtomicI64,
    active: Mutex<HashMap<MessageId, Handle>>,
}

/// A run of this node.
#[derive(Clone, Debug)]
struct Handle {
    conversation: ConversationId,
    seq: i64,
    stop: CancellationToken,
    ended: CancellationToken,
}

impl Runs {
    /// Makes answers, as a node of its own.
    pub fn new(
        store: Store,
        bus: Bus,
        signals: Signals,
        makers: Makers,
        clock: Clock,
        lifecycle: Lifecycle,
        limits: Limits,
    ) -> Self {
        let node = NodeId::generate();
        let log = RunLog::start(store.clone(), node, clock, &lifecycle);
        let (drift, active) = Default::default();
        Self(Arc::new(Inner { store, bus, signals, makers, clock, lifecycle, node, limits, log, drift, active }))
    }

    /// Starts the run of an answer that was appended with this node's lease. One that `is_another` beside a first one is
    /// made anew, whatever the cache holds.
    pub(crate) fn launch(&self, membership: Membership, reply: Message, is_another: bool) {
        let active = Active::enter(self.clone(), &reply);
        // Within that of the request: what is logged of a run names who asked for it, however long it lasts.
        let span = tracing::info_span!(
            "run",
            conversation.id = %reply.conversation_id,
            message.id = %reply.id,
            span_id = field::Empty,
            run.status = field::Empty,
        );
        trace::begin(&span);
        let making = async move {
            active.runs.make(Run { membership, reply, is_another }, active.handle.stop.clone()).await;
        };
        self.0.lifecycle.spawn(making.instrument(span));
    }

    /// Stops a run, wherever it is made, and returns its message once it is settled.
    ///
    /// # Errors
    /// [`Error::DeadlineExceeded`] when the run does not settle in time; it will when its node reads the word left for it.
    pub(crate) async fn stop(&self, membership: &Membership, id: MessageId) -> Result<Message> {
        self.ask_to_stop(membership, id).await?;
        let message = self.ended(membership, id, STOP_TIMEOUT).await?;
        if message.status.is_running() { Err(Error::DeadlineExceeded) } else { Ok(message) }
    }

    /// Leaves word that a run shall stop, without waiting for it.
    pub(crate) async fn ask_to_stop(&self, membership: &Membership, id: MessageId) -> Result<()> {
        self.0.store.request_stop(membership, id).await?;
        self.hurry(id);
        Ok(())
    }

    /// Tells a run to stop, here or on another node. Whoever misses it reads the word left for it with its lease.
    pub(crate) fn hurry(&self, id: MessageId) {
        self.stop_here(id);
        self.0.signals.send(Signal::RunStopping(id));
    }

    /// Leaves word that every run of a conversation shall stop.
    pub(crate) async fn stop_all(&self, membership: &Membership) -> Result<()> {
        for id in self.running(membership.conversation_id).await? {
            self.ask_to_stop(membership, id).await?;
        }
        Ok(())
    }

    /// A run's message once it has ended, or as it is after `within`.
    pub(crate) async fn ended(&self, membership: &Membership, id: MessageId, within: Duration) -> Result<Message> {
        let deadline = Instant::now() + within;
        loop {
            let here = self.active().get(&id).map(|handle| handle.ended.clone());
            let message = self.0.store.message(membership, id).await?.ok_or(Error::NotFound("message"))?;
            if !message.status.is_running() || Instant::now() >= deadline {
                return Ok(message);
            }
            let look_again = deadline.min(Instant::now() + LOOK_AGAIN);
            match here {
                Some(ended) => drop(tokio::time::timeout_at(look_again, ended.cancelled()).await),
                None => tokio::time::sleep_until(look_again).await,
            }
        }
    }

    /// A run's message, with the text that is logged so far while it lasts.
    pub(crate) async fn so_far(&self, membership: &Membership, id: MessageId) -> Result<Message> {
        self.0.store.messages_so_far(membership, &[id]).await?.pop().ok_or(Error::NotFound("message"))
    }

    /// The runs of a conversation that last, oldest first, each as [`Self::so_far`] finds it. One that ends meanwhile is there
    /// with its whole text.
    pub(crate) async fn all_so_far(&self, membership: &Membership) -> Result<Vec<Message>> {
        let ids = self.running(membership.conversation_id).await?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        self.0.store.messages_so_far(membership, &ids).await
    }

    /// The runs of a conversation that last, oldest first.
    pub(crate) async fn running(&self, conversation: ConversationId) -> Result<Vec<MessageId>> {
        self.0.store.running(conversation).await
    }

    /// The node and the time until which a new run is this node's.
    pub(super) fn new_lease(&self) -> (NodeId, Timestamp) {
        (self.0.node, self.lease_time() + self.0.limits.lease)
    }

    /// The present as leases count it: by the clock of the database, which is the same for nodes whose own clocks differ.
    fn lease_time(&self) -> Timestamp {
        let drift = self.0.drift.load(Ordering::Relaxed);
        Timestamp::from_micros(self.0.clock.now().as_micros().saturating_add(drift))
    }

    /// Finds out how far this node's clock is from the database's. The answer was written somewhere between the question and
    /// its arrival; one that was long under way says too little.
    async fn compare_clocks(&self) -> Result<()> {
        let asked = self.0.clock.now();
        let time = self.0.store.time().await?;
        let waited = self.0.clock.now().since(asked);
        if waited < SLOW_ANSWER {
            let drift = time.as_micros() - (asked + waited / 2).as_micros();
            self.0.drift.store(drift, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Keeps this node's leases and ends the runs of dead nodes, until the hard stop.
    pub async fn keep_leases(self) {
        let mut ticks = tokio::time::interval(self.0.limits.lease / 5);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while self.0.lifecycle.stopped().run_until_cancelled(ticks.tick()).await.is_some() {
            if let Err(error) = self.tend().await {
                tracing::warn!(error = format!("{error:?}"), "leases could not be tended");
            }
        }
    }

    async fn tend(&self) -> Result<()> {
        let active: Vec<MessageId> = self.active().keys().copied().collect();
        if !active.is_empty() {
            let (node, until) = self.new_lease();
            for id in self.0.log.apart(self.0.store.renew_leases(node, &active, until)).await? {
                self.stop_here(id);
            }
        }
        self.end_orphans().await
    }

    /// Ends the runs whose lease ran out, with the text that was logged.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn end_orphans(&self) -> Result<()> {
        self.compare_clocks().await?;
        let budget = self.0.limits.context_tokens;
        let estimate = |path: i64, message: &Message| estimate(path, message, budget);
        for id in self.0.store.expired_runs(self.lease_time()).await? {
            let ended = self.0.store.interrupt_expired(id, self.lease_time(), &run::interrupted(), estimate).await;
            let message = match ended {
                Ok(Some(message)) => message,
                Ok(None) => continue,
                // The others shall not wait for one that cannot be ended.
                Err(error) => {
                    tracing::error!(message.id = %id, error = format!("{error:?}"), "cannot end a run whose node is gone");
                    continue;
                }
            };
            tracing::warn!(message.id = %message.id, "ended a run whose node is gone");
            metrics::counter!("colloquy_runs_ended_total", "status" => "interrupted").increment(1);
            self.tell_interrupted(message).await;
        }
        Ok(())
    }

    /// Writes the end of a run, trying again while the store does not answer.
    pub(super) async fn settle_in_store(&self, id: MessageId, outcome: &Outcome) -> Result<Option<Message>> {
        insist("end of a run", || self.0.store.settle(self.0.node, id, outcome, self.0.clock.now())).await
    }

    /// Logs the calls of a round, before they are shown.
    pub(super) async fn log_tool_calls(&self, id: MessageId, calls: &[ToolCall]) -> Result<Logged> {
        let write = || self.0.store.log_tool_calls(self.0.node, id, calls, self.0.clock.now());
        insist("tool calls", write).await.map(Logged::of)
    }

    /// Logs what came of a call, before it is shown.
    pub(super) async fn log_tool_result(&self, id: MessageId, call: u64, result: &ToolResult) -> Result<Logged> {
        insist("tool result", || self.0.store.log_tool_result(self.0.node, id, call, result)).await.map(Logged::of)
    }

    /// The end of the run that has its turn right before this one, as far as it is made here.
    pub(super) fn end_before(&self, reply: &Message) -> Option<CancellationToken> {
        let active = self.active();
        let earlier = |run: &&Handle| run.conversation == reply.conversation_id && run.seq < reply.seq;
        active.values().filter(earlier).max_by_key(|run| run.seq).map(|run| run.ended.clone())
    }

    /// Stops a run if it is this node's.
    pub(crate) fn stop_here(&self, id: MessageId) {
        if let Some(handle) = self.active().get(&id) {
            handle.stop.cancel();
        }
    }

    fn active(&self) -> MutexGuard<'_, HashMap<MessageId, Handle>> {
        // A panic elsewhere leaves the map whole: it is held for single moves.
        self.0.active.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn store(&self) -> &Store {
        &self.0.store
    }

    pub(super) fn bus(&self) -> &Bus {
        &self.0.bus
    }

    pub(super) fn makers(&self) -> &Makers {
        &self.0.makers
    }

    pub(super) fn lifecycle(&self) -> &Lifecycle {
        &self.0.lifecycle
    }

    pub(super) fn log(&self) -> &RunLog {
        &self.0.log
    }

    /// What a prompt keeps to.
    pub(super) fn bounds(&self) -> Bounds {
        let Limits { context_tokens, output_tokens, .. } = self.0.limits;
        Bounds { context_tokens, output_tokens }
    }

    pub(super) fn limits(&self) -> Limits {
        self.0.limits
    }
}

/// A run that is being made here; it is forgotten when it is dropped, however it ended.
struct Active {
    runs: Runs,
    id: MessageId,
    handle: Handle,
}

impl Active {
    fn enter(runs: Runs, reply: &Message) -> Self {
        let (id, conversation, seq) = (reply.id, reply.conversation_id, reply.seq);
        let (stop, ended) = Default::default();
        let handle = Handle { conversation, seq, stop, ended };
        runs.active().insert(id, handle.clone());
        metrics::gauge!("colloquy_runs_active").increment(1);
        Self { runs, id, handle }
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.runs.active().remove(&self.id);
        self.handle.ended.cancel();
        metrics::gauge!("colloquy_runs_active").decrement(1);
    }
}

/// What an interrupted answer cost, roughly: the path that leads to it, in characters and within the budget, and what it
/// wrote. One that wrote nothing may never have been asked for.
fn estimate(path: i64, message: &Message, budget: usize) -> Usage {
    if message.content.is_empty() && message.tool_calls.is_empty() {
        return Usage::default();
    }
    let tokens = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let path = prompt::estimate_tokens_of(usize::try_from(path).unwrap_or_default());
    let written =
        prompt::estimate_tokens(&message.content) + message.tool_calls.iter().map(prompt::cost_of_call).sum::<usize>();
    Usage { input_tokens: tokens(path.min(budget)), output_tokens: tokens(written) }
}
