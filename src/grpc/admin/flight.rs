//! What the flight recorder remembers, as the contract writes it.

use crate::{
    grpc::message::signed,
    proto::{FrameDirection, GetConnectionFramesResponse, PassedFrame},
    session::flight::{About, Direction, Flight, Passage},
};

impl From<Flight> for GetConnectionFramesResponse {
    fn from(flight: Flight) -> Self {
        Self {
            connection_id: flight.connection_id.to_string(),
            user_id: flight.user_id.to_string(),
            node: String::new(),
            connected_at: Some(flight.since.into()),
            ended_at: flight.ended_at.map(Into::into),
            frame_count: signed(flight.count),
            frames: flight.frames.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<Passage> for PassedFrame {
    fn from(passage: Passage) -> Self {
        let (id, topic, offset) = match &passage.about {
            About::Alone => (String::new(), String::new(), None),
            About::Frame(id) => (id.to_string(), String::new(), None),
            About::Place(topic, offset) => {
                (String::new(), topic.to_string(), Some(*offset).filter(|offset| *offset > 0).map(signed))
            }
        };
        let direction = match passage.direction {
            Direction::In => FrameDirection::In,
            Direction::Out => FrameDirection::Out,
        };
        Self {
            timestamp: Some(passage.at.into()),
            direction: direction.into(),
            r#type: passage.frame_type().to_owned(),
            bytes: passage.bytes.into(),
            id,
            topic,
            offset,
            code: passage.code().to_owned(),
        }
    }
}
