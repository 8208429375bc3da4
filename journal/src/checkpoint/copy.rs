//! Copies a checkpoint whose place among the records has changed: its entries under another header.

use std::{path::Path, sync::Arc};

use crate::{
    checkpoint::{blocks::BlockWriter, file::Checkpoint},
    error::{Error, Result},
    format::{checkpoint::Header, header::HEADER_BYTES, names::checkpoint_name},
    segment::create,
    stop::Stop,
    storage::{
        file_handle::FileHandle,
        traits::{Access, Storage},
    },
};

/// Writes the entries of `from` into `dir` as the checkpoint that `header` describes, and reads
/// them back.
pub(crate) fn copy(
    storage: &dyn Storage,
    dir: &Path,
    from: &Checkpoint,
    header: &Header,
    stop: &Stop,
) -> Result<()> {
    let path = dir.join(checkpoint_name(header.revision));
    let mut file = create::create_temporary(storage, &path)?;
    file.write_at(header.encode().as_slice(), 0)?;
    let meter = Arc::default();
    let mut entries = from.blocks(&meter)?;
    let mut out = BlockWriter::new(&file, header.seed(), HEADER_BYTES as u64, &meter);
    while let Some(item) = entries.next()? {
        stop.check()?;
        out.push(&item)?;
    }
    let (footer, _) = out.finish()?;
    file.sync_all()?;
    let read_back = FileHandle::open(storage, &file.path, Access::Read)?;
    let read_back = Checkpoint::read(read_back, header.revision)?;
    read_back.verify_unless(stop)?;
    if read_back.footer != footer || read_back.header != *header {
        return Err(Error::CheckpointDamaged {
            path,
            offset: 0,
            revision: header.revision,
            detail: "what was read back is not what was written".to_owned(),
        });
    }
    create::publish(storage, dir, &mut file, path)
}
