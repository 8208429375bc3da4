//! Which versions of etcd have faults that matter to who follows one.

/// What is wrong with a version, to be read after "this version of etcd"; `None` for one without a
/// known fault. A follower notices each of these; a newer version spares it the trouble.
pub(super) fn fault_of(version: &str) -> Option<&'static str> {
    let mut numbers = version.split(['.', '-', '+']).map(str::parse::<u32>);
    let (Some(Ok(major)), Some(Ok(minor)), Some(Ok(patch))) =
        (numbers.next(), numbers.next(), numbers.next())
    else {
        return None;
    };
    match (major, minor, patch) {
        (3, 5, ..=2) => Some(
            "may let members differ after a crash (etcd issue 13766): take 3.5.13 or later, and \
             compare the members with `etcdctl endpoint hashkv --cluster`",
        ),
        (3, 4, ..=30) | (3, 5, ..=12) => Some(
            "may lose events of a watch when old revisions are compacted (etcd issue 17529), which \
             is then noticed and recorded as a gap: take 3.4.31, 3.5.13 or later",
        ),
        (..=2, ..) | (3, ..=3, _) => Some("is not tried with Cairn: take 3.4.31, 3.5.13 or later"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_with_faults_are_told_and_others_are_not() {
        for (version, says) in [
            ("3.5.1", Some("13766")),
            ("3.4.23", Some("17529")),
            ("3.5.12", Some("17529")),
            ("3.3.27", Some("not tried")),
            ("3.4.31", None),
            ("3.5.13", None),
            ("3.6.0-rc.1", None),
            ("4.0.0", None),
            ("unknown", None),
        ] {
            let fault = fault_of(version);
            assert_eq!(fault.is_some(), says.is_some(), "{version}: {fault:?}");
            assert!(fault.is_none_or(|fault| says.is_some_and(|says| fault.contains(says))));
        }
    }
}
