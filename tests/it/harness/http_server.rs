//! Small HTTP servers of the tests' own: one request for each connection.

use tokio::{
    io::AsyncReadExt as _,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// A server on a free port; it ends when it is dropped.
pub(super) struct HttpServer {
    port: u16,
    task: JoinHandle<()>,
}

impl HttpServer {
    /// Answers each connection so.
    pub(super) async fn answering<A>(answer: impl Fn(TcpStream) -> A + Send + 'static) -> Self
    where
        A: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream));
            }
        });
        Self { port, task }
    }

    /// How URLs here begin.
    pub(super) fn origin(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The first line and the headers of a request; `None` when the caller leaves before.
pub(super) async fn head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).unwrap())
}
