//! Tasks whose panics are seen: logged, counted, and never the end of the process.

use std::future::Future;

use tokio_util::task::TaskTracker;
use tracing::{Instrument, Span};

use crate::{
    metrics::{Metrics, TaskPanics},
    panics::Guarded,
};

/// Spawns and joins the tasks of a service.
#[derive(Clone, Debug)]
pub struct Tasks {
    tracker: TaskTracker,
    panics: TaskPanics,
}

impl Tasks {
    /// No tasks yet; panics are counted in `metrics`.
    pub fn new(metrics: &Metrics) -> Self {
        Self { tracker: TaskTracker::new(), panics: metrics.task_panics() }
    }
    /// Spawns `future` in the current span under a name for logs and metrics. A panic in it is logged as an error with its message
    /// and place and counted in `rtmp2rtsp_task_panics_total`; the process goes on.
    pub fn spawn<F>(&self, name: &'static str, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.spawn_in(Span::current(), name, future);
    }
    /// As [`Self::spawn`], in `span`. A span is entered at each wake-up, which costs what a system call does: a task that is woken for each
    /// access unit has none, and enters it where it logs.
    pub fn spawn_in<F>(&self, span: Span, name: &'static str, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let panics = self.panics.clone();
        let guarded = Guarded::new(future);
        let task = async move {
            if let Err(panic) = guarded.await {
                panics.count(name, &panic);
            }
        };
        self.tracker.spawn(task.instrument(span));
    }
    /// How many run now.
    pub fn len(&self) -> usize {
        self.tracker.len()
    }
    /// Whether none runs now.
    pub fn is_empty(&self) -> bool {
        self.tracker.is_empty()
    }
    /// Waits until all have ended; new ones may still be spawned meanwhile.
    pub async fn join(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_in_a_task_is_counted_and_the_others_go_on() {
        let metrics = Metrics::new("test");
        let tasks = Tasks::new(&metrics);
        let (done, wait) = tokio::sync::oneshot::channel();
        tasks.spawn("bad", async { panic!("on purpose") });
        tasks.spawn("good", async move {
            tokio::task::yield_now().await;
            let _ = done.send(());
        });
        tasks.join().await;
        wait.await.unwrap();
        let text = metrics.render();
        assert!(text.contains("rtmp2rtsp_task_panics_total{task=\"bad\"} 1"), "{text}");
        assert!(!text.contains("task=\"good\""), "{text}");
    }
}
