//! The link to the shared server: one connection that hears what other nodes publish, kept up for as long as the node
//! lives. After each loss everything is looked after anew, so that nobody misses what went by meanwhile.

use std::{collections::HashSet, time::Duration};

use futures_util::{
    StreamExt as _,
    stream::{FuturesUnordered, Stream},
};
use redis::{
    Msg, RedisError, RedisResult,
    aio::{PubSubSink, PubSubStream},
};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::{
    bus::{Bus, Shared, Wish},
    presence::Presence,
    redis::{Away, Redis, in_time},
    signal::Signals,
};
use crate::model::topic::Topic;

/// How often the connection is asked whether it lives: what is lost with it must be known within seconds.
const PING_INTERVAL: Duration = Duration::from_secs(1);
/// Channels that are asked for at once.
const CHANNELS: usize = 500;
/// Topics that are looked after at the same time.
const SETTLING: usize = 8;
/// The pause before the first try to find the server again; it doubles up to the longest, each time with jitter.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How long a link must have lasted for the pauses to start anew.
const STEADY: Duration = Duration::from_secs(10);

/// Keeps the link; never completes.
pub async fn keep(redis: Redis, bus: Bus, signals: Signals, presence: Presence) {
    let Some(shared) = bus.shared() else { return std::future::pending().await };
    let mut pause = FIRST_PAUSE;
    let mut is_first = true;
    loop {
        let started = Instant::now();
        let (name, error) = match find(&redis).await {
            Ok((sink, stream)) => {
                shared.rejoin();
                redis.found();
                if !std::mem::take(&mut is_first) {
                    signals.doubt();
                }
                serve(&redis, shared, (&signals, &presence), sink, stream).await
            }
            Err(error) => ("connect", error),
        };
        redis.lost(name, &error);
        shared.fall_back();
        if started.elapsed() > STEADY {
            pause = FIRST_PAUSE;
        }
        sleep(pause.mul_f64(rand::random_range(0.5..1.5))).await;
        pause = LONGEST_PAUSE.min(pause * 2);
    }
}

async fn find(redis: &Redis) -> RedisResult<(PubSubSink, PubSubStream)> {
    redis.ping().await?;
    let (mut sink, stream) = redis.listen().await?.split();
    // Heard before anything is told to others: nothing falls in between.
    let channels = [redis.keys().signals(), redis.keys().statuses()];
    in_time(redis.timeout(), sink.subscribe(&channels)).await?;
    Ok((sink, stream))
}

/// Serves a link until it is lost; returns in which act, and why.
async fn serve(
    redis: &Redis,
    shared: &Shared,
    (signals, presence): (&Signals, &Presence),
    sink: PubSubSink,
    stream: PubSubStream,
) -> (&'static str, RedisError) {
    let mut changes = redis.changes();
    tokio::select! {
        () = hear(redis, shared, (signals, presence), stream) => ("listen", closed()),
        (name, error) = follow(redis, shared, sink) => (name, error),
        Away = signals.pass_on(redis) => ("signal", closed()),
        // A call of somebody else's failed: it was logged there.
        _ = changes.wait_for(|is_up| !is_up) => ("call", closed()),
    }
}

/// Hands on what other nodes say, until the connection ends.
async fn hear(
    redis: &Redis,
    shared: &Shared,
    (signals, presence): (&Signals, &Presence),
    mut stream: impl Stream<Item = Msg> + Unpin,
) {
    let (signals_channel, statuses_channel) = (redis.keys().signals(), redis.keys().statuses());
    while let Some(message) = stream.next().await {
        let Ok(payload) = std::str::from_utf8(message.get_payload_bytes()) else { continue };
        let channel = message.get_channel_name();
        if channel == signals_channel {
            signals.hear(redis.node(), payload);
        } else if channel == statuses_channel {
            presence.hear(redis.node(), payload);
        } else if let Some(topic) = redis.keys().topic_of(channel) {
            shared.hear(&topic, payload);
        }
    }
}

/// Hears the channels of exactly those topics that have viewers, and settles topics where that is needed.
async fn follow(redis: &Redis, shared: &Shared, sink: PubSubSink) -> (&'static str, RedisError) {
    let mut ears = Ears { redis, sink, heard: HashSet::new() };
    let mut unsettled: HashSet<Topic> = HashSet::new();
    let mut settling: HashSet<Topic> = HashSet::new();
    let mut acts = FuturesUnordered::new();
    let mut pings = interval(PING_INTERVAL);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            topics = shared.wanted() => {
                let wishes: Vec<_> = topics.into_iter().map(|topic| (shared.wish(&topic), topic)).collect();
                // First heard, then settled: nothing falls in between.
                if let Err(error) = ears.attend(&wishes).await {
                    return ("subscribe", error);
                }
                unsettled.extend(wishes.into_iter().filter(|(wish, _)| wish.is_unsettled).map(|(_, topic)| topic));
            }
            Some((topic, settled)) = acts.next() => {
                settling.remove(&topic);
                if let Err(Away) = settled {
                    return ("settle", closed());
                }
            }
            _ = pings.tick() => if let Err(error) = ears.ping().await {
                return ("ping", error);
            },
        }
        while acts.len() < SETTLING {
            let next = unsettled.iter().find(|topic| !settling.contains(*topic)).cloned();
            let Some(topic) = next else { break };
            unsettled.remove(&topic);
            settling.insert(topic.clone());
            acts.push(async move {
                let settled = shared.settle(&topic).await;
                (topic, settled)
            });
        }
    }
}

/// What the connection listens to.
struct Ears<'a> {
    redis: &'a Redis,
    sink: PubSubSink,
    heard: HashSet<Topic>,
}

impl Ears<'_> {
    /// Listens to the topics that want it and to the others no more; returns once the server has confirmed it.
    async fn attend(&mut self, wishes: &[(Wish, Topic)]) -> RedisResult<()> {
        let (keys, timeout) = (self.redis.keys(), self.redis.timeout());
        let (mut new, mut old) = (Vec::new(), Vec::new());
        for (wish, topic) in wishes {
            if wish.is_heard && self.heard.insert(topic.clone()) {
                new.push(keys.channel(topic));
            } else if !wish.is_heard && self.heard.remove(topic) {
                old.push(keys.channel(topic));
            }
        }
        for channels in new.chunks(CHANNELS) {
            in_time(timeout, self.sink.subscribe(channels)).await?;
        }
        for channels in old.chunks(CHANNELS) {
            in_time(timeout, self.sink.unsubscribe(channels)).await?;
        }
        Ok(())
    }

    async fn ping(&mut self) -> RedisResult<()> {
        in_time(self.redis.timeout(), self.sink.ping::<redis::Value>()).await.map(drop)
    }
}

fn closed() -> RedisError {
    RedisError::from((redis::ErrorKind::Io, "the connection is gone"))
}
