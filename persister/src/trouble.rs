//! What an error of the operating system means for a persister. One table.

use std::io;

use rustix::io::Errno;

/// What an error of the operating system means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The machine is short of something for a while, or a signal came: trying again may help, and
    /// nobody needs to look.
    Passing,
    /// The disk has no room.
    Full,
    /// The disk, or the way to it, has failed.
    Disk,
    /// Something is not as it has to be: rights, a file in the place of a directory.
    Unusable,
}

const PASSING: [Errno; 6] = [
    Errno::MFILE,
    Errno::NFILE,
    Errno::INTR,
    Errno::AGAIN,
    Errno::NOMEM,
    Errno::NOBUFS,
];
const FULL: [Errno; 2] = [Errno::NOSPC, Errno::DQUOT];
const DISK: [Errno; 12] = [
    Errno::IO,
    Errno::NODATA,
    Errno::BADMSG,
    Errno::UCLEAN,
    Errno::ILSEQ,
    Errno::NXIO,
    Errno::NODEV,
    Errno::NOMEDIUM,
    Errno::MEDIUMTYPE,
    Errno::REMOTEIO,
    Errno::STALE,
    Errno::TIMEDOUT,
];

impl Trouble {
    /// What `error` means.
    #[must_use]
    pub fn of(error: &io::Error) -> Self {
        let number = error.raw_os_error();
        let is_one = |of: &[Errno]| of.iter().any(|e| number == Some(e.raw_os_error()));
        // Some of them are made by us, and have no number.
        let kind = error.kind();
        if is_one(&FULL) || matches!(kind, io::ErrorKind::StorageFull) {
            Self::Full
        } else if is_one(&PASSING) || matches!(kind, io::ErrorKind::OutOfMemory) {
            Self::Passing
        } else if is_one(&DISK) {
            Self::Disk
        } else {
            Self::Unusable
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The story: a thousand idle connections took the last descriptors, and the persister ended
    /// with "a person must look". An I/O error while a journal was opened was "cannot be used".
    #[test]
    fn each_error_of_the_system_means_one_thing() {
        let expected = [
            (Trouble::Passing, &PASSING[..]),
            (Trouble::Full, &FULL[..]),
            (Trouble::Disk, &DISK[..]),
            (
                Trouble::Unusable,
                &[
                    Errno::ACCESS,
                    Errno::PERM,
                    Errno::ROFS,
                    Errno::NOTDIR,
                    Errno::ISDIR,
                    Errno::NOENT,
                    Errno::LOOP,
                    Errno::NAMETOOLONG,
                    Errno::FBIG,
                    Errno::INVAL,
                ][..],
            ),
        ];
        for (trouble, numbers) in expected {
            for number in numbers {
                let error = io::Error::from_raw_os_error(number.raw_os_error());
                assert_eq!(Trouble::of(&error), trouble, "{error}");
            }
        }
        for (kind, trouble) in [
            (io::ErrorKind::StorageFull, Trouble::Full),
            (io::ErrorKind::OutOfMemory, Trouble::Passing),
            (io::ErrorKind::InvalidInput, Trouble::Unusable),
        ] {
            assert_eq!(Trouble::of(&io::Error::new(kind, "ours")), trouble);
        }
    }
}
