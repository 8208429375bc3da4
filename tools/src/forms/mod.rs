//! Forms in which a journal is printed or read: text, JSON, and the journals of other programs.

pub mod foreign;
pub mod form;
pub mod json;
pub mod text;
