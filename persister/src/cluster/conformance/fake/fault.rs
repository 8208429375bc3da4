//! The ways in which the engine can be wrong.

/// In what way the engine is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// In none.
    None,
    /// It tells nothing of revisions without changes.
    SkipsRevisions,
    /// It tells each tenth revision twice.
    RepeatsRevisions,
    /// It tells a revision of several changes as several.
    SplitsRevisions,
    /// Of several keys that decide it tells the first.
    TellsOneTouched,
    /// It tells control writes as changes like others.
    TellsControl,
    /// It leaves out control writes that it says it tells.
    HidesControl,
    /// It tells changes and not how long their leases last.
    HidesLeases,
    /// It never says that a lease is gone.
    KeepsLeases,
    /// It tells the owners of all ids.
    TellsAllOwners,
    /// It follows from now on where it was asked to wait for a later revision.
    WaitsForNothing,
    /// It begins with the first revision that changed something.
    SkipsTheFirst,
    /// It leaves out what is long ago.
    LosesTheBacklog,
    /// It begins with what it still has where it was asked for what it has forgotten.
    BeginsLate,
    /// Its streams go on after an error.
    GoesOn,
    /// Its snapshots lack the last key.
    SnapshotLacks,
    /// Its snapshots are older than was asked for.
    SnapshotIsOld,
    /// Its snapshots have control keys.
    SnapshotHasControl,
    /// Its attributes change by themselves.
    AttributesChange,
    /// It takes the mirror entries of 11 for some of 1.
    MirrorsMixUp,
    /// It forgets all persisters but the first.
    AnnouncesOne,
    /// It says that it loads, and does not.
    LoadsNothing,
    /// It says that it has leases, and has none.
    GrantsNothing,
    /// It writes whatever was expected.
    ExpectsNothing,
    /// It applies the writes before one that fails.
    WritesHalf,
    /// It takes a fence and does not keep it.
    FenceIsOpen,
    /// It says that the key failed where the fence did.
    MixesConflicts,
    /// It tells another revision for a delete.
    MiscountsDeletes,
    /// It takes what its own rules and limits exclude.
    TakesAnything,
    /// It refuses what its own rules allow.
    RefusesNeighbours,
    /// It consumes two revisions where one was asked for.
    AdvancesTwice,
    /// It says that it keeps order, and does not.
    LosesOrder,
    /// It answers from a revision that is behind what it acknowledged.
    Lags,
    /// Its sessions go on when their connection has ended.
    Reconnects,
    /// Its leases last for ever.
    KeepsOwners,
    /// It hides that it went back.
    HidesRollBacks,
}
