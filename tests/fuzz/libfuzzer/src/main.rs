//! One target, named by `FUZZ_TARGET`, under libFuzzer, which owns `main` and the arguments: see `scripts/fuzz`.

#![no_main]

use std::{process::exit, sync::LazyLock};

use fuzz::Target;

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    fuzz::target(&name).unwrap_or_else(|| {
        let names = fuzz::TARGETS.map(|target| target.name).join(" ");
        eprintln!("FUZZ_TARGET is {name:?}, none of: {names}");
        exit(2)
    })
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| (TARGET.run)(data));
