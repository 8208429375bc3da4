//! Which processes a test has left.

use std::path::Path;

use anyhow::Result;

/// The ids of all processes whose working directory is at or below this one.
pub(crate) fn processes_in(directory: &Path) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let entry = entry?;
        let pid = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        // A process that ends meanwhile has no directory any more.
        let at = std::fs::read_link(entry.path().join("cwd"));
        if let (Some(pid), Ok(at)) = (pid, at)
            && at.starts_with(directory)
        {
            found.push(pid);
        }
    }
    Ok(found)
}
