//! What becomes of streams whose leases end.

use media::StreamKey;
use registry::LeaseId;

use super::*;
use crate::testing::{Gate, Source, by_hand, lease, leased};

const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_stream_whose_lease_the_keeper_has_lost_ends_and_no_other() {
    use proto::v1::stream_control_server::StreamControl as _;
    let gate = Gate::new().await;
    let control = gate.control();
    gate.let_through.add_permits(1);
    let lost_request = by_hand("lost", &Source::new(1));
    let answer = control.start_stream(tonic::Request::new(lost_request)).await.unwrap();
    let stream = answer.into_inner().stream.unwrap();
    let port = stream.rtp_port as u16 + 2;
    let kept_request = leased("kept", &Source::new(2), lease("kept", port, 7));
    control.start_stream(tonic::Request::new(kept_request)).await.unwrap();

    let (sender, lost) = mpsc::channel(4);
    let following =
        tokio::spawn(leases::follow(gate.clone(), "node-1".into(), control.clone(), lost));
    let id = LeaseId(stream.lease.unwrap().lease_id);
    // Of a lease that the stream had before, or of another stream.
    for (id, key) in [(LeaseId("older".into()), "kept"), (id.clone(), "kept"), (id, "lost")] {
        let stream_key = StreamKey::parse(key).unwrap();
        sender.send(LostLease { id, stream_key }).await.unwrap();
    }
    let list = async || {
        let request = tonic::Request::new(proto::v1::ListStreamsRequest {});
        let streams = control.list_streams(request).await.unwrap().into_inner().streams;
        streams.into_iter().map(|stream| stream.stream_key).collect::<Vec<_>>()
    };
    let ended = async {
        while list().await.len() > 1 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, ended).await.expect("it goes on");
    assert_eq!(list().await, ["kept"]);
    following.abort();
    control.end_all().await;
}
