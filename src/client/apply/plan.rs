//! The difference between manifests and the service, as steps in a working order.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde_json::{Map, Value};

use super::current::Current;
use super::kinds::{Kind, address, naming_field, normal_form, sorted};
use super::manifest::Entry;
use crate::organization::is_address;
use crate::output::{cell, safe};

/// When a step is taken: all steps of a phase are independent of each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Organizations are created and changed.
    Organizations,
    /// Trusted issuers are created and changed.
    Issuers,
    /// Agents are created and changed.
    Agents,
    /// Agents and trusted issuers that name agents in `mayAct` are changed.
    Actors,
    /// Credentials are created.
    Credentials,
    /// Agents and trusted issuers are suspended, and those that are gone are suspended or decommissioned.
    Suspensions,
    /// Organizations are suspended.
    Closings,
}

/// The change that a step makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Creates the object.
    Create,
    /// Replaces fields of the object.
    Update,
    /// Decommissions the agent.
    Decommission,
}

/// One request that brings the service closer to the manifests.
#[derive(Clone, Debug)]
pub struct Step {
    /// When the step is taken.
    pub phase: Phase,
    /// The change.
    pub change: Change,
    /// Kind of the object.
    pub kind: Kind,
    /// Slug of its organization.
    pub organization: String,
    /// Identity in its organization.
    pub key: String,
    /// Fields of the request; references to other objects are resolved when the step is taken.
    pub fields: Map<String, Value>,
    /// File and line, or the reason of a step that no file names.
    pub place: String,
    /// Lines of the difference; empty if another step shows it.
    pub shown: Vec<String>,
}

impl Step {
    /// Returns the object in words.
    pub fn object(&self) -> String {
        object(self.kind, &self.organization, &self.key)
    }
}

/// How agents that the manifests no longer contain are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prune {
    /// They stay.
    Keep,
    /// They are suspended.
    Suspend,
    /// They are decommissioned.
    Decommission,
}

fn object(kind: Kind, organization: &str, key: &str) -> String {
    let within = if organization.is_empty() { String::new() } else { format!(" of {organization}") };
    safe(&format!("{} {key}{within}", kind.name()))
}

/// Returns the steps, in the order of their phases, and the faults of the manifests.
pub fn plan(entries: &[Entry], current: &Current, name: &str, prune: Prune) -> (Vec<Step>, Vec<String>) {
    let listed: HashSet<(Kind, &str, &str)> =
        entries.iter().map(|entry| (entry.kind, &*entry.organization, &*entry.key)).collect();
    let agents = entries.iter().filter(|entry| entry.kind == Kind::Agent);
    let mut planner = Planner {
        current,
        addresses: current.addresses(),
        name,
        listed,
        statuses: agents.map(|entry| ((&*entry.organization, &*entry.key), entry.text("status"))).collect(),
        steps: Vec::new(),
        faults: Vec::new(),
    };
    for entry in entries {
        planner.check_references(entry);
        planner.entry(entry);
    }
    if prune != Prune::Keep {
        let organization = |entry: &'_ Entry| match entry.kind {
            Kind::Organization => entry.key.clone(),
            _ => entry.organization.clone(),
        };
        let organizations: BTreeSet<String> = entries.iter().map(organization).collect();
        planner.prune(&organizations, prune);
    }
    let Planner { mut steps, faults, .. } = planner;
    steps.sort_by_key(|step| step.phase);
    (steps, faults)
}

struct Planner<'a> {
    current: &'a Current,
    addresses: HashMap<&'a str, Option<&'a str>>,
    name: &'a str,
    listed: HashSet<(Kind, &'a str, &'a str)>,
    /// The status that the manifests name for an agent; empty if they list it without one.
    statuses: HashMap<(&'a str, &'a str), &'a str>,
    steps: Vec<Step>,
    faults: Vec<String>,
}

