//! Topics: order, recovery, bounds.

use colloquy::{
    live::bus::Gap,
    model::topic::{Epoch, Position},
};
use futures_util::future::join_all;

use super::{Ground, Node, content, on_both, topic};

on_both!(
    viewers_of_every_node_see_every_event_once_in_order,
    a_viewer_gets_what_it_missed_once,
    a_viewer_may_know_more_than_the_node_that_it_comes_back_to,
    what_cannot_be_recovered_says_why,
    a_history_is_bounded_by_number_and_by_weight,
    a_quiet_topic_that_is_viewed_again_goes_on,
    a_whisper_reaches_every_node_once_and_leaves_no_trace,
);

async fn viewers_of_every_node_see_every_event_once_in_order(ground: Ground) {
    const EACH: u64 = 200;
    let (here, there) = (ground.node().await, ground.node().await);
    let topic = topic();
    assert_eq!(here.watch(&topic).await, there.watch(&topic).await);
    let speak = async |node: &Node, name: &str| {
        for number in 0..EACH {
            node.say(&topic, format!("{name} {number}")).await;
        }
    };
    tokio::join!(speak(&here, "a"), speak(&there, "b"), speak(&here, "c"), speak(&there, "d"));

    let (seen, elsewhere) = (here.saw(&topic, 4 * EACH as usize).await, there.saw(&topic, 4 * EACH as usize).await);
    let offsets: Vec<u64> = seen.iter().map(|(offset, _)| *offset).collect();
    assert_eq!(offsets, (1..=4 * EACH).collect::<Vec<_>>());
    assert_eq!(seen, elsewhere);
    for name in ["a", "b", "c", "d"] {
        let said = seen.iter().filter_map(|(_, content)| content.strip_prefix(name)?.trim().parse().ok());
        assert_eq!(said.collect::<Vec<u64>>(), (0..EACH).collect::<Vec<_>>());
    }
}

async fn a_viewer_gets_what_it_missed_once(ground: Ground) {
    let (here, there) = (ground.node().await, ground.node().await);
    let topic = topic();
    let mut position = Position { epoch: Epoch(0), offset: 0 };
    for number in 1..=5 {
        position = here.say(&topic, number.to_string()).await;
    }
    there.bus.open(&topic);
    let opened = there.bus.catch_up(&topic, Some((Some(position.epoch), 2)), usize::MAX).await;
    assert_eq!((opened.position, opened.gap), (position, None));
    let missed: Vec<_> = opened.missed.iter().map(|event| (event.offset, content(event))).collect();
    assert_eq!(missed, [(3, "3".into()), (4, "4".into()), (5, "5".into())]);

    here.say(&topic, "6").await;
    assert_eq!(there.saw(&topic, 1).await.last(), Some(&(6, "6".into())));
    let again = there.bus.catch_up(&topic, Some((None, 4)), usize::MAX).await;
    assert_eq!(again.missed.iter().map(|event| event.offset).collect::<Vec<_>>(), [5, 6]);
}

async fn a_viewer_may_know_more_than_the_node_that_it_comes_back_to(ground: Ground) {
    let (here, there) = (ground.node().await, ground.node().await);
    let topic = topic();
    there.watch(&topic).await;
    for number in 0..300 {
        let seen = here.say(&topic, number.to_string()).await;
        let opened = there.bus.catch_up(&topic, Some((Some(seen.epoch), seen.offset)), usize::MAX).await;
        assert_eq!((opened.position, opened.missed.len(), opened.gap), (seen, 0, None));
    }
}

async fn what_cannot_be_recovered_says_why(ground: Ground) {
    let node = ground.node().await;
    let topic = topic();
    let position = node.say(&topic, "one").await;
    node.bus.open(&topic);
    let gap = async |epoch: Epoch, offset| node.bus.catch_up(&topic, Some((Some(epoch), offset)), usize::MAX).await.gap;
    assert_eq!(gap(position.epoch, 1).await, None);
    assert_eq!(gap(position.epoch, 2).await, Some(Gap::OffsetUnknown));
    assert_eq!(gap(Epoch(position.epoch.0 ^ 1), 1).await, Some(Gap::EpochChanged));
}

async fn a_history_is_bounded_by_number_and_by_weight(ground: Ground) {
    let (here, there) = (ground.node().await, ground.node().await);
    let (many, heavy) = (topic(), topic());
    join_all((0..1100).map(|number| here.say(&many, number.to_string()))).await;
    for _ in 0..40 {
        here.say(&heavy, "x".repeat(64 << 10)).await;
    }
    for (topic, last, lost, kept) in [(many, 1100, 50, 101), (heavy, 40, 10, 30)] {
        let position = there.watch(&topic).await;
        assert_eq!(position.offset, last);
        let opened = there.bus.catch_up(&topic, Some((None, lost)), usize::MAX).await;
        assert_eq!((opened.missed.len(), opened.gap), (0, Some(Gap::HistoryLost)));
        let opened = there.bus.catch_up(&topic, Some((None, kept)), usize::MAX).await;
        assert_eq!((opened.missed.len() as u64, opened.gap), (last - kept, None));
    }
}

async fn a_quiet_topic_that_is_viewed_again_goes_on(ground: Ground) {
    let (here, there) = (ground.node().await, ground.node().await);
    let topic = topic();
    let first = there.watch(&topic).await;
    here.say(&topic, "one").await;
    there.saw(&topic, 1).await;
    there.bus.close(&topic);
    for number in 0..10 {
        here.say(&topic, number.to_string()).await;
    }
    let back = there.watch(&topic).await;
    assert_eq!(back, Position { offset: 11, ..first });
    here.say(&topic, "last").await;
    let seen =
        there.seen.until(|seen| Some(seen.of(&topic)).filter(|seen| seen.iter().any(|(_, text)| text == "last")));
    assert_eq!(seen.await.last(), Some(&(12, "last".into())));
}

async fn a_whisper_reaches_every_node_once_and_leaves_no_trace(ground: Ground) {
    let (here, there) = (ground.node().await, ground.node().await);
    let topic = topic();
    let start = here.watch(&topic).await;
    there.watch(&topic).await;
    here.say(&topic, "one").await;
    here.whisper(&topic, "psst").await;
    here.say(&topic, "two").await;
    let expected = [(1, "one".to_owned()), (0, "psst".to_owned()), (2, "two".to_owned())];
    for node in [&here, &there] {
        assert_eq!(node.saw(&topic, 3).await, expected);
    }
    let opened = there.bus.catch_up(&topic, Some((Some(start.epoch), 0)), usize::MAX).await;
    assert_eq!(opened.missed.iter().map(|event| event.offset).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(opened.position, Position { offset: 2, ..start });
}
