//! Compiles the protos with protox, so that no `protoc` is needed on the machine.

use std::path::PathBuf;

use prost::Message as _;

type Error = Box<dyn std::error::Error>;

fn main() -> Result<(), Error> {
    let files = ["types", "stream_control", "registry"].map(|f| format!("rtmp2rtsp/v1/{f}.proto"));
    for file in &files {
        println!("cargo:rerun-if-changed={file}");
    }
    let descriptors = protox::compile(&files, ["."])?;
    let encoded = descriptors.encode_to_vec();
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), &encoded)?;

    tonic_prost_build::configure()
        .compile_well_known_types(true)
        .extern_path(".google.protobuf", "::pbjson_types")
        // It may carry a key; how it is shown stands in src/lib.rs.
        .skip_debug([".rtmp2rtsp.v1.StartStreamRequest"])
        .compile_fds(descriptors)?;
    // Canonical proto3 JSON on the same types, for ingest-svc's HTTP calls.
    // Field names as in the protos: what a script reads is named like what it sends.
    pbjson_build::Builder::new()
        .register_descriptors(&encoded)?
        .preserve_proto_field_names()
        .build(&[".rtmp2rtsp"])?;
    Ok(())
}