impl Planner<'_> {
    fn exists(&self, kind: Kind, organization: &str, key: &str) -> bool {
        self.listed.contains(&(kind, organization, key)) || self.current.id(kind, organization, key).is_some()
    }

    fn check_references(&mut self, entry: &Entry) {
        let slug = &*entry.organization;
        let mut missing = Vec::new();
        if !slug.is_empty() && !self.exists(Kind::Organization, "", slug) {
            missing.push(format!("there is no organization {slug:?}"));
        }
        for (kind, field) in [(Kind::Agent, "agent"), (Kind::TrustedIssuer, "issuer")] {
            if entry.kind.is_credential() && entry.fields.contains_key(field) {
                let named = entry.text(field);
                let key = if kind == Kind::Agent { address(named) } else { named.to_owned() };
                if !self.exists(kind, slug, &key) {
                    missing.push(format!("{field}: the organization has no {} {named:?}", kind.name()));
                }
            }
        }
        let people = entry.fields.get("subjects").and_then(|people| people.get("mayAct"));
        let actors = [entry.fields.get("mayAct"), people].into_iter().flatten().filter_map(Value::as_array);
        for actor in actors.flatten().filter_map(Value::as_str) {
            if is_address(actor) && !self.exists(Kind::Agent, slug, &address(actor)) {
                missing.push(format!("mayAct: the organization has no Agent {actor:?}"));
            }
        }
        if entry.kind.is_credential() && self.stays_suspended(slug, &address(entry.text("agent"))) {
            let key = (entry.kind, entry.organization.clone(), entry.key.clone());
            if !self.current.objects.contains_key(&key) {
                missing.push(
                    "agent: it is suspended, and gets no new credentials until it is active".to_owned(),
                );
            }
        }
        let missing = missing.into_iter().map(|what| format!("{}: {what}", entry.place));
        self.faults.extend(missing);
    }

    /// Returns whether an agent is suspended now and after all changes.
    fn stays_suspended(&self, organization: &str, email: &str) -> bool {
        let key = (Kind::Agent, organization.to_owned(), email.to_owned());
        let Some(agent) = self.current.objects.get(&key) else { return false };
        let wanted = self.statuses.get(&(organization, email));
        let is_ours = agent.get("managedBy").is_some_and(|name| name == self.name);
        agent.get("status").is_some_and(|status| status == "suspended")
            && match wanted {
                None => true,
                Some(&"") => !is_ours,
                Some(status) => *status != "active",
            }
    }

    fn entry(&mut self, entry: &Entry) {
        let key = (entry.kind, entry.organization.clone(), entry.key.clone());
        match self.current.objects.get(&key) {
            None => self.create(entry),
            Some(object) if object.get("status").is_some_and(|status| status == "decommissioned") => {
                self.faults.push(format!(
                    "{}: {} is decommissioned, which is final; its address cannot be used again",
                    entry.place,
                    object_of(entry)
                ));
            }
            Some(object) => self.update(entry, object),
        }
    }

    fn step(entry: &Entry, phase: Phase, change: Change, fields: Map<String, Value>) -> Step {
        Step {
            phase,
            change,
            kind: entry.kind,
            organization: entry.organization.clone(),
            key: entry.key.clone(),
            fields,
            place: entry.place.clone(),
            shown: Vec::new(),
        }
    }

    fn create(&mut self, entry: &Entry) {
        let mut fields = entry.fields.clone();
        let status = fields.shift_remove("status").filter(|status| *status == "suspended");
        if matches!(entry.kind, Kind::Agent | Kind::TrustedIssuer) {
            fields.insert("managedBy".to_owned(), self.name.into());
        }
        let naming = naming_field(entry.kind, &fields);
        let naming = naming.and_then(|name| Some((name.to_owned(), fields.shift_remove(name)?)));
        let phase = match entry.kind {
            Kind::Organization => Phase::Organizations,
            Kind::TrustedIssuer => Phase::Issuers,
            Kind::Agent => Phase::Agents,
            _ => Phase::Credentials,
        };
        let mut step = Self::step(entry, phase, Change::Create, fields);
        step.shown.push(format!("+ {}", object_of(entry)));
        self.steps.push(step);
        if let Some(naming) = naming {
            let fields = Map::from_iter([naming]);
            self.steps.push(Self::step(entry, Phase::Actors, Change::Update, fields));
        }
        if let Some(status) = status {
            self.suspend(entry, status, Vec::new());
        }
    }

    fn suspend(&mut self, entry: &Entry, status: Value, shown: Vec<String>) {
        let phase = if entry.kind == Kind::Organization { Phase::Closings } else { Phase::Suspensions };
        let fields = Map::from_iter([("status".to_owned(), status)]);
        let step = Self::step(entry, phase, Change::Update, fields);
        self.steps.push(Step { shown, ..step });
    }

    fn update(&mut self, entry: &Entry, object: &Map<String, Value>) {
        let mut wanted = entry.fields.clone();
        let is_ours = object.get("managedBy").is_some_and(|name| name == self.name);
        // An agent that was pruned and is listed again becomes active again.
        if entry.kind == Kind::Agent && is_ours && !wanted.contains_key("status") {
            wanted.insert("status".to_owned(), "active".into());
        }
        let mut changed = Map::new();
        let mut shown = Vec::new();
        for (name, value) in wanted {
            let is_identity = matches!(
                name.as_str(),
                "slug" | "email" | "issuer" | "agent" | "subject" | "claims" | "publicKey"
            );
            let before = object.get(&name).cloned().unwrap_or(Value::Null);
            if is_identity || is_same(&name, &value, &before, &self.addresses) {
                continue;
            }
            if entry.kind.is_credential() {
                self.faults.push(format!(
                    "{}: {name} of {} cannot be changed: it is {}; revoke the credential first",
                    entry.place,
                    object_of(entry),
                    if before.is_null() { "not set".to_owned() } else { cell(&before) }
                ));
                return;
            }
            shown.push(format!("    {name}: {} -> {}", cell(&before), cell(&value)));
            changed.insert(name, value);
        }
        if changed.is_empty() {
            return;
        }
        shown.insert(0, format!("~ {}", object_of(entry)));
        let status = changed.get("status").filter(|status| *status == "suspended").cloned();
        if status.is_some() {
            changed.shift_remove("status");
        }
        if let Some(status) = status {
            let own = if changed.is_empty() { std::mem::take(&mut shown) } else { Vec::new() };
            self.suspend(entry, status, own);
        }
        if !changed.is_empty() {
            let phase = match entry.kind {
                Kind::Organization => Phase::Organizations,
                kind if naming_field(kind, &changed).is_some() => Phase::Actors,
                Kind::TrustedIssuer => Phase::Issuers,
                _ => Phase::Agents,
            };
            let step = Self::step(entry, phase, Change::Update, changed);
            self.steps.push(Step { shown, ..step });
        }
    }

    fn prune(&mut self, organizations: &BTreeSet<String>, prune: Prune) {
        let mut gone = Vec::new();
        for ((kind, slug, key), object) in &self.current.objects {
            let status = object.get("status").and_then(Value::as_str);
            let is_left = match prune {
                Prune::Decommission => status != Some("decommissioned"),
                _ => status == Some("active"),
            };
            if *kind == Kind::Agent
                && is_left
                && organizations.contains(slug)
                && object.get("managedBy").is_some_and(|name| name == self.name)
                && !self.listed.contains(&(*kind, slug, key))
            {
                gone.push((slug.clone(), key.clone()));
            }
        }
        gone.sort();
        for (organization, key) in gone {
            let (change, word, fields) = match prune {
                Prune::Decommission => (Change::Decommission, "decommission", Map::new()),
                _ => (Change::Update, "suspend", Map::from_iter([("status".to_owned(), "suspended".into())])),
            };
            let shown = vec![format!("- {} ({word})", self::object(Kind::Agent, &organization, &key))];
            let place = "no longer in the manifests".to_owned();
            let (phase, kind) = (Phase::Suspensions, Kind::Agent);
            self.steps.push(Step { phase, change, kind, organization, key, fields, place, shown });
        }
    }
}

