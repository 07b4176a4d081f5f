//! YAML with the line of every value. JSON is YAML too.

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value};

/// A value, and the line where it begins.
#[derive(Clone, Debug)]
pub struct Node {
    /// Line, from 1.
    pub line: usize,
    /// The value.
    pub data: Data,
}

/// A value of YAML.
#[derive(Clone, Debug)]
pub enum Data {
    /// Null, a text, a number or a truth value.
    Scalar(Value),
    /// A list.
    List(Vec<Node>),
    /// An object: the line and the name of each member, and its value.
    Object(Vec<Member>),
}

impl Node {
    /// Returns the value as JSON.
    pub fn to_json(&self) -> Value {
        match &self.data {
            Data::Scalar(value) => value.clone(),
            Data::List(nodes) => nodes.iter().map(Self::to_json).collect(),
            Data::Object(members) => Value::Object(
                members.iter().map(|(_, name, node)| (name.clone(), node.to_json())).collect::<Map<_, _>>(),
            ),
        }
    }
}

/// Line and name of a member of an object, and its value.
pub type Member = (usize, String, Node);

/// Reads the documents of a text. Returns the line and the reason if it is not YAML of the JSON kind.
pub fn read(text: &str) -> Result<Vec<Node>, (usize, String)> {
    let mut events = Vec::new();
    for event in Parser::new_from_str(text) {
        let (event, span) =
            event.map_err(|error| (error.marker().line(), format!("not YAML: {}", error.info())))?;
        events.push((event, span.start.line()));
    }
    let mut reader = Reader { events: events.into_iter() };
    let mut documents = Vec::new();
    while let Some((event, line)) = reader.events.next() {
        if let Event::DocumentStart(_) = event {
            let node = reader.next(line)?;
            // A document without content stands between two separators.
            if !matches!(node.data, Data::Scalar(Value::Null)) {
                documents.push(node);
            }
        }
    }
    Ok(documents)
}

struct Reader<'a> {
    events: std::vec::IntoIter<(Event<'a>, usize)>,
}

impl<'a> Reader<'a> {
    fn next(&mut self, line: usize) -> Result<Node, (usize, String)> {
        let (event, line) = self.events.next().ok_or((line, "not YAML: it ends too early".to_owned()))?;
        self.node(&event, line)
    }

    fn node(&mut self, event: &Event<'a>, line: usize) -> Result<Node, (usize, String)> {
        let data = match event {
            Event::Scalar(text, style, ..) => Data::Scalar(scalar(text, *style)),
            Event::SequenceStart(..) => {
                let mut nodes = Vec::new();
                loop {
                    match self.events.next() {
                        None | Some((Event::SequenceEnd, _)) => break Data::List(nodes),
                        Some((event, line)) => nodes.push(self.node(&event, line)?),
                    }
                }
            }
            Event::MappingStart(..) => Data::Object(self.members()?),
            _ => return Err((line, "anchors and aliases are not supported; write the value out".to_owned())),
        };
        Ok(Node { line, data })
    }

    fn members(&mut self) -> Result<Vec<Member>, (usize, String)> {
        let mut members: Vec<Member> = Vec::new();
        loop {
            match self.events.next() {
                None | Some((Event::MappingEnd, _)) => return Ok(members),
                Some((Event::Scalar(name, ..), line)) => {
                    if members.iter().any(|(_, known, _)| *known == *name) {
                        return Err((line, format!("{name:?} is given twice")));
                    }
                    let node = self.next(line)?;
                    members.push((line, name.into_owned(), node));
                }
                Some((_, line)) => return Err((line, "the name of a field must be a text".to_owned())),
            }
        }
    }
}

/// Returns the value of a scalar by the rules of the JSON schema of YAML, so that only JSON's own words have a meaning.
fn scalar(text: &str, style: ScalarStyle) -> Value {
    if style != ScalarStyle::Plain {
        return text.into();
    }
    match text {
        "" | "~" | "null" => Value::Null,
        _ => match serde_json::from_str(text) {
            Ok(value @ (Value::Bool(_) | Value::Number(_))) => value,
            _ => text.into(),
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_value_has_its_line_and_json_its_types() {
        let documents = read("a: 1\nb:\n  - \"1\"\n  - yes\n---\n{\"c\": [true, null]}\n").expect("YAML");
        let json: Vec<Value> = documents.iter().map(Node::to_json).collect();
        assert_eq!(json, [json!({ "a": 1, "b": ["1", "yes"] }), json!({ "c": [true, null] })]);
        let Data::Object(members) = &documents[0].data else { panic!("an object") };
        assert_eq!((members[1].0, documents[1].line), (2, 6));
    }

    #[test]
    fn what_is_not_understood_is_refused_with_its_line() {
        for (text, line) in [("a: 1\na: 2\n", 2), ("a: &x 1\nb: *x\n", 2), ("a:\n  - [1\nb: 2\n", 3)] {
            let (found, why) = read(text).expect_err("refused");
            assert_eq!(found, line, "{why}");
        }
    }
}
