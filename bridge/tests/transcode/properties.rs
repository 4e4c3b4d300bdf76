//! What holds for every message, and for every text and every run of bytes.

use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{RngSeed, TestCaseResult, TestRunner},
};
use prost_reflect::prost::Message as _;
use serde_json::Value;

use crate::{
    contract::{Type, expected_json, plain_json},
    generate::{self, Tape},
};

/// Runs a property on every message type, on `cases` tapes each and always the same.
fn on_every_type(cases: u32, property: impl Fn(&Type, &[u64], &[u64]) -> TestCaseResult) {
    let config = ProptestConfig {
        cases,
        rng_seed: RngSeed::Fixed(2026),
        failure_persistence: None,
        max_shrink_iters: 2000,
        ..ProptestConfig::default()
    };
    for message in Type::all() {
        let tapes = (vec(any::<u64>(), 0..150), vec(any::<u64>(), 0..40));
        let result = TestRunner::new(config.clone()).run(&tapes, |(first, second)| property(&message, &first, &second));
        if let Err(error) = result {
            panic!("{}: {error}", message.descriptor.full_name());
        }
    }
}

fn encoded(message: &Type, tape: &[u64]) -> Vec<u8> {
    generate::message(&message.descriptor, &mut Tape::new(tape)).encode_to_vec()
}

fn parsed(json: &str) -> Value {
    serde_json::from_str(json).expect("what is written is JSON")
}

#[test]
fn json_is_what_prost_reflect_writes_by_our_rules() {
    on_every_type(40, |message, tape, _| {
        let wire = encoded(message, tape);
        let json = message.to_json(&wire).map_err(TestCaseError::fail)?;
        prop_assert_eq!(parsed(&json), expected_json(&message.decode(&wire).unwrap()).unwrap());
        Ok(())
    });
}

#[test]
fn own_json_comes_back_as_the_same_message() {
    on_every_type(40, |message, tape, _| {
        let wire = encoded(message, tape);
        let json = message.to_json(&wire).unwrap();
        let back = message.to_wire(&json).map_err(TestCaseError::fail)?;
        prop_assert_eq!(message.decode(&back).unwrap(), message.decode(&wire).unwrap(), "{}", json);
        Ok(())
    });
}

#[test]
fn json_of_prost_reflect_is_read_as_the_same_message() {
    on_every_type(40, |message, tape, _| {
        let original = message.decode(&encoded(message, tape)).unwrap();
        let json = plain_json(&original).unwrap();
        let wire = message.to_wire(&json).map_err(TestCaseError::fail)?;
        prop_assert_eq!(message.decode(&wire).unwrap(), original, "{}", json);
        Ok(())
    });
}

#[test]
fn flat_members_are_those_of_the_object() {
    on_every_type(10, |message, tape, _| {
        let wire = encoded(message, tape);
        let flat = message.fields_to_json(&wire).unwrap();
        let whole = message.to_json(&wire).unwrap();
        prop_assert_eq!(format!("{{{}}}", flat.strip_prefix(',').unwrap_or_default()), whole);
        Ok(())
    });
}

#[test]
fn messages_one_after_the_other_are_merged() {
    on_every_type(20, |message, first, second| {
        let wire = [encoded(message, first), encoded(message, second), encoded(message, first)].concat();
        let expected = expected_json(&message.decode(&wire).unwrap()).unwrap();
        match message.to_json(&wire) {
            Ok(json) => prop_assert_eq!(parsed(&json), expected),
            // Seconds of one and nanoseconds of the other may differ in sign, which prost-reflect lets pass.
            Err(error) => prop_assert_eq!(error, "malformed message: duration out of range"),
        }
        Ok(())
    });
}

#[test]
fn damaged_messages_are_refused_or_read_as_prost_reflect_does() {
    on_every_type(60, |message, tape, damage| {
        let mut wire = encoded(message, tape);
        mutilate(&mut wire, damage);
        let ours = message.to_json(&wire);
        let theirs = message.decode(&wire).ok().and_then(|message| expected_json(&message).ok());
        if let (Ok(ours), Some(theirs)) = (ours, theirs) {
            prop_assert_eq!(parsed(&ours), theirs);
        }
        Ok(())
    });
}

#[test]
fn damaged_json_never_panics() {
    on_every_type(60, |message, tape, damage| {
        let mut json = message.to_json(&encoded(message, tape)).unwrap().into_bytes();
        mutilate(&mut json, damage);
        if let Ok(wire) = message.to_wire(&json) {
            prop_assert!(serde_json::from_slice::<Value>(&json).is_ok(), "{} is JSON", String::from_utf8_lossy(&json));
            prop_assert!(message.decode(&wire).is_ok());
            prop_assert!(message.to_json(&wire).is_ok());
        }
        Ok(())
    });
}

/// Changes, takes out, doubles or cuts off bytes, one to three times.
fn mutilate(bytes: &mut Vec<u8>, damage: &[u64]) {
    for change in damage.chunks_exact(3).take(3) {
        if bytes.is_empty() {
            return;
        }
        let at = change[0] as usize % bytes.len();
        match change[1] % 5 {
            0 => bytes[at] = change[2] as u8,
            1 => bytes[at] = bytes[at].wrapping_add(1),
            2 => drop(bytes.remove(at)),
            3 => {
                let end = (at + 1 + change[2] as usize % 16).min(bytes.len());
                let part = bytes[at..end].to_vec();
                bytes.splice(at..at, part);
            }
            _ => bytes.truncate(at),
        }
    }
}
