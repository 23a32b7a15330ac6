//! `libfuzzer/` stands beside the workspace, so nothing else would notice that it no longer compiles.

use std::{fs, path::Path, process::Command};

#[test]
fn the_libfuzzer_crate_compiles_on_the_stable_toolchain() {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("libfuzzer");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    // The versions of the workspace, as in scripts/fuzz.
    fs::copy(root.join("Cargo.lock"), crate_folder.join("Cargo.lock")).expect("the lock is copied");
    // Without libFuzzer itself, which needs a C++ compiler.
    let output = Command::new(env!("CARGO"))
        .args(["check", "--quiet", "--no-default-features", "--manifest-path"])
        .arg(crate_folder.join("Cargo.toml"))
        .env("CARGO_TARGET_DIR", root.join("target/libfuzzer-check"))
        .env_remove("RUSTFLAGS")
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
