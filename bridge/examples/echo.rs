//! Says what it hears, on the bridge's own sockets, so that the Autobahn test suite can judge them (`make autobahn`).
//! Serves until it is ended, and tells its address in one line.

#![expect(clippy::print_stdout, reason = "whoever starts it reads the address")]

use std::{convert::Infallible, future::pending, io, time::Duration};

use bytes::Bytes;
use colloquy_bridge::{
    ConnectionLimits, accept,
    websocket::{Handshake, Violation, hang_up, invite},
};
use futures_util::{SinkExt as _, StreamExt as _};
use http::{Request, Response, StatusCode};
use http_body_util::Empty;
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::service_fn;

/// The suite sends up to 16 MiB.
const MAX_MESSAGE_BYTES: usize = 32 << 20;
const LIMITS: ConnectionLimits = ConnectionLimits {
    handshake_timeout: Duration::from_secs(10),
    drain_limit: Duration::from_secs(30),
    max_streams: 1,
};

#[tokio::main]
async fn main() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let sockets = TaskTracker::new();
    let service = service_fn(move |request| {
        let sockets = sockets.clone();
        async move { Ok::<_, Infallible>(answer(&sockets, request)) }
    });
    accept(listener, None, service, LIMITS, CancellationToken::new(), pending()).await;
    Ok(())
}

fn answer(sockets: &TaskTracker, mut request: Request<Incoming>) -> Response<Empty<Bytes>> {
    let upgrade = hyper::upgrade::on(&mut request);
    let Some(handshake) = Handshake::read(request.headers(), Some(upgrade), true) else {
        let mut refused = Response::default();
        *refused.status_mut() = StatusCode::UPGRADE_REQUIRED;
        invite(refused.headers_mut());
        return refused;
    };
    let response = handshake.answer();
    sockets.spawn(echo(handshake));
    response
}

async fn echo(handshake: Handshake) {
    let compression = handshake.compression();
    let Ok(mut socket) = handshake.open(MAX_MESSAGE_BYTES).await else { return };
    while let Some(received) = socket.next().await {
        match received {
            Ok(message @ (Message::Text(_) | Message::Binary(_))) => {
                let message = match compression {
                    Some(compression) => compression.apply(message),
                    None => message,
                };
                if socket.send(message).await.is_err() {
                    return;
                }
            }
            // Pings are answered and closes finished by the next look at the socket.
            Ok(_) => {}
            Err(error) => {
                if let Some(violation) = Violation::of(&error) {
                    let _ = hang_up(socket, violation.close()).await;
                }
                return;
            }
        }
    }
}
