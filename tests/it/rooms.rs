//! The rooms of the source, and which of them may know which: read from the paths that the code names.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// The rooms of this package that each room may know, besides itself.
const ARROWS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("error", &["model"]),
    ("config", &["model"]),
    ("lifecycle", &[]),
    ("telemetry", &["config"]),
    ("trace", &[]),
    ("proto", &[]),
    ("store", &["model", "error"]),
    ("live", &["model", "error"]),
    ("llm", &["model", "error", "trace"]),
    ("tools", &["model", "error"]),
    ("issuer", &["model", "error"]),
    ("push", &["model", "error"]),
    ("service", &["store", "live", "llm", "tools", "issuer", "push", "model", "error", "config", "lifecycle", "trace"]),
    ("session", &["service", "live", "model", "error", "lifecycle"]),
    ("grpc", &["service", "session", "llm", "model", "error", "proto", "lifecycle", "trace"]),
    (
        "app",
        &[
            "service",
            "session",
            "grpc",
            "store",
            "live",
            "llm",
            "tools",
            "issuer",
            "push",
            "model",
            "error",
            "proto",
            "config",
            "lifecycle",
        ],
    ),
    ("cli", &["app", "store", "config", "model", "error", "lifecycle", "telemetry", "llm"]),
    ("main", &["cli"]),
    ("lib", &[]),
];

/// Crates, and the only rooms that may name them.
const CRATES: &[(&str, &[&str])] = &[
    ("diesel", &["store"]),
    ("diesel_async", &["store"]),
    ("diesel_migrations", &["store"]),
    ("redis", &["live"]),
    ("bb8_redis", &["live"]),
    ("reqwest", &["llm", "tools", "issuer", "push"]),
    ("rmcp", &["tools"]),
    ("tonic", &["grpc", "app", "proto"]),
    ("tonic_health", &["grpc", "app"]),
    ("tonic_reflection", &["grpc", "app"]),
    ("tonic_types", &["grpc"]),
    ("tonic_web", &["app"]),
    ("prost", &["grpc", "proto"]),
    ("prost_types", &["grpc", "proto"]),
    ("opentelemetry", &["trace", "telemetry", "grpc", "llm", "bridge"]),
    ("opentelemetry_sdk", &["trace", "telemetry", "bridge"]),
    ("opentelemetry_otlp", &["telemetry"]),
    ("tracing_opentelemetry", &["trace", "telemetry", "bridge"]),
    ("sysinfo", &["service"]),
    ("warp", &["bridge"]),
    ("colloquy_bridge", &["cli", "app"]),
    // In `proto` it is a module of the generated code.
    ("colloquy", &["main", "proto"]),
];

#[test]
fn every_room_knows_only_the_rooms_that_its_arrows_lead_to() {
    let mut wrong = Vec::new();
    for (room, file) in files("src") {
        let (_, known) = ARROWS.iter().find(|(name, _)| *name == room).unwrap_or_else(|| panic!("no arrows: {room}"));
        let named = rooms_named(&code(&file));
        let others = named.iter().filter(|other| **other != room && !known.contains(&other.as_str()));
        wrong.extend(others.map(|other| format!("{} names {other}", file.display())));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_crate_stays_in_its_rooms() {
    let mut wrong = Vec::new();
    let bridge = files("bridge/src").into_iter().map(|(_, file)| ("bridge".to_owned(), file));
    for (room, file) in files("src").into_iter().chain(bridge) {
        let names = heads(&code(&file));
        for (name, rooms) in CRATES.iter().filter(|(name, _)| names.contains(*name)) {
            // The bridge is a gRPC client of encoded messages.
            let is_client = room == "bridge" && ["tonic", "tonic_types"].contains(name);
            if !rooms.contains(&room.as_str()) && !is_client {
                wrong.push(format!("{} names {name}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn paths_are_found_wherever_they_stand() {
    let code = "use crate::{\n    a::X,\n    b::{Y, c::Z},\n};\nfn f(x: crate::d::W) -> tonic::Status { super::e() }\nuse crate::g::{h::I};";
    assert_eq!(rooms_named(code), ["a", "b", "d", "g"].map(str::to_owned).into());
    assert!(heads(code).contains("tonic") && !heads("my_tonic::X; nottonic::Y").contains("tonic"));
}

/// The source files of a folder, each with its room.
fn files(folder: &str) -> Vec<(String, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let room = path.strip_prefix(&root).unwrap().components().next().unwrap();
                let room = Path::new(room.as_os_str()).file_stem().unwrap().to_str().unwrap().to_owned();
                found.push((room, path));
            }
        }
    }
    assert!(!found.is_empty(), "{folder} is empty");
    found
}

/// A file's code, without comments.
fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    text.lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .fold(String::new(), |code, line| code + line + "\n")
}

/// The modules of the crate that its paths begin with, grouped imports included.
fn rooms_named(code: &str) -> BTreeSet<String> {
    let mut rooms = BTreeSet::new();
    for path in code.split("crate::").skip(1) {
        let Some(group) = path.strip_prefix('{') else {
            rooms.insert(word(path));
            continue;
        };
        let (mut depth, mut starts) = (0_usize, true);
        for (at, character) in group.char_indices() {
            match character {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => starts = true,
                _ if character.is_whitespace() => {}
                _ if starts && depth == 0 => {
                    rooms.insert(word(&group[at..]));
                    starts = false;
                }
                _ => {}
            }
        }
    }
    rooms.remove("");
    rooms
}

/// The names that paths begin with.
fn heads(code: &str) -> BTreeSet<String> {
    let ends = code.match_indices("::").map(|(at, _)| &code[..at]);
    ends.filter_map(|before| before.rsplit(|c: char| !c.is_alphanumeric() && c != '_').next())
        .map(str::to_owned)
        .collect()
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}
