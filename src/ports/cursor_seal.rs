//! Cursors that only this service can create.

use domain::audit::Position;

/// Seals a position in the audit log into text, bound to its caller and query.
pub trait CursorSeal: Send + Sync {
    /// Returns the position as opaque text.
    ///
    /// `binding` is everything without which the cursor must not be used.
    fn seal(&self, position: Position, binding: &[u8]) -> String;

    /// Returns the position in a text that [`seal`](Self::seal) made with this binding, on any instance.
    ///
    /// `None` for any other text.
    fn open(&self, cursor: &str, binding: &[u8]) -> Option<Position>;
}
