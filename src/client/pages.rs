//! Lists that come in pages.

use serde_json::Value;

use crate::connection::{Connection, Request};
use crate::failure::Failure;

/// Returns everything in a list, by page numbers or by cursors.
pub async fn all(connection: &Connection, request: &Request, size: u32) -> Result<Vec<Value>, Failure> {
    let mut found: Vec<Value> = Vec::new();
    let mut next = ("page".to_owned(), "1".to_owned());
    if size > 100 {
        next.0.clear();
    }
    loop {
        let mut page = request.clone();
        page.query.push(("limit".to_owned(), size.to_string()));
        if !next.0.is_empty() {
            page.query.push(next.clone());
        }
        let body = connection.call(&page).await?.body;
        let data = body["data"].as_array().cloned().unwrap_or_default();
        let is_last = data.len() < size as usize;
        found.extend(data);
        next = match (&body["nextCursor"], next.1.parse::<u32>()) {
            (Value::String(cursor), _) => ("cursor".to_owned(), cursor.clone()),
            (_, Ok(number)) if !is_last && next.0 == "page" => ("page".to_owned(), (number + 1).to_string()),
            _ => return Ok(found),
        };
    }
}
