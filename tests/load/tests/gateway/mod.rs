//! The gateway's binary, built as the tests are.

use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
};

/// The gateway, built once.
pub(crate) fn gateway() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut cargo = std::process::Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--package", "gateway"]).current_dir(&repository);
        // What `cargo test` says of this package: see `binary` of `tests/e2e`.
        for (name, _) in std::env::vars_os() {
            let prefixes = ["CARGO_MANIFEST_", "CARGO_PKG_"];
            if prefixes.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
                cargo.env_remove(name);
            }
        }
        let built = cargo.status().expect("cargo does not start");
        assert!(built.success(), "the gateway does not build");
        let target = std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| repository.join("target"), PathBuf::from);
        target.join("debug/rtmp2rtsp").canonicalize().expect("the built gateway")
    })
}
