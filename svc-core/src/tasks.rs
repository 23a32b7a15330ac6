//! Tasks whose panics are seen: logged, counted, and never the end of the process.

use std::future::Future;

use tokio_util::task::TaskTracker;

/// Spawns and joins the tasks of a service.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
}

impl Tasks {
    /// No tasks yet.
    pub fn new() -> Self {
        Self::default()
    }
    /// Spawns `future` in the current span under a name for logs and metrics. A panic in it is logged as an error with its message
    /// and place and counted in `rtmp2rtsp_task_panics_total`; the process goes on.
    pub fn spawn<F>(&self, _name: &'static str, _future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        todo!()
    }
    /// Waits until all have ended; new ones may still be spawned meanwhile.
    pub async fn join(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}
