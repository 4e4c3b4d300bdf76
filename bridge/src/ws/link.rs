//! What the bridge tells the core of a socket: how much of what was sent it took, how fast it answers, when it takes nothing.

use std::time::Duration;

use bytes::Bytes;

use super::frame::number;
use crate::{
    schema::{Schema, SchemaError},
    transcode::wire::{self, WireType},
};

const CARRIER: &str = "colloquy.v1.ConnectRequest";
const REPORT: &str = "colloquy.v1.LinkReport";
/// The fields of `google.protobuf.Duration`.
const SECONDS: u32 = 1;
const NANOS: u32 = 2;

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
    /// The field of the request that holds the report.
    carrier: u32,
    credit: u32,
    round_trip: u32,
    failed_sends: u32,
}

impl Reports {
    pub(crate) fn new(schema: &Schema) -> Result<Self, SchemaError> {
        let report = schema.message(REPORT)?.0;
        Ok(Self {
            carrier: number(&schema.message(CARRIER)?.0, "report")?,
            credit: number(&report, "credit")?,
            round_trip: number(&report, "round_trip")?,
            failed_sends: number(&report, "failed_sends")?,
        })
    }

    /// A request that tells the core what the link did, which is told then.
    pub(crate) fn write(&self, link: &mut Link) -> Bytes {
        let Link { taken, round_trip, failed_sends, .. } = std::mem::replace(link, Link::new(link.window));
        let mut request = Vec::new();
        wire::put_tag(self.carrier, WireType::Bytes, &mut request);
        wire::put_delimited(&mut request, |report| {
            put_number(self.credit, taken as u64, report);
            put_number(self.failed_sends, u64::from(failed_sends), report);
            if let Some(round_trip) = round_trip {
                wire::put_tag(self.round_trip, WireType::Bytes, report);
                wire::put_delimited(report, |duration| {
                    put_number(SECONDS, round_trip.as_secs(), duration);
                    put_number(NANOS, u64::from(round_trip.subsec_nanos()), duration);
                });
            }
        });
        request.into()
    }
}

fn put_number(field: u32, number: u64, out: &mut Vec<u8>) {
    wire::put_tag(field, WireType::Varint, out);
    wire::put_varint(number, out);
}
