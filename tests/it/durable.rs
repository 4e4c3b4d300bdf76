//! Never lose a token: whoever loses the link, wherever and however often, ends up with the whole answer.

use futures_util::future::join_all;

use crate::harness::{
    Actor, Server, Transport, Viewer,
    upstream::{Script, Upstream, piece},
};

const PIECES: usize = 300;

/// The first `count` pieces.
fn said(count: usize) -> String {
    (1..=count).map(piece).collect()
}

/// A viewer's way through an answer: which transport it takes for each piece.
type Way = fn(usize) -> Transport;

const WAYS: [Way; 4] = [|_| Transport::Sse, |_| Transport::WebSocket, |_| Transport::Grpc, Transport::nth];

/// An answer whose pieces come one by one, and somebody who asked for it.
async fn asked(script: Script) -> (Server, Upstream, Actor, String, String) {
    let upstream = Upstream::start(script).await;
    let server = Server::asking(&upstream, &[]).await;
    let alice = server.register("alice").await;
    let conversation = alice.conversation().await;
    let (_, answer) = alice.send(&conversation, "tell me everything").await;
    (server, upstream, alice, conversation, answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_cut_after_every_piece_costs_nothing_on_any_transport() {
    let script = Script::anthropic().stepped().pieces(PIECES).pause().end();
    let (_server, upstream, alice, conversation, answer) = asked(script).await;
    let viewers = |ways: &[Way]| -> Vec<(Viewer, Way)> {
        ways.iter().map(|way| (Viewer::new(&alice, &conversation, &answer), *way)).collect()
    };
    // Of each kind one that is back before the next piece is said, and one that comes back after.
    let (mut early, mut late) = (viewers(&WAYS), viewers(&WAYS));
    let mut whole = Viewer::new(&alice, &conversation, &answer);
    whole.attach(Transport::Grpc).await;
    for number in 1..=PIECES {
        join_all(early.iter_mut().map(|(viewer, way)| viewer.attach(way(number)))).await;
        upstream.release(1);
        let text = said(number);
        whole.until_bytes(text.len()).await;
        join_all(late.iter_mut().map(|(viewer, way)| viewer.attach(way(number)))).await;
        join_all(early.iter_mut().chain(&mut late).map(async |(viewer, _)| {
            viewer.until_bytes(text.len()).await;
            assert_eq!(viewer.text, text);
            viewer.cut();
        }))
        .await;
    }
    // Snapshots are for those who come to a socket from elsewhere; links that stay what they are need none.
    let snapshots = |viewers: &[(Viewer, Way)]| viewers.iter().map(|(viewer, _)| viewer.snapshots).collect::<Vec<_>>();
    assert_eq!(snapshots(&early), [0, 1, 0, PIECES / 3]);
    // Who breaks off before anything with a place has come gets what it was owed once more.
    assert_eq!(snapshots(&late), [0, 2, 0, PIECES / 3]);

    let mut all: Vec<_> = early.into_iter().chain(late).collect();
    join_all(all.iter_mut().map(|(viewer, way)| viewer.attach(way(PIECES + 1)))).await;
    upstream.release(1);
    all.push((whole, WAYS[2]));
    for (mut viewer, _) in all {
        assert_eq!(viewer.until_last().await.kind, "end");
        assert_eq!(viewer.text, said(PIECES));
    }
    let message = alice.message(&conversation, &answer).await;
    assert_eq!((&message["status"], message["content"].as_str().unwrap()), (&"complete".into(), &*said(PIECES)));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_place_in_an_answer_can_be_resumed_from_while_it_goes_on() {
    let script = Script::openai().pieces(PIECES - 1).stepped().text(piece(PIECES)).end();
    let (_server, upstream, alice, conversation, answer) = asked(script).await;
    let mut whole = Viewer::new(&alice, &conversation, &answer);
    whole.attach(Transport::Sse).await;
    whole.until_bytes(said(PIECES - 1).len()).await;

    let mut viewers: Vec<Viewer> = Vec::with_capacity(PIECES);
    for number in 0..PIECES {
        let mut viewer = Viewer::new(&alice, &conversation, &answer);
        viewer.text = said(number);
        viewer.attach(if number % 2 == 0 { Transport::Sse } else { Transport::Grpc }).await;
        viewer.until_bytes(said(PIECES - 1).len()).await;
        viewers.push(viewer);
    }
    upstream.release(1);
    for mut viewer in viewers {
        assert_eq!(viewer.until_last().await.kind, "end");
        assert_eq!(viewer.text, said(PIECES));
        assert_eq!(viewer.snapshots, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_does_not_exist_is_refused_by_name() {
    let script = Script::openai().text("é").pause().end();
    let (_server, upstream, alice, conversation, answer) = asked(script).await;
    let mut viewer = Viewer::new(&alice, &conversation, &answer);
    viewer.attach(Transport::Grpc).await;
    viewer.until_bytes(2).await;
    for after in [1, 3] {
        let mut events = alice.resume_chat(&answer, after).await;
        let event = events.next().await.unwrap();
        assert_eq!((event.kind.as_str(), &event.data["code"]), ("error", &"INVALID_MESSAGE".into()), "{event:?}");
        assert_eq!(events.next().await, None);
    }
    upstream.release(1);
    assert_eq!(viewer.until_last().await.kind, "end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_goes_on_when_everybody_has_left() {
    let script = Script::anthropic().stepped().pieces(PIECES).pause().end();
    let (_server, upstream, alice, conversation, answer) = asked(script).await;
    for transport in Transport::ALL {
        let mut viewer = Viewer::new(&alice, &conversation, &answer);
        viewer.attach(transport).await;
        viewer.cut();
    }
    upstream.release(PIECES);
    for transport in Transport::ALL {
        let mut viewer = Viewer::new(&alice, &conversation, &answer);
        viewer.attach(transport).await;
        viewer.until_bytes(said(PIECES).len()).await;
    }
    assert_eq!(upstream.exchanges().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn links_cut_at_any_moment_while_the_answer_flows_cost_nothing() {
    let script = Script::openai().stepped().pieces(PIECES).pause().end();
    let (_server, upstream, alice, conversation, answer) = asked(script).await;
    let mut whole = Viewer::new(&alice, &conversation, &answer);
    whole.attach(Transport::Grpc).await;
    let flow = async {
        for number in 1..=PIECES {
            upstream.release(1);
            whole.until_bytes(said(number).len()).await;
        }
    };
    let viewers = (0..12).map(async |start| {
        let mut viewer = Viewer::new(&alice, &conversation, &answer);
        for number in start.. {
            viewer.attach(Transport::nth(number)).await;
            viewer.until_bytes(viewer.text.len() + 1).await;
            if viewer.text.len() == said(PIECES).len() {
                break;
            }
        }
        assert_eq!(viewer.text, said(PIECES));
    });
    tokio::join!(flow, join_all(viewers));
}
