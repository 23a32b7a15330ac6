//! Calls that end in time.

use std::time::Duration;

use tonic::{Request, Response, Status};

/// Makes a call with a deadline, of which the server is told; DEADLINE_EXCEEDED when there is no answer by then.
pub async fn within<M, T, F>(
    patience: Duration,
    message: M,
    call: impl FnOnce(Request<M>) -> F,
) -> Result<T, Status>
where
    F: Future<Output = Result<Response<T>, Status>>,
{
    let mut request = Request::new(message);
    request.set_timeout(patience);
    match tokio::time::timeout(patience, call(request)).await {
        Ok(answer) => answer.map(Response::into_inner),
        Err(_elapsed) => Err(Status::deadline_exceeded(format!("no answer in {patience:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_call_is_told_its_deadline_and_ends_by_it() {
        let patience = Duration::from_secs(2);
        let timeout = |request: &Request<u8>| request.metadata().get("grpc-timeout").cloned();
        let told = async |request| Ok(Response::new(timeout(&request)));
        assert_eq!(within(patience, 7, told).await.unwrap().unwrap(), "2000000u");
        let silent = async |_| std::future::pending::<Result<Response<()>, Status>>().await;
        let status = within(patience, 7, silent).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::DeadlineExceeded);
    }
}
