//! Compiles the contract: messages, clients and services, the raw session service, and the descriptors with their options.

use std::{env, error::Error, fs, path::PathBuf};

use tonic_build::manual;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-changed=migrations");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);

    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).include_source_info(true);
    for entry in fs::read_dir("proto/colloquy/v1")? {
        compiler.open_file(PathBuf::from("colloquy/v1").join(entry?.file_name()))?;
    }
    // The encoded set keeps the custom options; the typed one, good enough to generate code from, drops them.
    fs::write(out.join("descriptors.bin"), compiler.encode_file_descriptor_set())?;
    tonic_prost_build::configure()
        // The generated constructor would clash with the RPC of the same name.
        .build_transport(false)
        .include_file("contract.rs")
        .compile_fds(compiler.file_descriptor_set())?;

    // Live sessions are served a second time over bytes: an event is encoded once for all who see it.
    let connect = manual::Method::builder()
        .name("connect")
        .route_name("Connect")
        .input_type("crate::proto::ConnectRequest")
        .output_type("bytes::Bytes")
        .codec_path("crate::grpc::raw::RawCodec")
        .client_streaming()
        .server_streaming()
        .build();
    let health = manual::Method::builder()
        .name("get_connection_health")
        .route_name("GetConnectionHealth")
        .input_type("crate::proto::GetConnectionHealthRequest")
        .output_type("crate::proto::GetConnectionHealthResponse")
        .codec_path("tonic_prost::ProstCodec")
        .build();
    let service = manual::Service::builder().name("SessionService").package("colloquy.v1");
    let session = service.method(connect).method(health).build();
    let raw = out.join("raw");
    fs::create_dir_all(&raw)?;
    manual::Builder::new().build_client(false).out_dir(raw).compile(&[session]);
    Ok(())
}
