//! A native session: the frames of a socket over gRPC, and what a bridge reports beside them.

use colloquy::proto::{
    ClientFrame, ConnectRequest, ConnectResponse, LinkReport, ServerFrame, Subscribe, TopicPosition, client_frame,
    server_frame::Payload,
};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Request, Status, Streaming};

use super::{Actor, soon};

/// A session and the way to its server.
pub(crate) struct Native {
    requests: Option<mpsc::UnboundedSender<ConnectRequest>>,
    frames: Streaming<ConnectResponse>,
    /// Bytes that the server may send, as it counts them too.
    left: i64,
}

impl Native {
    /// Opens a session whose link takes so many bytes, or as many as come.
    pub(crate) async fn open(actor: &Actor, credit: Option<u64>) -> Self {
        Self::try_open(actor, credit).await.unwrap()
    }

    /// The same, which the server may refuse.
    pub(crate) async fn try_open(actor: &Actor, credit: Option<u64>) -> Result<Self, Status> {
        let (requests, stream) = mpsc::unbounded_channel();
        let mut request = Request::new(UnboundedReceiverStream::new(stream));
        if let Some(credit) = credit {
            request.metadata_mut().insert("colloquy-credit", credit.into());
        }
        let frames = soon("a session", actor.sessions().connect(request)).await?.into_inner();
        Ok(Self { requests: Some(requests), frames, left: credit.map_or(0, |credit| credit as i64) })
    }

    /// Subscribes to conversations, each from the offset on.
    pub(crate) fn subscribe(&self, topics: &[(&str, Option<i64>)]) {
        let topics = topics.iter().map(|(conversation, offset)| TopicPosition {
            topic: format!("conversation:{conversation}"),
            offset: *offset,
            epoch: None,
        });
        self.ask(client_frame::Payload::Subscribe(Subscribe { events: Vec::new(), topics: topics.collect() }));
    }

    /// Sends a frame.
    pub(crate) fn ask(&self, payload: client_frame::Payload) {
        let frame = ClientFrame { id: "native".to_owned(), timestamp: None, payload: Some(payload) };
        self.request(ConnectRequest { frame: Some(frame), report: None });
    }

    /// Reports what the link does.
    pub(crate) fn report(&self, report: LinkReport) {
        self.request(ConnectRequest { frame: None, report: Some(report) });
    }

    /// Says that no frame follows.
    pub(crate) fn hang_up(&mut self) {
        self.requests = None;
    }

    fn request(&self, request: ConnectRequest) {
        self.requests.as_ref().expect("nothing is sent after the last frame").send(request).unwrap();
    }

    /// Lets the server send so many bytes more.
    pub(crate) fn grant(&mut self, credit: i64) {
        self.left += credit;
        self.report(LinkReport { credit, ..LinkReport::default() });
    }

    /// Lets the server send as much as when the link was this wide from the start: what came was taken.
    pub(crate) fn take(&mut self, window: i64) {
        self.grant(window - self.left);
    }

    /// Lets the server send one more frame.
    pub(crate) fn grant_one(&mut self) {
        self.grant(1 - self.left);
    }

    /// The next frame, or why there is none.
    pub(crate) async fn try_next(&mut self) -> Result<Option<ServerFrame>, Status> {
        let response = soon("a frame", self.frames.message()).await?;
        self.left -= response.as_ref().map_or(0, |response| response.encoded_len() as i64);
        Ok(response.map(|response| response.frame.unwrap()))
    }

    /// The next frame.
    pub(crate) async fn next(&mut self) -> ServerFrame {
        self.try_next().await.unwrap().expect("a frame")
    }

    /// The first frame of which `pick` makes something.
    pub(crate) async fn find<T>(&mut self, mut pick: impl FnMut(Payload) -> Option<T>) -> T {
        loop {
            if let Some(found) = self.next().await.payload.and_then(&mut pick) {
                return found;
            }
        }
    }
}
