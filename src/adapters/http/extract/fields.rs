//! The fields of one input, read one by one while errors are collected.

use poem_openapi::registry::{MetaSchemaRef, Registry};
use serde_json::{Map, Value};

use crate::error::FieldError;
use domain::time::Timestamp;

/// A value of a field: how it is described, and how it is read.
pub trait Field: Sized {
    /// Returns the schema of the value.
    fn schema() -> MetaSchemaRef;

    /// Registers the schemas that [`schema`](Self::schema) refers to.
    fn register(_: &mut Registry) {}

    /// Reads the field with this name. `None` if it is invalid, with an error recorded; `Some(None)` if it is absent.
    fn read(fields: &mut Fields, name: &str) -> Option<Option<Self>>;
}

/// Maximum number of errors that are reported.
pub const MAX_FIELD_ERRORS: usize = 100;

/// The fields of an object that are not read yet, and the errors found so far.
pub struct Fields {
    prefix: String,
    values: Map<String, Value>,
    field_errors: Vec<FieldError>,
    now: Timestamp,
}

impl Fields {
    /// Creates the fields of this object, with errors that are already known.
    ///
    /// Instants that must lie in the future are compared with `now`.
    pub fn new(values: Map<String, Value>, field_errors: Vec<FieldError>, now: Timestamp) -> Self {
        Self { prefix: String::new(), values, field_errors, now }
    }

    /// Ends the reading, and returns what was read. Returns all errors if there are any; a field that was not read is one.
    pub fn finish<T>(mut self, read: Option<T>) -> Result<T, Vec<FieldError>> {
        self.refuse_rest();
        read.filter(|_| self.field_errors.is_empty()).ok_or(self.field_errors)
    }

    /// Returns the instant with which instants that must lie in the future are compared.
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// Records an error in a field.
    pub fn field_error(&mut self, name: &str, message: impl Into<String>) {
        if self.field_errors.len() < MAX_FIELD_ERRORS {
            self.field_errors.push(FieldError::new(&format!("{}{name}", self.prefix), message));
        }
    }

    /// Removes and returns a field as it is; `None` if it is absent.
    pub fn take(&mut self, name: &str) -> Option<Value> {
        self.values.remove(name)
    }

    /// Puts a value back that was taken, to be read in another way.
    pub fn put(&mut self, name: &str, value: Value) {
        self.values.insert(name.to_owned(), value);
    }

    /// Reads a field that must be present; `None` if it is missing or invalid.
    pub fn require<T: Field>(&mut self, name: &str) -> Option<T> {
        if !self.values.contains_key(name) {
            self.field_error(name, "is missing");
            return None;
        }
        T::read(self, name).flatten()
    }

    /// Reads a field that must be present by `read`; `None` if it is missing or invalid.
    pub fn required<T>(&mut self, name: &str, read: impl FnOnce(&Value) -> Result<T, String>) -> Option<T> {
        if !self.values.contains_key(name) {
            self.field_error(name, "is missing");
            return None;
        }
        self.optional(name, read).flatten()
    }

    /// Reads a field that may be absent. `None` if it is invalid; `Some(None)` if it is absent.
    pub fn optional<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Option<Option<T>> {
        let Some(value) = self.take(name) else { return Some(None) };
        match read(&value) {
            Ok(value) => Some(Some(value)),
            Err(message) => {
                self.field_error(name, message);
                None
            }
        }
    }

    /// Reads a list of strings, each returned with its position.
    ///
    /// `None` if the field is not a list; `Some(None)` if it is absent. Errors of invalid entries are recorded under
    /// their positions, and these entries are left out, so that the others can be checked too.
    pub fn texts<T>(
        &mut self,
        name: &str,
        parse: impl Fn(&str) -> Result<T, &'static str>,
    ) -> Option<Option<Vec<(usize, T)>>> {
        let Some(value) = self.take(name) else { return Some(None) };
        let Value::Array(entries) = value else {
            self.field_error(name, "must be a list");
            return None;
        };
        let mut sound = Vec::with_capacity(entries.len());
        for (place, entry) in entries.iter().enumerate() {
            match text(&parse)(entry) {
                Ok(entry) => sound.push((place, entry)),
                Err(message) => self.field_error(&format!("{name}[{place}]"), message),
            }
        }
        Some(Some(sound))
    }

    /// Reads a nested object by `read`. Unknown fields are refused there too.
    pub fn object<T>(&mut self, name: &str, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        let Some(value) = self.take(name) else { return Some(None) };
        let Value::Object(values) = value else {
            self.field_error(name, "must be an object");
            return None;
        };
        let mut inner = Self::new(values, Vec::new(), self.now);
        inner.prefix = format!("{}{name}.", self.prefix);
        let value = read(&mut inner);
        inner.refuse_rest();
        let is_sound = inner.field_errors.is_empty();
        self.field_errors.append(&mut inner.field_errors);
        self.field_errors.truncate(MAX_FIELD_ERRORS);
        value.filter(|_| is_sound).map(Some)
    }

    fn refuse_rest(&mut self) {
        for name in std::mem::take(&mut self.values).keys() {
            self.field_error(name, "is not a known field");
        }
    }
}

/// Returns a reader of a string, which `parse` parses.
pub fn text<T>(
    parse: impl FnOnce(&str) -> Result<T, &'static str>,
) -> impl FnOnce(&Value) -> Result<T, String> {
    |value| match value {
        Value::String(text) => parse(text).map_err(str::to_owned),
        _ => Err("must be a string".to_owned()),
    }
}

/// Returns a reader of one of these names.
pub fn one_of<T: Copy>(names: &[(&'static str, T)]) -> impl FnOnce(&Value) -> Result<T, String> {
    |value| {
        let found = value.as_str().and_then(|text| names.iter().find(|(name, _)| *name == text));
        found.map(|(_, value)| *value).ok_or_else(|| {
            let names: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
            format!("must be one of: {}", names.join(", "))
        })
    }
}
