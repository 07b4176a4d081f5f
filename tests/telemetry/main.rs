//! The metrics, the log and the traces of the program, one process each.

mod guide;
mod log;
mod names;
mod picture;
mod program;
mod prometheus;
mod traces;
