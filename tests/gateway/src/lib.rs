//! The gateway's binary for tests that run it as a process.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// Names a binary that is built already. `scripts/test` sets it: one that is built for itself has other features of what it is made of
/// than one that is built with the tests, and takes minutes more.
const NAMED: &str = "GATEWAY_BINARY";

/// The gateway as a debug build, with etcd by the feature of that name; built once. Panics where that fails, as no test can go on.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| std::env::var_os(NAMED).map_or_else(build, PathBuf::from))
}

fn build() -> PathBuf {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--package", "gateway"]);
    if cfg!(feature = "etcd") {
        cargo.args(["--features", "etcd"]);
    }
    // What `cargo test` says of this package: the build script of ring takes it for a change, and all above ring is built anew each time.
    for (name, _) in std::env::vars_os() {
        let prefixes = ["CARGO_MANIFEST_", "CARGO_PKG_"];
        if prefixes.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            cargo.env_remove(name);
        }
    }
    let built = cargo.current_dir(&repository).status().expect("cargo does not start");
    assert!(built.success(), "the gateway does not build");
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| repository.join("target"), PathBuf::from);
    target.join("debug/rtmp2rtsp").canonicalize().expect("the built gateway")
}
