//! The state that a journal held at a time.

use cairn_journal::{Change, Journal, NewRecord, Options, Revision, Timeline, Timestamp};

#[test]
fn the_state_at_a_time_is_the_one_before_the_first_later_change() {
    let dir = tempfile::tempdir().expect("a directory");
    let (journal, _) = Journal::open(dir.path(), Options::default()).expect("a new journal");
    let set = |revision, time| {
        let change = Change::set("/a", "x");
        let record = NewRecord::changes(Revision(revision), vec![change], Timestamp(time));
        journal.append_and_commit(record).expect("room");
    };
    for (revision, time) in [(10, 1000), (20, 2000), (30, 1500), (40, 3000)] {
        set(revision, time);
    }
    let at = |time| {
        journal
            .reader()
            .expect("a reader")
            .revision_at(Timestamp(time))
            .ok()
            .map(|at| at.revision)
    };
    for (time, revision) in [
        (999, None),
        (1000, Some(10)),
        // The clock went back between 20 and 30; 20 was later than this.
        (1700, Some(10)),
        (2000, Some(30)),
        (9000, Some(40)),
    ] {
        assert_eq!(at(time), revision.map(Revision), "{time}");
    }
    let timeline = Timeline {
        id: "b".to_owned(),
        parent: Some("a@40".to_owned()),
        at: Revision(5),
        kept: true,
        observed_at: Timestamp(4000),
    };
    let turn = NewRecord::timeline(Revision(5), timeline);
    journal.append_and_commit(turn).expect("room");
    set(6, 5000);
    assert_eq!(at(2000), None, "revisions began anew since");
    assert_eq!(at(5000), Some(Revision(6)));
}
