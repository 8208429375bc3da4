//! Disks without room, and disks that lie: an error that says so, and no file that looks like one.

#![allow(clippy::unwrap_used)] // Tests.

use std::fs;
use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::Command;

use cairn_etcd_snapshot::{Encoder, Error, Put, Record, Result, WriteOptions, Writer};

fn record(revision: i64) -> Record {
    let put = Put {
        key: revision.to_string().into(),
        value: vec![b'v'; 1000].into(),
        create_revision: revision,
        version: 1,
        lease: 0,
    };
    Record::put(revision, 0, put)
}

/// A small file system in memory; unmounted when dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"])
            .arg(directory.path())
            .status();
        assert!(
            mounted.is_ok_and(|status| status.success()),
            "this test mounts a disk: run it as root, or in `unshare --map-root-user --mount` \
             (the Debian package mount)"
        );
        Self(directory)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.path()).status(); // nothing else can be done
    }
}

#[test]
fn a_disk_without_room_is_said_and_left_clean() {
    let disk = SmallDisk::mount();
    let path = disk.path().join("snapshot.db");
    let mut writer = Writer::create(&path, WriteOptions::default()).unwrap();
    let failed = (2..4_000).find_map(|revision| writer.record(&record(revision)).err());
    let failed = failed.expect("4 MB do not fit into 2");
    assert!(matches!(failed, Error::NoSpace { .. }), "{failed}");
    let said = failed.to_string();
    assert!(
        said.contains("no room") && said.contains("snapshot.db"),
        "{said}"
    );

    // Nothing is written any more, even when there would be room.
    let again = writer.finish();
    assert!(matches!(again, Err(Error::Stopped { .. })), "{again:?}");
    assert_eq!(fs::read_dir(disk.path()).unwrap().count(), 0);

    let mut writer = Writer::create(&path, WriteOptions::default()).unwrap();
    writer.record(&record(2)).unwrap();
    writer.finish().unwrap();
    assert!(path.exists());
}

/// Memory that fails at a write, or gives back another byte than was written.
struct Faulty {
    file: Cursor<Vec<u8>>,
    writes_left: usize,
    flip_at: Option<usize>,
}

impl Write for Faulty {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writes_left = self
            .writes_left
            .checked_sub(1)
            .ok_or_else(|| io::Error::other("broken"))?;
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Faulty {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(at) = self.flip_at.take() {
            self.file.get_mut()[at] ^= 1;
        }
        self.file.read(buffer)
    }
}

impl Seek for Faulty {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

fn write(writes_left: usize, flip_at: Option<usize>) -> Result<()> {
    let file = Faulty {
        file: Cursor::new(Vec::new()),
        writes_left,
        flip_at,
    };
    let mut encoder = Encoder::new(file, "memory", WriteOptions::default())?;
    for revision in 2..1_500 {
        encoder.record(&record(revision))?;
    }
    encoder.finish().map(drop)
}

#[test]
fn a_write_that_fails_is_an_error_wherever_it_is() {
    let mut failures = 0;
    while let Err(error) = write(failures, None) {
        assert!(matches!(error, Error::Io { op: "write", .. }), "{error}");
        failures += 1;
    }
    assert!(failures > 5, "{failures} writes");
}

#[test]
fn a_disk_that_gives_back_something_else_is_found_out() {
    for at in [8192, 8192 + 17, 500_000] {
        let error = write(usize::MAX, Some(at)).unwrap_err();
        assert!(matches!(error, Error::ReadBack { .. }), "{error}");
    }
}
