//! The list of properties, and putting an engine to them.

use futures::future::BoxFuture;

use crate::cluster::conformance::rig::{PATIENCE, Rig};
use crate::cluster::conformance::{following, sessions, state, writing};

/// A promise of the contract, and how it is tried on a cluster of its own.
pub(super) struct Property<R> {
    pub(super) name: &'static str,
    check: for<'a> fn(&'a R) -> BoxFuture<'a, anyhow::Result<()>>,
}

impl<R: Rig> Property<R> {
    /// Tries it on a cluster that nobody has written to.
    ///
    /// # Errors
    /// How the engine failed; also if it did not answer in time.
    pub(super) async fn holds(&self, rig: &R) -> anyhow::Result<()> {
        // Several waits may be needed; one that lasts is reported by itself.
        match tokio::time::timeout(PATIENCE * 6, (self.check)(rig)).await {
            Ok(result) => result,
            Err(_) => anyhow::bail!("no answer within {:?}", PATIENCE * 6),
        }
    }
}

macro_rules! properties {
    ($($module:ident: $($name:ident)+;)+) => {
        /// All of them.
        pub(super) fn properties<R: Rig>() -> Vec<Property<R>> {
            vec![$($(Property {
                name: stringify!($name),
                check: |rig| Box::pin($module::$name(rig)),
            }),+),+]
        }
    };
}

properties! {
    following:
        every_revision_comes_once_and_in_order
        a_revision_comes_whole
        control_writes_are_no_changes
        control_writes_are_told_where_that_is_offered
        keys_that_decide_are_told
        leases_are_told_where_that_is_offered
        leases_that_are_gone_are_told
        the_future_is_waited_for
        history_is_told_from_the_very_first_revision
        a_long_backlog_comes_whole
        forgotten_history_is_an_error
        a_cut_ends_the_stream;
    state:
        a_snapshot_and_what_follows_is_the_state
        a_snapshot_has_every_key_and_no_control_key
        attributes_stay_while_nothing_changes
        the_mirror_is_listed_and_nothing_else
        announcements_are_those_of_each_persister
        a_whole_state_is_loaded_where_that_is_offered;
    writing:
        expectations_hold
        writes_of_one_revision_are_all_or_nothing
        a_fence_holds_where_it_is_offered
        a_delete_tells_its_revision_or_none
        what_cannot_be_is_refused_and_what_can_be_is_taken
        keys_that_exclude_each_other_do
        an_advance_is_one_revision_without_changes
        order_is_kept_where_it_is_offered
        what_was_acknowledged_is_there
        keys_stand_under_leases_where_that_is_offered;
    sessions:
        a_session_never_comes_back
        an_owner_lives_as_it_says
        a_roll_back_shows_where_there_can_be_one;
}

/// Puts an engine to all properties, each on a cluster of its own that `start` starts.
///
/// # Panics
/// If one does not hold; says which and why.
pub(super) async fn conforms<R: Rig>(start: impl AsyncFn() -> anyhow::Result<R>) {
    let mut failed = Vec::new();
    for property in properties::<R>() {
        let held = async { property.holds(&start().await?).await };
        if let Err(error) = held.await {
            failed.push(format!("{}: {error:#}", property.name));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
