//! Compiles the contract into a descriptor set that keeps its custom options.

use std::{
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
};

const ROOT: &str = "../proto";
const PACKAGE: &str = "colloquy/v1";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={ROOT}");

    let mut compiler = protox::Compiler::new([ROOT])?;
    compiler.include_imports(true).include_source_info(true).open_files(contract()?)?;
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    fs::write(out.join("descriptors.bin"), compiler.encode_file_descriptor_set())?;
    Ok(())
}

/// The contract's files as protobuf names them, in alphabetical order.
fn contract() -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(Path::new(ROOT).join(PACKAGE))? {
        let name = PathBuf::from(entry?.file_name());
        if name.extension().is_some_and(|extension| extension == "proto") {
            files.push(Path::new(PACKAGE).join(name));
        }
    }
    files.sort();
    Ok(files)
}
