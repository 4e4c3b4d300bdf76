//! What full tracing costs: one small read through the bridge, and a message with its answer, at a node whose every span goes to
//! a collector; beside a node that makes no traces. They take turns.

mod collector;

use anyhow::{Result, ensure};
use colloquy::proto::{SendMessageRequest, chat_service_client::ChatServiceClient};
use tempfile::TempDir;
use tonic::{
    Request,
    metadata::{Ascii, MetadataValue},
    transport::Channel,
};

use self::collector::Collector;
use super::{
    caller::{Caller, PATIENCE},
    process::Node,
    requests::{CONNECTIONS, ROUND, ROUNDS, turn},
    table::{Samples, Table},
};

pub(crate) async fn measure() -> Result<Table> {
    let collector = Collector::start().await?;
    let traced = Measured::start(&[("COLLOQUY_OTLP_ENDPOINT", &collector.url)]).await?;
    let plain = Measured::start(&[]).await?;

    // The first round of each warms it up.
    let (mut reads, mut answers) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    for round in 0..=ROUNDS {
        for (side, node) in [&traced, &plain].into_iter().enumerate() {
            let read = turn(&|index| node.read(index)).await?;
            let answered = turn(&|index| node.answer(index)).await?;
            if round > 0 {
                reads[side].extend(read);
                answers[side].extend(answered);
            }
        }
    }
    traced.node.process.end().await?;
    plain.node.process.end().await?;
    ensure!(collector.spans() > 0, "nothing was traced");

    let title =
        format!("tracing: every span to a collector, over {CONNECTIONS} connections, beside the same without traces");
    let [reads, answers] = [("read", reads), ("answer", answers)].map(|(name, samples)| {
        let [traced, plain] = samples.map(|samples| samples.into_iter().collect::<Samples>());
        (name, traced, plain)
    });
    let rate = |samples: &Samples| samples.len() as f64 / (ROUND * ROUNDS as u32).as_secs_f64();
    Ok([reads, answers].into_iter().fold(Table::new(title), |table, (name, traced, plain)| {
        table.row(format!("{name}s"), "/s", rate(&traced), rate(&plain)).percentiles(name, &traced, &plain)
    }))
}

/// A node, and connections to it.
struct Measured {
    node: Node,
    url: String,
    bearer: String,
    credential: MetadataValue<Ascii>,
    http: Vec<reqwest::Client>,
    grpc: Vec<ChatServiceClient<Channel>>,
    conversations: Vec<String>,
    _folder: TempDir,
}

impl Measured {
    async fn start(settings: &[(&str, &str)]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let settings = [&[("COLLOQUY_ECHO_INTERVAL", "0")], settings].concat();
        let node = Node::start(&folder, &settings).await?;
        let caller = Caller::register(&node).await?;
        let (mut http, mut grpc) = (Vec::new(), Vec::new());
        for _ in 0..CONNECTIONS {
            http.push(reqwest::Client::builder().http1_only().no_proxy().timeout(PATIENCE).build()?);
            grpc.push(ChatServiceClient::new(caller.channel().await?));
        }
        Ok(Self {
            url: format!("http://{}/api/v1/users/me", node.http),
            bearer: caller.bearer(),
            credential: caller.credential()?,
            conversations: caller.conversations(CONNECTIONS).await?,
            http,
            grpc,
            node,
            _folder: folder,
        })
    }

    /// One small read through the bridge: two spans.
    async fn read(&self, index: usize) -> Result<()> {
        let response = self.http[index].get(&self.url).header("authorization", &self.bearer).send().await?;
        response.error_for_status()?.bytes().await?;
        Ok(())
    }

    /// A message over gRPC and the whole answer of `echo`: two spans.
    async fn answer(&self, index: usize) -> Result<()> {
        let mut request = Request::new(SendMessageRequest {
            conversation_id: self.conversations[index].clone(),
            content: "How long is the Danube?".to_owned(),
            wait: true,
            ..SendMessageRequest::default()
        });
        request.metadata_mut().insert("authorization", self.credential.clone());
        self.grpc[index].clone().send_message(request).await?;
        Ok(())
    }
}
