//! The `gradkin` program.
fn main() {}
