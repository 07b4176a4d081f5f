//! The metrics of the program, one process each: their names, their meaning, the dashboard and the alerts.

mod names;
mod program;
mod prometheus;
