//! The contract as generated code: messages, services, descriptors.

#[expect(
    clippy::allow_attributes,
    clippy::large_enum_variant,
    missing_docs,
    unreachable_pub,
    reason = "the generator's code, not ours"
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/contract.rs"));
}

pub use generated::{colloquy::v1::*, google};

/// Every file of the contract as an encoded `google.protobuf.FileDescriptorSet`, with its options.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// The session service whose responses are frames encoded beforehand.
#[expect(clippy::allow_attributes, unreachable_pub, reason = "the generator's code, not ours")]
pub(crate) mod raw {
    include!(concat!(env!("OUT_DIR"), "/raw/colloquy.v1.SessionService.rs"));
}
