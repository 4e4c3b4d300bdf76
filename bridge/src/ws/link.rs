//! What the bridge tells the core of a socket: how much of what was sent it took, how fast it answers, when it takes nothing.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use serde_json::json;

use super::frame::number;
use crate::{
    schema::{Schema, SchemaError},
    transcode::{MessageId, Transcoder, wire},
};

const CARRIER: &str = "colloquy.v1.ConnectRequest";
const REPORT: &str = "colloquy.v1.LinkReport";

/// What a socket did since the core was told last.
#[derive(Debug)]
pub(crate) struct Link {
    /// Bytes that are taken of the core beyond what the socket took.
    window: usize,
    taken: usize,
    round_trip: Option<Duration>,
    failed_sends: u32,
}

impl Link {
    pub(crate) fn new(window: usize) -> Self {
        Self { window, taken: 0, round_trip: None, failed_sends: 0 }
    }

    /// Bytes that may wait for the socket.
    pub(crate) fn window(&self) -> usize {
        self.window
    }

    /// The socket took a frame that was so long when the core sent it.
    pub(crate) fn take(&mut self, bytes: usize) {
        self.taken += bytes;
    }

    /// The client answered a ping.
    pub(crate) fn answer(&mut self, round_trip: Duration) {
        self.round_trip = Some(round_trip);
    }

    /// The client took nothing of a frame for too long.
    pub(crate) fn fail(&mut self) {
        self.failed_sends += 1;
    }

    /// Whether the core is to be told now.
    pub(crate) fn is_due(&self) -> bool {
        2 * self.taken >= self.window || self.round_trip.is_some() || self.failed_sends > 0
    }
}

/// Writes reports of links.
pub(crate) struct Reports {
    transcoder: Arc<Transcoder>,
    /// The field of the request that holds the report.
    carrier: u32,
    message: MessageId,
}

impl Reports {
    pub(crate) fn new(schema: &Schema) -> Result<Self, SchemaError> {
        Ok(Self {
            transcoder: schema.transcoder.clone(),
            carrier: number(&schema.message(CARRIER)?.0, "report")?,
            message: schema.message(REPORT)?.1,
        })
    }

    /// A request that tells the core what the link did, which is told then.
    pub(crate) fn write(&self, link: &mut Link) -> Bytes {
        let Link { taken, round_trip, failed_sends, .. } = std::mem::replace(link, Link::new(link.window));
        let mut report = json!({ "credit": taken, "failed_sends": failed_sends });
        if let Some(round_trip) = round_trip {
            report["round_trip"] = json!(format!("{}.{:09}s", round_trip.as_secs(), round_trip.subsec_nanos()));
        }
        let (mut fields, mut request) = (Vec::new(), Vec::new());
        if let Err(invalid) = self.transcoder.to_wire(self.message, report.to_string().as_bytes(), &mut fields) {
            tracing::error!(error = %invalid, "a report could not be made");
        }
        wire::put_bytes(self.carrier, &fields, &mut request);
        request.into()
    }
}