fn object_of(entry: &Entry) -> String {
    object(entry.kind, &entry.organization, &entry.key)
}

/// Returns whether a field has the wanted value already.
fn is_same(name: &str, wanted: &Value, found: &Value, ids: &HashMap<&str, Option<&str>>) -> bool {
    match (name, wanted, found) {
        ("expiresAt", Value::String(wanted), Value::String(found)) => {
            let instant = |text: &str| text.parse::<jiff::Timestamp>().ok();
            instant(wanted) == instant(found)
        }
        // Limits are replaced as a whole.
        ("limits", wanted, found) => {
            let empty = Value::Object(Map::new());
            sorted(wanted) == sorted(if found.is_null() { &empty } else { found })
        }
        (_, Value::Array(wanted), Value::Array(found)) => {
            let texts = |all: &[Value]| -> BTreeSet<String> {
                all.iter().filter_map(|one| text_of(one, ids)).collect()
            };
            texts(wanted) == texts(found)
        }
        (_, Value::Object(wanted), Value::Object(found)) => {
            let has = |(name, value): (&String, &Value)| {
                is_same(name, value, found.get(name).unwrap_or(&Value::Null), ids)
                    || matches!(name.as_str(), "use" | "key_ops")
            };
            // A member that the service adds by default is not a difference. Any other is, because objects are replaced
            // as a whole.
            let is_default = |value: &Value| value.is_null() || *value == false;
            wanted.iter().all(has)
                && found.iter().all(|(name, value)| wanted.contains_key(name) || is_default(value))
        }
        ("defaultResource", Value::String(wanted), Value::String(found)) => {
            normal_form(wanted) == normal_form(found)
        }
        (_, wanted, found) => wanted == found,
    }
}

/// Returns an element of a list in the form in which it is compared; `None` if it is an agent that is gone.
fn text_of(value: &Value, ids: &HashMap<&str, Option<&str>>) -> Option<String> {
    match value.as_str() {
        Some("Ed25519") => Some("EdDSA".to_owned()),
        Some(text) if is_address(text) => Some(address(text)),
        Some(text) => ids.get(text).map_or(Some(text), |email| *email).map(str::to_owned),
        None => Some(sorted(value)),
    }
}
