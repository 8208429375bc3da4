//! Opening: the length, the sha256, and the page that says where everything is.

use sha2::{Digest, Sha256};

use super::{
    cursor::{Cursor, Root},
    pager::{PageRun, Pages},
    source::Source,
};
use crate::{
    error::{Error, Result},
    format::{
        bucket,
        meta::{META_BYTES, Meta, NO_FREELIST},
        page::{FREELIST, LEAF, PAGE_HEADER_BYTES, PageHeader},
        size::{DIGEST_BYTES, MAX_PAGE_BYTES, MIN_PAGE_BYTES},
    },
};

/// Bytes that are read at once for the sha256.
const READ_BYTES: usize = 1 << 20;
/// A snapshot is a whole number of these and its sha256.
const BLOCK_BYTES: u64 = 512;
/// etcd has ten buckets.
const MAX_BUCKETS: usize = 1024;

/// A bucket's name, and where it begins.
pub(crate) type Bucket = (Vec<u8>, Root);

/// The pages of a snapshot whose sha256 is right, and where the list of its buckets begins.
pub(crate) fn open(source: Source, max_entry_bytes: u64) -> Result<(Pages, Root)> {
    let not_one = |detail: String| Error::NotASnapshot {
        path: source.path.clone(),
        detail,
    };
    let bytes = source.bytes()?;
    let digest = DIGEST_BYTES as u64;
    if bytes % BLOCK_BYTES != digest || bytes < digest + 2 * MIN_PAGE_BYTES as u64 {
        return Err(not_one(format!(
            "{bytes} bytes are not a number of pages and 32 bytes of sha256"
        )));
    }
    let body = bytes - digest;
    verify(&source, body)?;
    let meta = newest_meta(&source, body)?.map_err(|detail| not_one(detail.to_owned()))?;
    let page_bytes = meta.page_bytes as u64;
    if meta.pages < 3 || meta.pages > body / page_bytes {
        let (said, there) = (meta.pages, body / page_bytes);
        return Err(not_one(format!(
            "it should have {said} pages, and has {there}"
        )));
    }
    let pages = Pages {
        source,
        page_bytes,
        count: meta.pages,
        max_entry_bytes,
    };
    if meta.freelist != NO_FREELIST {
        let freelist = pages.run(meta.freelist, (0, 0))?;
        if freelist.flags != FREELIST {
            let detail = "the list of unused pages should be here";
            return Err(pages.damaged(freelist.page, freelist.offset, detail));
        }
    }
    let root = Root::Page {
        page: meta.root,
        from: (0, 0),
    };
    Ok((pages, root))
}

/// The sha256 at the end is that of everything before.
fn verify(source: &Source, body: u64) -> Result<()> {
    let mut digest = Sha256::new();
    let mut buffer = vec![0; READ_BYTES];
    let mut offset = 0;
    while offset < body {
        let want = usize::try_from(body - offset).map_or(READ_BYTES, |left| left.min(READ_BYTES));
        source.read(&mut buffer[..want], offset)?;
        digest.update(&buffer[..want]);
        offset += want as u64;
    }
    let mut stored = [0; DIGEST_BYTES];
    source.read(&mut stored, body)?;
    let computed: [u8; DIGEST_BYTES] = digest.finalize().into();
    if stored != computed {
        return Err(Error::Digest {
            path: source.path.clone(),
            stored: hex(&stored),
            computed: hex(&computed),
        });
    }
    Ok(())
}

/// The meta page that counts. If the first is damaged, the second is looked for where each size of
/// pages would have it.
fn newest_meta(source: &Source, body: u64) -> Result<Result<Meta, &'static str>> {
    let read = |offset: usize| -> Result<Result<Meta, &'static str>> {
        let offset = offset as u64;
        if offset + META_BYTES as u64 > body {
            return Ok(Err("there is no second page"));
        }
        let mut bytes = [0; META_BYTES];
        source.read(&mut bytes, offset)?;
        Ok(Meta::decode(&bytes))
    };
    let first = read(0)?;
    let sizes = match first {
        Ok(meta) => meta.page_bytes..=meta.page_bytes,
        Err(_) => MIN_PAGE_BYTES..=MAX_PAGE_BYTES,
    };
    let mut newest = first;
    let mut page_bytes = *sizes.start();
    while page_bytes <= *sizes.end() {
        if let Ok(second) = read(page_bytes)?
            && second.page_bytes == page_bytes
            && newest
                .ok()
                .is_none_or(|first| first.transaction < second.transaction)
        {
            newest = Ok(second);
        }
        page_bytes *= 2;
    }
    Ok(newest)
}

/// Every bucket of the file.
pub(crate) fn buckets(mut cursor: Cursor) -> Result<Vec<Bucket>> {
    let mut buckets = Vec::new();
    loop {
        let (page_bytes, count) = (cursor.pages().page_bytes, buckets.len());
        let Some(entry) = cursor.next()? else {
            return Ok(buckets);
        };
        let (name, value) = (entry.key.to_vec(), entry.value);
        let (page, begin) = (entry.page, entry.offset + name.len() as u64);
        let root = if count == MAX_BUCKETS {
            Err("more than 1,024 buckets")
        } else {
            root_of(value, page, begin, page_bytes)
        };
        match root {
            Ok(root) => buckets.push((name, root)),
            Err(detail) => {
                let detail = format!("bucket {}: {detail}", name.escape_ascii());
                return Err(cursor.pages().damaged(page, begin, detail));
            }
        }
    }
}

/// Where a bucket begins, by the value of its element, which stands at `begin` in the file.
fn root_of(value: &[u8], page: u64, begin: u64, page_bytes: u64) -> Result<Root, &'static str> {
    let root = bucket::decode_root(value).ok_or("its element has less than 16 bytes")?;
    if root != 0 {
        let from = (page, begin);
        return Ok(Root::Page { page: root, from });
    }
    let inline = &value[bucket::HEADER_BYTES..];
    if inline.len() < PAGE_HEADER_BYTES || inline.len() as u64 > page_bytes {
        return Err("its inline page is shorter than a header, or longer than a page");
    }
    let header = PageHeader::decode(inline);
    if header.flags != LEAF || header.overflow != 0 {
        return Err("its inline page is not one leaf");
    }
    Ok(Root::Inline(PageRun {
        page,
        offset: begin + bucket::HEADER_BYTES as u64,
        bytes: inline.len() as u64,
        flags: header.flags,
        count: usize::from(header.count),
    }))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // into a string
        text
    })
}
