//! One socket to one member. It is never replaced: what could reconnect does not exist here.

pub(crate) mod dial;
pub(crate) mod end;
pub(crate) mod link;
mod sender;
