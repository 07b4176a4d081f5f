//! Manifests: files that say which objects there shall be.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::kinds::Kind;
use super::yaml::{self, Data, Node};
use crate::document::{Field, Kind as FieldKind};
use crate::failure::Failure;
use crate::system::{read_file, read_stdin};

/// An object of a manifest.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Kind of the object.
    pub kind: Kind,
    /// Slug of its organization; empty for the caller's own, and for an organization.
    pub organization: String,
    /// Identity in its organization.
    pub key: String,
    /// Fields, without `kind` and `organization`.
    pub fields: Map<String, Value>,
    /// File and line.
    pub place: String,
}

impl Entry {
    /// Returns a text of a field; an empty one if the field is absent.
    pub fn text(&self, name: &str) -> &str {
        self.fields.get(name).and_then(Value::as_str).unwrap_or_default()
    }
}

/// Reads manifests. Returns all of their faults, each with file and line, if there are any.
pub fn read(files: &[String]) -> Result<Vec<Entry>, Failure> {
    let mut reader = Reader::default();
    for file in files {
        let text = match file.as_str() {
            "-" => read_stdin()?,
            path => read_file(path)?,
        };
        match yaml::read(&text) {
            Ok(documents) => documents.iter().for_each(|document| reader.document(file, document)),
            Err((line, why)) => reader.faults.push(format!("{file}:{line}: {why}")),
        }
    }
    reader.faults.extend(repeated(&reader.entries));
    refuse(&reader.faults)?;
    Ok(reader.entries)
}

/// Returns a fault for each object that another one before it names too.
pub fn repeated(entries: &[Entry]) -> Vec<String> {
    let mut places = HashMap::new();
    let mut faults = Vec::new();
    for Entry { kind, organization, key, place, .. } in entries {
        if let Some(first) = places.insert((*kind, organization, key), place) {
            faults.push(format!("{place}: this {} is already at {first}", kind.name()));
        }
    }
    faults
}

/// Returns [`Failure`] with all of these faults if there are any.
pub fn refuse(faults: &[String]) -> Result<(), Failure> {
    match faults.len() {
        0 => Ok(()),
        1 => Err(Failure::misused(format!("the manifest has a fault, nothing was done:\n{}", faults[0]))),
        count => Err(Failure::misused(format!(
            "the manifests have {count} faults, nothing was done:\n{}",
            faults.join("\n")
        ))),
    }
}

#[derive(Default)]
struct Reader {
    entries: Vec<Entry>,
    faults: Vec<String>,
}

impl Reader {
    fn document(&mut self, file: &str, node: &Node) {
        match &node.data {
            Data::List(all) => all.iter().for_each(|one| self.document(file, one)),
            Data::Object(members) => self.object(file, node.line, members),
            Data::Scalar(_) => {
                self.faults.push(format!("{file}:{}: must be an object with a kind", node.line));
            }
        }
    }

    fn object(&mut self, file: &str, line: usize, members: &[(usize, String, Node)]) {
        let kind = members.iter().find(|(_, name, _)| name == "kind");
        let names = Kind::ALL.map(|(name, _)| name);
        let Some((kind_line, _, kind)) = kind else {
            self.faults.push(format!("{file}:{line}: kind is missing; it is one of {}", names.join(", ")));
            return;
        };
        let kind = kind.to_json();
        let kind = kind.as_str().unwrap_or_default();
        let Some((_, kind)) = Kind::ALL.into_iter().find(|(name, _)| *name == kind) else {
            let nearest = nearest(kind, names.into_iter());
            self.faults.push(format!("{file}:{kind_line}: there is no kind {kind:?}{nearest}"));
            return;
        };
        let known: Vec<Field> = kind.references().into_iter().chain(kind.api_fields()).collect();
        let before = self.faults.len();
        let mut fields = Map::new();
        for (line, name, node) in members.iter().filter(|(_, name, _)| name != "kind") {
            let Some(field) = known.iter().find(|field| field.name == name) else {
                let nearest = nearest(name, known.iter().map(|field| field.name));
                self.faults.push(format!("{file}:{line}: {} has no field {name:?}{nearest}", kind.name()));
                continue;
            };
            let value = node.to_json();
            if let Some(what) = wrong(field, &value) {
                self.faults.push(format!("{file}:{}: {name} {what}", node.line));
            }
            fields.insert(name.clone(), value);
        }
        for field in known.iter().filter(|field| field.is_required && !fields.contains_key(field.name)) {
            self.faults.push(format!("{file}:{line}: {} needs the field {:?}", kind.name(), field.name));
        }
        if self.faults.len() > before {
            return;
        }
        let organization = fields.shift_remove("organization");
        let organization = organization.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned();
        let key = kind.key(&fields);
        let place = format!("{file}:{line}");
        self.entries.push(Entry { kind, organization, key, fields, place });
    }
}

/// Returns what is wrong with the value of a field; `None` if nothing is.
fn wrong(field: &Field, value: &Value) -> Option<String> {
    let expected = match field.kind {
        _ if value.is_null() && field.is_nullable => return None,
        FieldKind::Text if !value.is_string() => "must be a text; put it in quotes",
        FieldKind::Number if !value.is_u64() => "must be a whole number",
        FieldKind::Flag if !value.is_boolean() => "must be true or false",
        FieldKind::List if !value.as_array().is_some_and(|all| all.iter().all(Value::is_string)) => {
            "must be a list of texts"
        }
        FieldKind::Json if !value.is_object() => "must be an object",
        _ => {
            let is_choice = value.as_str().is_none_or(|text| field.choices.contains(&text));
            return (!field.choices.is_empty() && !is_choice)
                .then(|| format!("must be one of: {}", field.choices.join(", ")));
        }
    };
    Some(expected.to_owned())
}

/// Returns a hint at the known name that is nearest to a wrong one.
fn nearest<'a>(wrong: &str, known: impl Iterator<Item = &'a str>) -> String {
    let near = known.map(|name| (distance(&wrong.to_lowercase(), &name.to_lowercase()), name));
    match near.min() {
        Some((far, name)) if far <= name.len() / 2 => format!("; did you mean {name:?}?"),
        _ => String::new(),
    }
}

/// Returns the number of letters to insert, remove or replace to make one word of another (Levenshtein).
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, letter) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_error_is_not_taken_for_another_word() {
        assert_eq!(nearest("agentTyp", ["email", "agentType"].into_iter()), "; did you mean \"agentType\"?");
        assert_eq!(nearest("color", ["email", "agentType"].into_iter()), "");
    }
}
