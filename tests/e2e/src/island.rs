//! A network namespace of its own.

use std::sync::atomic::{AtomicU32, Ordering};

use tokio::process::Command;

use crate::clients::{as_root, run};

/// A network namespace of its own whose multicast goes to its loopback interface; taken down when dropped.
pub struct Island(String);

impl Island {
    /// Makes it.
    pub async fn new() -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let made = MADE.fetch_add(1, Ordering::Relaxed);
        let island = Self(format!("r2r-m-{}x{made}", std::process::id()));
        let name = &island.0;
        for args in [
            format!("netns add {name}"),
            format!("-n {name} link set lo up"),
            format!("-n {name} link set lo multicast on"),
            // Otherwise what is sent has no source address.
            format!("-n {name} route add 239.0.0.0/8 dev lo src 127.0.0.1"),
        ] {
            let mut command = as_root("ip");
            command.args(args.split(' '));
            run(command).await;
        }
        island
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0
    }

    /// A program on it.
    pub fn on(&self, program: &str) -> Command {
        let mut command = as_root("ip");
        command.args(["netns", "exec", &self.0, program]);
        command
    }

    /// A command that would be run off it, with its arguments and variables.
    pub fn moved(&self, command: &Command) -> Command {
        let command = command.as_std();
        let mut moved = as_root("ip");
        moved.args(["netns", "exec", &self.0, "env"]);
        for (name, value) in command.get_envs() {
            let value = value.unwrap_or_default();
            moved.arg(format!("{}={}", name.display(), value.display()));
        }
        moved.arg(command.get_program()).args(command.get_args());
        moved
    }
}

impl Drop for Island {
    fn drop(&mut self) {
        let _ = as_root("ip").as_std_mut().args(["netns", "delete", &self.0]).status();
    }
}
