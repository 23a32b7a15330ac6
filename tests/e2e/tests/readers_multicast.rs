//! Every reader that plays by multicast, with every codec that it knows, as `readers.rs` has it for the other ways.
//!
//! By itself, as nothing holds a sender back by multicast, and nothing is sent again: where a reader's machine is busy with others, what its
//! socket does not hold until it reads is lost.

use e2e::{
    clients::{Running, newest_publishing},
    clips::clip,
    interop,
    island::Island,
    process::Setup,
    readers::{Cell, Published, READERS, Via, run_all},
};

/// Readers at one time, each of which has a publisher of its own.
fn at_once() -> usize {
    if interop::is_long() { 8 } else { 2 }
}

#[tokio::test]
async fn every_reader_plays_every_codec_that_it_knows_by_multicast() {
    let island = Island::new().await;
    let gateway = Setup::both()
        .with("rtsp-multicast", "239.255.42.0/24")
        .in_namespace(island.name(), "127.0.0.1")
        .start()
        .await;
    let published = Published::all_looped(interop::seconds()).await;
    let (gateway, island) = (&gateway, &island);
    let mut readings = Vec::new();
    for reader in READERS.iter().filter(|reader| reader.ways.contains(&Via::Multicast)) {
        for published in reader.programmes(&published) {
            // A stream for each, as only the first of a group's readers begins with a keyframe.
            let key = format!("{}-{}", published.programme.clip, readings.len());
            readings.push(async move {
                let clip = clip(published.programme.clip);
                let looped = ["-stream_loop", "-1"];
                let command = newest_publishing(&clip, &gateway.rtmp_url(&key), &looped, &[]);
                let publisher = Running::start(island.moved(&command));
                let url = format!("{}?wait=60s", gateway.rtsp_url(&key));
                let (via, seconds) = (Via::Multicast, interop::seconds());
                let cell = Cell { reader, via, published, url, seconds, island: Some(island) };
                let outcome = cell.run().await;
                if outcome.is_err() {
                    let log = gateway.log();
                    let told = log.lines().filter(|line| line.contains(&key));
                    println!("{}", told.collect::<Vec<_>>().join("\n"));
                }
                publisher.kill().await;
                outcome
            });
        }
    }
    run_all(readings, at_once()).await;
}
