//! What every engine must hold to. Each case is written once, against nothing but [`Engine`], and becomes a named test
//! of each engine by [`conformance_of`]; a case that the list there forgets is dead code, which the lints refuse.
//!
//! Here it is run over the in-memory engine called directly, over the same engine behind [`crate::Client`],
//! a socket and [`crate::service`], since both are ways into one book, and over the engine on a real etcd.

use std::{net::IpAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use media::StreamKey;
use svc_core::error::{ApiError, Kind};

use crate::{Claim, Engine, Grant, Lease, NodeInfo, RegistryError};

mod claims;
mod engines;
mod fields;
mod leases;
mod nodes;
mod ports;
mod reassert;
mod watch;

pub(crate) use engines::StillTime;

/// The TTL of the registries under test.
const TTL: Duration = Duration::from_secs(10);
/// How long they set a rejected port aside.
const REST: Duration = Duration::from_secs(60);

/// Makes registries of one kind, with [`TTL`] and [`REST`], and rules their time, which goes on only by `pass`.
#[async_trait]
trait Registries: Sync {
    /// An empty registry of its own: also what a registry is that lost its memory.
    async fn fresh(&self) -> Arc<dyn Engine>;
    /// Lets `time` pass for all that were made.
    async fn pass(&self, time: Duration);

    /// Lets `time` pass while `nodes` keep themselves alive.
    async fn pass_with_nodes(&self, time: Duration, engine: &dyn Engine, nodes: &[&str]) {
        let mut left = time;
        while !left.is_zero() {
            let step = left.min(TTL / 2);
            self.pass(step).await;
            for node in nodes {
                engine.keep_alive(node).await.unwrap();
            }
            left -= step;
        }
    }
}

/// A module `$name` with one test of each case, each with `$registries` of its own.
macro_rules! conformance_of {
    ($name:ident, $registries:expr) => {
        mod $name {
            use super::*;

            conformance_of! { @cases $registries;
                ports {
                    ports_are_even_and_leave_room_for_rtcp_in_the_nodes_range
                    two_leases_on_one_node_never_share_a_port
                    one_port_may_be_granted_on_two_nodes
                    a_thousand_calls_at_once_are_granted_a_thousand_ports
                    without_a_free_port_a_claim_is_refused_and_leaves_nothing
                    a_rejected_port_is_set_aside_and_another_is_granted
                    a_port_that_was_set_aside_is_granted_again_after_its_rest
                    a_node_that_changes_its_announcement_keeps_its_ports_set_aside
                    a_rejection_moves_the_lease_where_its_own_node_has_no_other_port
                    a_rejection_with_no_port_left_anywhere_ends_the_lease
                    rejecting_a_lease_that_is_gone_is_not_found
                    releasing_twice_is_harmless
                }
                claims {
                    asking_again_for_what_one_holds_answers_the_same_lease
                    another_owner_is_refused_as_long_as_the_claim_lives
                    of_many_owners_at_once_one_gets_the_stream
                    each_new_claim_gets_a_higher_epoch
                    a_further_node_gets_a_further_lease_of_the_same_epoch
                    the_least_loaded_node_is_chosen
                    a_full_node_is_passed_over
                    the_node_asked_for_is_used
                    a_node_that_nobody_knows_is_not_found
                    with_no_node_at_all_a_claim_is_refused
                    lookup_tells_the_owner_the_legs_and_their_nodes
                    leases_are_listed_in_the_order_of_stream_and_node
                    a_claim_that_is_superseded_ends_and_its_stream_goes_on_where_it_was
                    only_the_epoch_that_is_named_is_superseded
                    who_was_superseded_has_lost_its_leases_and_cannot_put_them_back
                }
                leases {
                    a_lease_that_nobody_renews_ends_by_its_ttl
                    a_lease_that_is_renewed_lives_on
                    asking_again_for_a_lease_renews_it
                    rejecting_its_port_renews_a_lease
                    a_renewal_tells_what_is_lost_and_renews_the_rest
                    one_owner_cannot_renew_the_leases_of_another
                    after_the_ttl_another_owner_takes_the_stream_with_a_higher_epoch
                }
                nodes {
                    a_node_is_listed_as_it_announced_itself
                    nodes_are_listed_in_the_order_of_their_ids
                    a_node_that_does_not_keep_alive_is_gone_after_its_ttl
                    a_node_that_keeps_alive_stays
                    announcing_again_renews
                    leases_on_a_node_that_is_gone_are_told_to_be_lost
                    a_node_that_takes_itself_out_takes_its_leases_with_it
                    announcing_a_smaller_range_ends_the_leases_outside
                    announcing_another_address_ends_all_leases_on_the_old_one
                    a_node_that_drains_keeps_its_leases_and_is_granted_no_more
                    a_stream_on_a_node_that_drains_is_granted_another_beside_it
                }
                reassert {
                    a_registry_that_lost_a_lease_puts_it_back_as_it_was
                    new_claims_go_on_above_the_epochs_that_were_put_back
                    a_port_that_was_put_back_is_not_granted_to_another
                    a_lease_is_not_put_back_before_its_node_is_there
                    a_lease_is_not_put_back_over_another_stream_on_its_port
                    a_lease_is_not_put_back_over_a_new_owner
                    a_newer_owner_supersedes_an_older_one_that_came_back_first
                    a_lease_is_not_put_back_where_its_node_does_not_listen_any_more
                    putting_back_what_is_still_there_renews_it
                    what_expired_is_put_back_if_nobody_has_taken_its_place
                }
                watch {
                    a_watch_begins_with_all_that_is_there
                    a_watch_tells_every_change_in_order
                    a_watch_tells_what_expired
                    every_watcher_is_told_the_same
                }
                fields {
                    a_node_that_cannot_be_is_refused_by_its_field
                    a_claim_that_cannot_be_is_refused_by_its_field
                    a_reassertion_that_cannot_be_is_refused_by_its_field
                    ids_that_cannot_be_are_refused_by_their_field
                }
            }
        }
    };
    (@cases $registries:expr; $($group:ident { $($case:ident)+ })+) => { $($(
        #[tokio::test]
        async fn $case() {
            $group::$case(&$registries).await;
        }
    )+)+ };
}

conformance_of!(memory, engines::Memory::new());
conformance_of!(memory_over_rpc, engines::MemoryOverRpc::new());
#[cfg(feature = "etcd")]
conformance_of!(etcd, engines::Etcd::new());

/// A node whose RTP ports, RTCP included, are `min` to `max`.
pub(crate) fn node(id: &str, min: u16, max: u16) -> NodeInfo {
    NodeInfo {
        id: id.into(),
        rtp_address: IpAddr::from([127, 0, 0, 1]),
        rtp_port_min: min,
        rtp_port_max: max,
        rtsp_url: format!("rtsp://{id}:8554"),
        grpc_url: format!("http://{id}:50052"),
        draining: false,
    }
}

fn key(stream: &str) -> StreamKey {
    StreamKey::parse(stream).unwrap()
}

/// The claim of a stream on any node.
pub(crate) fn claim(stream: &str, owner: &str) -> Claim {
    Claim {
        stream_key: key(stream),
        owner_id: owner.into(),
        owner_grpc_url: format!("http://{owner}:50051"),
        node_id: None,
        reassert: None,
        supersede: None,
    }
}

fn claim_on(node: &str, stream: &str, owner: &str) -> Claim {
    Claim { node_id: Some(node.into()), ..claim(stream, owner) }
}

/// The claim that puts `lease` back.
fn reclaim(lease: &Lease) -> Claim {
    let claim = claim(lease.stream_key.as_str(), &lease.owner_id);
    Claim { reassert: Some(lease.clone()), ..claim }
}

/// The claim of a stream in place of another owner's of that epoch.
fn superseding(epoch: u64, stream: &str, owner: &str) -> Claim {
    Claim { supersede: Some(epoch), ..claim(stream, owner) }
}

async fn grant(engine: &dyn Engine, claim: Claim) -> Grant {
    engine.allocate_port(claim).await.unwrap()
}

async fn lease(engine: &dyn Engine, stream: &str, owner: &str) -> Lease {
    grant(engine, claim(stream, owner)).await.lease
}

/// An empty registry with these nodes.
async fn with_nodes(registries: &dyn Registries, nodes: &[NodeInfo]) -> Arc<dyn Engine> {
    let engine = registries.fresh().await;
    for node in nodes {
        engine.register_node(node.clone()).await.unwrap();
    }
    engine
}

/// The code that the API answers for a refusal.
fn kind(error: &RegistryError) -> Kind {
    ApiError::from(error.clone()).kind
}
