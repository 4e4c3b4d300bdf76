//! The core's port beside plain gRPC: gRPC-Web over HTTP/1.1, reflection and health.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use colloquy::proto::{GetMeRequest, GetMeResponse, StreamChatRequest, StreamChatResponse, chat_event::Event};
use futures_util::{StreamExt as _, stream};
use prost::Message;
use reqwest::Version;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_reflection::pb::{v1, v1alpha};

use crate::harness::{Actor, Server, eventually, soon};

const CONTENT_TYPE: &str = "application/grpc-web+proto";
/// The flag of the frame that holds trailers.
const TRAILERS: u8 = 0x80;

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_calls_without_http2() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let (messages, trailers) = call(&server, &alice, "UserService/GetMe", &GetMeRequest {}).await;
    let [message] = messages.try_into().unwrap();
    assert_eq!(GetMeResponse::decode(message).unwrap().user, Some(alice.me().await.unwrap()));
    assert_eq!(trailers["grpc-status"], "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_follows_an_answer() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let request = StreamChatRequest { message: "one two three".into(), ..Default::default() };
    let (messages, trailers) = call(&server, &alice, "ChatService/StreamChat", &request).await;
    let events: Vec<_> = messages
        .into_iter()
        .map(|message| StreamChatResponse::decode(message).unwrap().event.unwrap().event.unwrap())
        .collect();
    assert!(matches!(events.first(), Some(Event::Start(_))), "{events:?}");
    assert!(matches!(events.last(), Some(Event::End(_))), "{events:?}");
    let text: String = events
        .iter()
        .filter_map(|event| match event {
            Event::Token(token) => Some(token.content.as_str()),
            // The answer ended before its viewer began to follow it.
            Event::Snapshot(snapshot) => Some(snapshot.content.as_str()),
            _ => None,
        })
        .collect();
    assert!(text.contains("one two three"), "{text}");
    assert_eq!(trailers["grpc-status"], "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_without_a_credential_is_told_so() {
    let server = Server::start().await;
    let response = send(&server, &server.visitor(), "UserService/GetMe", &GetMeRequest {}).await;
    assert_eq!(response.headers()["grpc-status"], "16");
    assert!(response.headers().contains_key("grpc-status-details-bin"));
}

#[tokio::test(flavor = "multi_thread")]
async fn reflection_lists_the_services_in_both_versions() {
    let server = Server::start().await;
    let expected = [
        "colloquy.v1.AuthService",
        "colloquy.v1.ChatService",
        "colloquy.v1.ConversationService",
        "colloquy.v1.SessionService",
        "colloquy.v1.UserService",
        "grpc.health.v1.Health",
    ];
    let request = v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(v1::server_reflection_request::MessageRequest::ListServices(String::new())),
    };
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(server.grpc());
    let mut answers = client.server_reflection_info(stream::iter([request])).await.unwrap().into_inner();
    let answer = soon("the services", answers.next()).await.unwrap().unwrap().message_response;
    let Some(v1::server_reflection_response::MessageResponse::ListServicesResponse(list)) = answer else {
        panic!("no services: {answer:?}")
    };
    let names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    assert!(expected.iter().all(|name| names.iter().any(|served| served == name)), "{names:?}");

    let request = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(v1alpha::server_reflection_request::MessageRequest::ListServices(String::new())),
    };
    let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(server.grpc());
    let mut answers = client.server_reflection_info(stream::iter([request])).await.unwrap().into_inner();
    let answer = soon("the services", answers.next()).await.unwrap().unwrap().message_response;
    let Some(v1alpha::server_reflection_response::MessageResponse::ListServicesResponse(list)) = answer else {
        panic!("no services: {answer:?}")
    };
    let names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    assert!(expected.iter().all(|name| names.iter().any(|served| served == name)), "{names:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_told_without_a_credential() {
    let server = Server::start().await;
    for service in ["", "store", "live"] {
        eventually("the service serves", async || {
            let request = HealthCheckRequest { service: service.to_owned() };
            let answer = HealthClient::new(server.grpc()).check(request).await;
            answer.is_ok_and(|answer| answer.into_inner().status() == ServingStatus::Serving)
        })
        .await;
    }
}

async fn send(server: &Server, actor: &Actor, rpc: &str, message: &impl Message) -> reqwest::Response {
    let mut body = BytesMut::new();
    body.put_u8(0);
    body.put_u32(message.encoded_len().try_into().unwrap());
    message.encode(&mut body).unwrap();
    let request = reqwest::Client::builder().http1_only().build().unwrap();
    let request = request.post(format!("http://{}/colloquy.v1.{rpc}", server.grpc_address()));
    let request = request.header("content-type", CONTENT_TYPE).header("x-grpc-web", "1").body(body.freeze());
    let request = if actor.access_token.is_empty() { request } else { request.bearer_auth(&actor.access_token) };
    let response = soon(rpc, request.send()).await.unwrap();
    assert_eq!((response.version(), response.status().as_u16()), (Version::HTTP_11, 200));
    assert_eq!(response.headers()["content-type"], CONTENT_TYPE);
    response
}

/// Calls an RPC: the messages, and the trailers behind them.
async fn call(server: &Server, actor: &Actor, rpc: &str, message: &impl Message) -> (Vec<Bytes>, http::HeaderMap) {
    let mut body = soon(rpc, send(server, actor, rpc, message).await.bytes()).await.unwrap();
    let mut messages = Vec::new();
    loop {
        let (flag, length) = (body.get_u8(), body.get_u32());
        let frame = body.split_to(length.try_into().unwrap());
        if flag != TRAILERS {
            messages.push(frame);
            continue;
        }
        assert!(body.is_empty(), "nothing follows the trailers");
        let lines = std::str::from_utf8(&frame).unwrap().lines();
        let pairs = lines.map(|line| line.split_once(':').unwrap());
        let trailers = pairs.map(|(name, value)| (name.parse().unwrap(), value.trim().parse().unwrap()));
        return (messages, trailers.collect::<Vec<(http::HeaderName, http::HeaderValue)>>().into_iter().collect());
    }
}
