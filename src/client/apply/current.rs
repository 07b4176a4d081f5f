//! The objects that the service has.

use std::collections::{BTreeSet, HashMap};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use reqwest::StatusCode;
use serde_json::{Map, Value};

use super::kinds::Kind;
use crate::connection::{Connection, Request};
use crate::failure::Failure;
use crate::{organization, pages};

/// Number of requests at the same time.
pub const AT_ONCE: usize = 16;

/// Key of an object: its kind, the slug of its organization and its identity there.
pub type Key = (Kind, String, String);

/// The objects of some organizations.
#[derive(Debug, Default)]
pub struct Current {
    /// Objects as the API returns them.
    pub objects: HashMap<Key, Map<String, Value>>,
    /// IDs of the organizations, by slug. The caller's own has an empty slug.
    pub organizations: HashMap<String, String>,
}

impl Current {
    /// Returns the ID of an object.
    pub fn id(&self, kind: Kind, organization: &str, key: &str) -> Option<&str> {
        let object = self.objects.get(&(kind, organization.to_owned(), key.to_owned()))?;
        object.get(kind.id())?.as_str()
    }

    /// Finds organizations. A slug that does not exist is left out.
    pub async fn find(connection: &Connection, slugs: &BTreeSet<String>) -> Result<Self, Failure> {
        let mut current = Self::default();
        for slug in slugs {
            let id = match slug.as_str() {
                "" => organization::own(connection).await?,
                _ => {
                    let query = vec![("slug".to_owned(), slug.clone())];
                    let request = Request { query, ..Request::get("/api/v1/organizations") };
                    let found = connection.call(&request).await?.body;
                    let Some(Value::Object(organization)) = found["data"].get(0).cloned() else { continue };
                    let id = organization["organizationId"].as_str().unwrap_or_default().to_owned();
                    current.objects.insert((Kind::Organization, String::new(), slug.clone()), organization);
                    id
                }
            };
            current.organizations.insert(slug.clone(), id);
        }
        Ok(current)
    }

    /// Returns the slug of the caller's own organization if that was found by its slug too. It then has that slug only.
    pub fn name_own(&mut self) -> Option<String> {
        let own = self.organizations.get("")?;
        let named = self.organizations.iter().find(|(slug, id)| !slug.is_empty() && *id == own);
        let slug = named.map(|(slug, _)| slug.clone())?;
        self.organizations.remove("");
        Some(slug)
    }

    /// Reads all agents, and the trusted issuers if they are wanted, of the organizations that were found.
    pub async fn read(&mut self, connection: &Connection, has_issuers: bool) -> Result<(), Failure> {
        for (slug, id) in self.organizations.clone() {
            let agents = agents(connection, &id).await?;
            self.add(Kind::Agent, &slug, agents);
            if has_issuers {
                let query = vec![("organizationId".to_owned(), id)];
                let issuers = Request { query, ..Request::get("/api/v1/issuers") };
                self.add(Kind::TrustedIssuer, &slug, pages::all(connection, &issuers, 100).await?);
            }
        }
        Ok(())
    }

    fn add(&mut self, kind: Kind, slug: &str, objects: Vec<Value>) {
        for object in objects {
            if let Value::Object(object) = object {
                self.objects.insert((kind, slug.to_owned(), kind.key(&object)), object);
            }
        }
    }

    /// Reads the active credentials of these agents, each with its organization's slug and its address.
    pub async fn read_credentials(
        &mut self,
        connection: &Connection,
        agents: BTreeSet<(String, String)>,
    ) -> Result<(), Failure> {
        let issuers: HashMap<String, String> = self
            .objects
            .iter()
            .filter(|((kind, ..), _)| *kind == Kind::TrustedIssuer)
            .map(|((_, _, url), issuer)| {
                (issuer["issuerId"].as_str().unwrap_or_default().to_owned(), url.clone())
            })
            .collect();
        let known = agents.into_iter().filter_map(|(slug, email)| {
            let id = self.id(Kind::Agent, &slug, &email)?.to_owned();
            Some((slug, email, id))
        });
        let known: Vec<_> = known.collect();
        let read = stream::iter(known).map(async |(slug, email, id)| {
            let query = vec![("status".to_owned(), "active".to_owned())];
            let request = Request { query, ..Request::get(format!("/api/v1/agents/{id}/credentials")) };
            pages::all(connection, &request, 100).await.map(|all| (slug, email, all))
        });
        let read: Vec<_> = read.buffer_unordered(AT_ONCE).try_collect().await?;
        for (slug, email, credentials) in read {
            for credential in credentials {
                let Value::Object(mut object) = credential else { continue };
                let kind = match object["type"].as_str() {
                    Some("federated") => Kind::FederatedCredential,
                    Some("public_key") => Kind::PublicKey,
                    _ => continue,
                };
                let issuer = object.get("issuerId").and_then(Value::as_str).and_then(|id| issuers.get(id));
                object.insert("agent".to_owned(), email.clone().into());
                if let Some(url) = issuer {
                    object.insert("issuer".to_owned(), url.clone().into());
                }
                self.objects.insert((kind, slug.clone(), kind.key(&object)), object);
            }
        }
        Ok(())
    }

    /// Returns the addresses of all agents by ID; `None` for those that are decommissioned, which can act for none.
    pub fn addresses<'a>(&'a self) -> HashMap<&'a str, Option<&'a str>> {
        let agents = self.objects.iter().filter(|((kind, ..), _)| *kind == Kind::Agent);
        let entry = |((_, _, email), agent): (&'a Key, &'a Map<String, Value>)| {
            let is_gone = agent.get("status").is_some_and(|status| status == "decommissioned");
            Some((agent["agentId"].as_str()?, (!is_gone).then_some(email.as_str())))
        };
        agents.filter_map(entry).collect()
    }
}

/// Returns all agents of an organization. All pages but the first are read at the same time.
async fn agents(connection: &Connection, organization: &str) -> Result<Vec<Value>, Failure> {
    let page = async |number: u64| {
        let query = vec![
            ("organizationId".to_owned(), organization.to_owned()),
            ("limit".to_owned(), "100".to_owned()),
            ("page".to_owned(), number.to_string()),
        ];
        let answer = connection.call(&Request { query, ..Request::get("/api/v1/agents") }).await?;
        debug_assert_eq!(answer.status, StatusCode::OK);
        Ok::<_, Failure>(answer.body)
    };
    let first = page(1).await?;
    let pages = first["total"].as_u64().unwrap_or_default().div_ceil(100);
    let rest: Vec<Value> = stream::iter(2..=pages).map(page).buffer_unordered(AT_ONCE).try_collect().await?;
    let all = std::iter::once(first).chain(rest);
    Ok(all.flat_map(|body| body["data"].as_array().cloned().unwrap_or_default()).collect())
}
