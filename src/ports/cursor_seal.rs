//! Makes cursors that only we can make.

use crate::domain::audit::Position;

/// Seals a place in the audit log into text, bound to who asked and for what.
pub trait CursorSeal: Send + Sync {
    /// The place as opaque text. `binding` is everything that the cursor must not be used without.
    fn seal(&self, position: Position, binding: &[u8]) -> String;

    /// The place in a text that [`seal`](Self::seal) made with this binding, on any instance; `None` for
    /// all else.
    fn open(&self, cursor: &str, binding: &[u8]) -> Option<Position>;
}
