//! The etcd leases of processes, and whose home this engine is.

use super::contended;
use crate::{
    RegistryError,
    etcd::{
        ATTEMPTS, SLACK, Shared,
        keys::{Key, SessionId},
        link::Failure,
        records::{SessionRecord, encode},
        unavailable,
        write::{Condition, Write},
    },
};

impl Shared {
    /// The etcd lease of a process, with this engine as its home; renewed if it has not been for a third of the TTL.
    pub(super) async fn session(&self, id: &SessionId) -> Result<i64, RegistryError> {
        let _turn = self.sessions.turn(id).await;
        for _ in 0..ATTEMPTS {
            let (present, is_kept) = {
                let state = self.lock();
                let is_kept = state.homes.is_kept(id, state.now(), self.ttl() / 3);
                (state.view.sessions.get(id).cloned(), is_kept)
            };
            match present {
                Some(session) if session.home == self.id && is_kept => return Ok(session.lease),
                Some(session) if session.home == self.id => {
                    if self.keep(id, session.lease).await? {
                        return Ok(session.lease);
                    }
                }
                Some(session) => {
                    let write = Write::new().when(Condition::Home(id.clone(), session.home)).put(
                        Key::Session(id.clone()),
                        self.session_record(),
                        session.lease,
                    );
                    self.commit(&write).await?;
                }
                None => self.open_session(id).await?,
            }
        }
        Err(contended())
    }

    fn session_record(&self) -> Vec<u8> {
        encode(&SessionRecord { home: self.id.clone() })
    }

    /// Renews an etcd lease; whether it was there.
    async fn keep(&self, id: &SessionId, lease: i64) -> Result<bool, RegistryError> {
        let member = self.link.member().await?;
        match self.link.keep_alive(&member, lease).await {
            Ok(()) => {
                let mut state = self.lock();
                let now = state.now();
                state.homes.keep(id, now);
                Ok(true)
            }
            Err(Failure::LeaseGone) => {
                self.view_shows(|view| {
                    view.sessions.get(id).is_none_or(|session| session.lease != lease)
                })
                .await?;
                Ok(false)
            }
            Err(failure) => Err(unavailable(failure)),
        }
    }

    /// Gives a process an etcd lease; where another engine was first, the view has that one's now.
    async fn open_session(&self, id: &SessionId) -> Result<(), RegistryError> {
        let member = self.link.member().await?;
        let ttl = self.ttl() + SLACK;
        let lease = self.link.grant(&member, ttl).await.map_err(unavailable)?;
        let write = Write::new().when(Condition::Absent(Key::Session(id.clone()))).put(
            Key::Session(id.clone()),
            self.session_record(),
            lease,
        );
        if self.commit(&write).await? {
            let mut state = self.lock();
            let now = state.now();
            state.homes.keep(id, now);
        } else {
            // Nothing hangs on it; it would end by itself.
            let _ = self.link.revoke(&member, lease).await;
        }
        Ok(())
    }
}
