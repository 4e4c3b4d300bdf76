//! What is compressed comes back as it was, fragmented anyhow.

#![no_main]

use arbitrary::Arbitrary;
use colloquy_bridge::{fuzzing, websocket::Inflate};
use futures_util::{FutureExt as _, StreamExt as _};
use libfuzzer_sys::fuzz_target;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        protocol::{
            Role,
            frame::{
                Frame,
                coding::{Data, OpCode},
            },
        },
    },
};

/// A message, the window that it is compressed within, and where it is fragmented.
#[derive(Arbitrary, Debug)]
struct Input<'a> {
    window: u8,
    fragments: Vec<u16>,
    message: &'a [u8],
}

fuzz_target!(|input: Input<'_>| {
    let compression = fuzzing::compression(9 + input.window % 7).expect("every window from 9 on is agreed to");
    let Message::Frame(whole) = compression.apply(Message::binary(input.message.to_vec())) else {
        panic!("it is compressed");
    };
    let mut rest = whole.into_payload();
    let mut bytes = Vec::new();
    let mut kind = Data::Binary;
    for at in input.fragments {
        put(&mut bytes, rest.split_to(rest.len().min(at.into())).to_vec(), kind, false);
        kind = Data::Continue;
    }
    put(&mut bytes, rest.to_vec(), kind, true);

    let connection = std::io::Cursor::new(bytes);
    let limit = input.message.len() * 2 + 1024;
    let socket = WebSocketStream::from_raw_socket(Inflate::compressed(connection, limit), Role::Server, None);
    let mut socket = socket.now_or_never().expect("there is nothing to wait for");
    let message = socket.next().now_or_never().expect("all of it is there").expect("there is a message");
    assert_eq!(message.expect("it is intact").into_data(), input.message);
});

/// Appends a client's frame, masked by what changes nothing.
fn put(bytes: &mut Vec<u8>, payload: Vec<u8>, kind: Data, is_last: bool) {
    let mut frame = Frame::message(payload, OpCode::Data(kind), is_last);
    frame.header_mut().rsv1 = kind == Data::Binary;
    frame.header_mut().mask = Some([0; 4]);
    frame.format(bytes).expect("a vector takes everything");
}
