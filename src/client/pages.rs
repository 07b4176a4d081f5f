//! Lists that come in pages.

use serde_json::Value;

use crate::connection::{Connection, Request};
use crate::failure::Failure;

/// Returns everything in a list, by page numbers or by cursors, whichever its answers have.
pub async fn all(connection: &Connection, request: &Request, size: u32) -> Result<Vec<Value>, Failure> {
    let mut found: Vec<Value> = Vec::new();
    let mut next: Option<(&str, String)> = None;
    loop {
        let mut page = request.clone();
        page.query.push(("limit".to_owned(), size.to_string()));
        page.query.extend(next.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        let body = connection.call(&page).await?.body;
        let data = body["data"].as_array().cloned().unwrap_or_default();
        let is_last = data.len() < size as usize;
        found.extend(data);
        next = match (&body["nextCursor"], body["page"].as_u64()) {
            (Value::String(cursor), _) if next.as_ref().is_some_and(|(_, before)| before == cursor) => {
                return Err(Failure::unreachable("the service returns the same page again and again"));
            }
            (Value::String(cursor), _) => Some(("cursor", cursor.clone())),
            (_, Some(number)) if !is_last => Some(("page", (number + 1).to_string())),
            _ => return Ok(found),
        };
    }
}
