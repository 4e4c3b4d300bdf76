//! Unary calls over REST.

use http::Method;
use serde_json::json;
use tokio::join;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::{
    core::encode,
    harness::{bridge, bridge_with},
};
use colloquy_bridge::Settings;

const JSON: (&str, &str) = ("content-type", "application/json");
const USER: &str = "0190f3c2-7d1e-7b6a-9b0e-3f2d1c0b9a88";

#[tokio::test]
async fn a_body_becomes_the_request_and_the_response_becomes_the_body() {
    let (bridge, mut core) = bridge().await;
    let (answer, ()) =
        join!(bridge.post("/api/v1/auth/login", json!({"username": "ada", "password": "secret"})), async {
            let mut call = core.expect("AuthService/Login").await;
            assert_eq!(call.message().await, json!({"username": "ada", "password": "secret"}));
            call.answer(
                json!({"access_token": "a", "token_type": "bearer", "expires_in": 900, "user": {"role": "user"}}),
            )
            .await;
        });
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.json()["expires_in"], 900);
    assert_eq!(answer.json()["user"]["role"], "user");
    assert_eq!(answer.json()["refresh_token"], "");
}

#[tokio::test]
async fn path_and_query_fill_the_request() {
    let (bridge, mut core) = bridge().await;
    let (answer, ()) =
        join!(bridge.get("/api/v1/conversations/c%201/messages?before_seq=7&include_siblings=true"), async {
            let mut call = core.expect("ConversationService/ListMessages").await;
            let message = call.message().await;
            assert_eq!(message["conversation_id"], "c 1");
            assert_eq!(message["before_seq"], 7);
            assert_eq!(message["include_siblings"], true);
            assert!(message.get("after_seq").is_none());
            call.answer(json!({})).await;
        });
    assert_eq!(answer.json(), json!({"messages": [], "has_more": false, "next_page_token": ""}));
}

#[tokio::test]
async fn a_list_in_the_query_is_separated_by_commas_or_repeated() {
    let (bridge, mut core) = bridge().await;
    for query in ["member_ids=a,b", "member_ids=a&member_ids=b"] {
        let path = format!("/api/v1/conversations?{query}");
        let (answer, ()) = join!(bridge.post(&path, json!({"title": "t"})), async {
            let mut call = core.expect("ConversationService/CreateConversation").await;
            assert_eq!(call.message().await["member_ids"], json!(["a", "b"]), "{query}");
            call.answer(json!({})).await;
        });
        assert_eq!(answer.status, 201);
    }
}

#[tokio::test]
async fn an_absent_body_is_an_empty_one() {
    let (bridge, mut core) = bridge().await;
    let path = "/api/v1/conversations/c/messages/m:stop";
    let (answer, ()) = join!(bridge.send(Method::POST, path, &[], ""), async {
        let mut call = core.expect("ChatService/StopRun").await;
        assert_eq!(call.message().await, json!({"conversation_id": "c", "message_id": "m"}));
        call.answer(json!({"message": {"id": "m"}})).await;
    });
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn what_creates_or_registers_answers_201() {
    let (bridge, mut core) = bridge().await;
    for path in ["/api/v1/auth/register", "/api/v1/conversations"] {
        let (answer, ()) = join!(bridge.post(path, json!({})), async { core.call().await.answer(json!({})).await });
        assert_eq!(answer.status, 201, "{path}");
    }
}

#[tokio::test]
async fn a_raw_body_is_sent_as_it_is() {
    let (bridge, mut core) = bridge().await;
    let (answer, ()) = join!(bridge.get("/api/v1/conversations/c:export?format=markdown"), async {
        let mut call = core.expect("ConversationService/ExportConversation").await;
        assert_eq!(call.message().await["format"], "markdown");
        call.answer(json!({"file": {"content_type": "text/markdown; charset=utf-8", "data": "IyBoaQ=="}})).await;
    });
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, "text/markdown; charset=utf-8"));
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert_eq!(answer.body, "# hi");
}

