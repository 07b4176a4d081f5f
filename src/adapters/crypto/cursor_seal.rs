//! Cursors sealed with HMAC-SHA-256.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

use domain::audit::Position;
use domain::id::EventId;
use domain::time::Timestamp;
use ports::cursor_seal::CursorSeal;

const POSITION_BYTES: usize = 24;

/// Seals cursors with a key that all instances share.
pub struct HmacCursorSeal {
    key: hmac::Key,
}

impl HmacCursorSeal {
    /// Creates a seal with this key.
    pub fn new(key: &[u8; 32]) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, key) }
    }

    fn message(position: &[u8], binding: &[u8]) -> Vec<u8> {
        [position, binding].concat()
    }
}

impl CursorSeal for HmacCursorSeal {
    fn seal(&self, position: Position, binding: &[u8]) -> String {
        let mut sealed = Vec::with_capacity(POSITION_BYTES + 32);
        sealed.extend_from_slice(&position.at.as_millis().to_be_bytes());
        sealed.extend_from_slice(position.id.0.as_bytes());
        let tag = hmac::sign(&self.key, &Self::message(&sealed, binding));
        sealed.extend_from_slice(tag.as_ref());
        URL_SAFE_NO_PAD.encode(sealed)
    }

    fn open(&self, cursor: &str, binding: &[u8]) -> Option<Position> {
        let sealed = URL_SAFE_NO_PAD.decode(cursor).ok()?;
        let (position, tag) = sealed.split_at_checked(POSITION_BYTES)?;
        hmac::verify(&self.key, &Self::message(position, binding), tag).ok()?;
        let (at, id) = position.split_at(8);
        Some(Position {
            at: Timestamp::from_millis(i64::from_be_bytes(at.try_into().ok()?)),
            id: EventId(Uuid::from_slice(id).ok()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_cursor_opens_only_as_it_was_sealed(
            at: i64, id: u128, binding: Vec<u8>, other: Vec<u8>, place in 0usize..74, letter in "[A-Za-z0-9_-]",
        ) {
            let seal = HmacCursorSeal::new(&[1; 32]);
            let position = Position { at: Timestamp::from_millis(at), id: EventId(Uuid::from_u128(id)) };
            let cursor = seal.seal(position, &binding);
            prop_assert_eq!(seal.open(&cursor, &binding), Some(position));
            prop_assert_eq!(HmacCursorSeal::new(&[2; 32]).open(&cursor, &binding), None);
            if other != binding {
                prop_assert_eq!(seal.open(&cursor, &other), None);
            }
            let mut changed = cursor.clone();
            changed.replace_range(place..=place, &letter);
            if changed != cursor {
                prop_assert_eq!(seal.open(&changed, &binding), None);
            }
            prop_assert_eq!(seal.open(&cursor[..place], &binding), None);
        }
    }
}