#[tokio::test]
async fn the_core_is_told_who_asks_and_nothing_that_a_client_made_up() {
    let settings = Settings { bridge_key: Some("k".parse().unwrap()), ..Settings::default() };
    let (bridge, mut core) = bridge_with(settings).await;
    let headers = [
        ("authorization", "Bearer t"),
        ("x-request-id", "req-1"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("user-agent", "tests"),
        ("x-forwarded-for", "6.6.6.6"),
        ("colloquy-bridge-key", "forged"),
        ("cookie", "a=b"),
    ];
    let (answer, ()) = join!(bridge.send(Method::GET, "/api/v1/users/me", &headers, ""), async {
        let call = core.expect("UserService/GetMe").await;
        assert_eq!(call.meta("authorization"), Some("Bearer t"));
        assert_eq!(call.meta("x-request-id"), Some("req-1"));
        assert_eq!(call.meta("traceparent"), Some(headers[2].1));
        assert_eq!(call.meta("colloquy-user-agent"), Some("tests"));
        assert_eq!(call.meta("x-forwarded-for"), Some("127.0.0.1"));
        assert_eq!(call.meta("colloquy-bridge-key"), Some("k"));
        assert_eq!(call.meta("cookie"), None);
        assert!(call.meta("grpc-timeout").is_some());
        call.answer(json!({})).await;
    });
    assert_eq!(answer.header("x-request-id"), "req-1");
}

#[tokio::test]
async fn a_request_id_is_made_where_none_fits() {
    let (bridge, _core) = bridge().await;
    for given in [None, Some("not visible"), Some(&*"x".repeat(129))] {
        let headers = given.map(|id| ("x-request-id", id));
        let answer = bridge.send(Method::GET, "/nowhere", headers.as_slice(), "").await;
        let made = answer.header("x-request-id");
        assert_eq!(uuid::Uuid::parse_str(made).unwrap().get_version_num(), 7, "{given:?}");
        assert_eq!(answer.error(), "NOT_FOUND");
    }
}

#[tokio::test]
async fn what_the_core_refuses_is_told_in_one_shape() {
    let (bridge, mut core) = bridge().await;
    let mut details = ErrorDetails::with_error_info("RATE_LIMIT_EXCEEDED", "colloquy", []);
    details.set_retry_info(Some(std::time::Duration::from_secs(4)));
    details.add_bad_request_violation("username", "too short");
    let status = Status::with_error_details(Code::ResourceExhausted, "too many tries", details);
    let (answer, ()) = join!(bridge.post("/api/v1/auth/login", json!({})), async { core.call().await.fail(status) });
    assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (429, "4"));
    assert_eq!(answer.error(), "RESOURCE_EXHAUSTED");
    assert_eq!(answer.json()["error"]["message"], "too many tries");
    assert_eq!(answer.detail("error_info")["reason"], "RATE_LIMIT_EXCEEDED");
    assert_eq!(answer.detail("bad_request")["field_violations"][0]["field"], "username");
    assert_eq!(answer.detail("retry_info")["retry_delay"], 4.0);
}

#[tokio::test]
async fn bad_requests_name_what_is_wrong_and_do_not_reach_the_core() {
    let (bridge, mut core) = bridge().await;
    let mark_read = "/api/v1/conversations/c:read";
    let table = [
        (Method::POST, "/api/v1/auth/login", "{", "INVALID_JSON", None),
        (Method::POST, "/api/v1/auth/login", "[]", "INVALID_MESSAGE", None),
        (Method::POST, "/api/v1/auth/login", r#"{"user":1}"#, "INVALID_MESSAGE", Some("user")),
        (Method::POST, mark_read, r#"{"seq":"many"}"#, "INVALID_MESSAGE", Some("seq")),
        (Method::POST, mark_read, r#"{"seq":1,"conversation_id":"d"}"#, "INVALID_MESSAGE", Some("conversation_id")),
        (Method::GET, "/api/v1/users?nonsense=1", "", "INVALID_MESSAGE", Some("nonsense")),
        (Method::GET, "/api/v1/users?query=a&query=b", "", "INVALID_MESSAGE", Some("query")),
        (Method::POST, "/api/v1/chat/stream?message=a&content=b", "", "INVALID_MESSAGE", Some("content")),
        (Method::GET, "/api/v1/users?page_size=x", "", "INVALID_MESSAGE", Some("page_size")),
        (Method::GET, "/api/v1/conversations/c?conversation_id=d", "", "INVALID_MESSAGE", Some("conversation_id")),
    ];
    for (method, path, body, reason, field) in table {
        let answer = bridge.send(method, path, &[JSON], body).await;
        assert_eq!((answer.status.as_u16(), &*answer.error()), (400, "INVALID_ARGUMENT"), "{path} {body}");
        assert_eq!(answer.detail("error_info")["reason"], reason, "{path} {body}");
        if let Some(field) = field {
            assert_eq!(answer.detail("bad_request")["field_violations"][0]["field"], field, "{path} {body}");
        }
    }
    assert!(core.is_idle());
}

#[tokio::test]
async fn what_is_not_served_says_so() {
    let settings = Settings { max_body_bytes: 64, ..Settings::default() };
    let (bridge, mut core) = bridge_with(settings).await;

    let answer = bridge.get("/api/v1/nothing").await;
    assert_eq!((answer.status.as_u16(), &*answer.error()), (404, "NOT_FOUND"));
    assert_eq!(answer.detail("error_info")["reason"], "NOT_FOUND");

    let answer = bridge.send(Method::PUT, &format!("/api/v1/users/{USER}"), &[], "").await;
    assert_eq!((answer.status.as_u16(), answer.header("allow")), (405, "GET"));
    answer.error();

    let answer = bridge.send(Method::POST, "/api/v1/auth/login", &[("content-type", "text/plain")], "{}").await;
    assert_eq!(answer.status, 415);
    answer.error();

    let answer = bridge.post("/api/v1/auth/login", json!({"username": "x".repeat(64)})).await;
    assert_eq!((answer.status.as_u16(), &*answer.error()), (413, "RESOURCE_EXHAUSTED"));
    assert_eq!(answer.detail("error_info")["reason"], "MESSAGE_TOO_LARGE");
    assert!(core.is_idle());
}

#[tokio::test]
async fn a_call_that_takes_too_long_is_given_up() {
    let settings = Settings { request_deadline: std::time::Duration::from_millis(20), ..Settings::default() };
    let (bridge, mut core) = bridge_with(settings).await;
    let (answer, call) = join!(bridge.get("/api/v1/users/me"), core.call());
    assert_eq!((answer.status.as_u16(), &*answer.error()), (504, "DEADLINE_EXCEEDED"));
    drop(call);
}

#[tokio::test]
async fn an_unreadable_answer_is_the_servers_fault() {
    let (bridge, mut core) = bridge().await;
    let (answer, ()) = join!(bridge.get("/api/v1/users/me"), async { core.call().await.answer_raw(&[0xff]) });
    assert_eq!((answer.status.as_u16(), &*answer.error()), (500, "INTERNAL"));
}

#[tokio::test]
async fn a_core_that_is_away_is_unavailable_and_its_address_is_not_told() {
    let nowhere = "http://127.0.0.1:1".parse().unwrap();
    let bridge =
        super::harness::bridge_to(colloquy_bridge::remote(&[nowhere], None).unwrap(), Settings::default()).await;
    let answer = bridge.get("/api/v1/users/me").await;
    assert_eq!((answer.status.as_u16(), &*answer.error()), (503, "UNAVAILABLE"));
    assert!(!answer.json().to_string().contains("127.0.0.1"));
}

#[tokio::test]
async fn other_origins_may_ask_and_read_the_request_id() {
    let (bridge, _core) = bridge().await;
    let preflight = [
        ("origin", "https://chat.example"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization,content-type"),
    ];
    let answer = bridge.send(Method::OPTIONS, "/api/v1/auth/login", &preflight, "").await;
    assert_eq!((answer.status.as_u16(), answer.header("access-control-allow-origin")), (200, "*"));
    assert_eq!(answer.header("access-control-allow-headers"), "authorization,content-type");
    assert!(!answer.header("x-request-id").is_empty());

    let answer = bridge.send(Method::GET, "/nowhere", &preflight[..1], "").await;
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    assert!(answer.header("access-control-expose-headers").contains("x-request-id"));
}

#[tokio::test]
async fn large_answers_are_compressed_for_those_who_ask() {
    let (bridge, mut core) = bridge().await;
    let headers = [("accept-encoding", "gzip")];
    let (answer, ()) = join!(bridge.send(Method::GET, "/api/v1/users/me", &headers, ""), async {
        core.call().await.answer(json!({"user": {"display_name": "a".repeat(1000)}})).await;
    });
    assert_eq!(answer.header("content-encoding"), "gzip");
    assert!(answer.body.len() < 500);
}

#[test]
fn an_encoded_request_is_what_the_contract_says() {
    assert_eq!(encode("colloquy.v1.GetUserRequest", &json!({"user_id": "a"})), [0x0a, 1, b'a']);
}
