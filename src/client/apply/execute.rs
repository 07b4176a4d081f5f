//! Takes the steps of a plan.

use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::pin::pin;
use std::sync::{Mutex, PoisonError};

use futures_util::future::{self, Either};
use futures_util::{StreamExt as _, stream};
use indicatif::{ProgressBar, ProgressDrawTarget};
use reqwest::Method;
use serde_json::{Map, Value};

use super::current::{AT_ONCE, Current, Key};
use super::kinds::{self, Kind, address, naming_field};
use super::plan::{Change, Step};
use crate::connection::{Connection, Request};
use crate::failure::{Exit, Failure};
use crate::organization::is_address;
use crate::output::note;

/// IDs of the objects that there are, as they are made.
struct Ids {
    organizations: Mutex<HashMap<String, String>>,
    objects: Mutex<HashMap<Key, String>>,
}

impl Ids {
    fn of(current: &Current) -> Self {
        let ids = current
            .objects
            .iter()
            .filter_map(|(key, object)| Some((key.clone(), object.get(key.0.id())?.as_str()?.to_owned())));
        Self { organizations: current.organizations.clone().into(), objects: Mutex::new(ids.collect()) }
    }

    fn add(&self, step: &Step, made: &Value) {
        let Some(id) = made[step.kind.id()].as_str() else { return };
        if step.kind == Kind::Organization {
            let mut known = self.organizations.lock().unwrap_or_else(PoisonError::into_inner);
            known.insert(step.key.clone(), id.to_owned());
        }
        let key = (step.kind, step.organization.clone(), step.key.clone());
        self.objects.lock().unwrap_or_else(PoisonError::into_inner).insert(key, id.to_owned());
    }

    fn id(&self, kind: Kind, organization: &str, key: &str) -> Result<String, Failure> {
        let known = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        let id = known.get(&(kind, organization.to_owned(), key.to_owned())).cloned();
        id.ok_or_else(|| Failure::refused(format!("there is no {} {key}", kind.name())))
    }

    /// Returns the request of a step.
    fn request(&self, step: &Step) -> Result<Request, Failure> {
        let mut body = step.fields.clone();
        self.resolve(step, &mut body)?;
        let organization = step.organization.as_str();
        if step.change != Change::Create {
            let id = self.id(step.kind, organization, &step.key)?;
            let collection = match step.kind {
                Kind::Organization => "organizations",
                Kind::TrustedIssuer => "issuers",
                _ => "agents",
            };
            let path = format!("/api/v1/{collection}/{id}");
            let (method, body) = match step.change {
                Change::Decommission => (Method::DELETE, None),
                _ => (Method::PATCH, Some(Value::Object(body))),
            };
            return Ok(Request { method: Some(method), body, ..Request::get(path) });
        }
        let known = self.organizations.lock().unwrap_or_else(PoisonError::into_inner);
        if !organization.is_empty()
            && !step.kind.is_credential()
            && let Some(id) = known.get(organization)
        {
            body.insert("organizationId".to_owned(), id.clone().into());
        }
        drop(known);
        let path = match step.kind {
            Kind::Organization => "/api/v1/organizations".to_owned(),
            Kind::TrustedIssuer => "/api/v1/issuers".to_owned(),
            Kind::Agent => "/api/v1/agents".to_owned(),
            Kind::FederatedCredential | Kind::PublicKey => {
                let email = body.shift_remove("agent");
                let email = address(email.as_ref().and_then(Value::as_str).unwrap_or_default());
                format!("/api/v1/agents/{}/credentials", self.id(Kind::Agent, organization, &email)?)
            }
        };
        if step.kind.is_credential() {
            let kind = if step.kind == Kind::PublicKey { "public_key" } else { "federated" };
            body.insert("type".to_owned(), kind.into());
        }
        Ok(Request { body: Some(Value::Object(body)), ..Request::post(path) })
    }

    /// Replaces references by IDs.
    fn resolve(&self, step: &Step, body: &mut Map<String, Value>) -> Result<(), Failure> {
        let organization = step.organization.as_str();
        if step.kind == Kind::FederatedCredential
            && let Some(Value::String(url)) = body.shift_remove("issuer")
        {
            body.insert("issuerId".to_owned(), self.id(Kind::TrustedIssuer, organization, &url)?.into());
        }
        let actors = naming_field(step.kind, body).and_then(|field| kinds::actors(body, field));
        for actor in actors.into_iter().flatten() {
            if let Some(email) = actor.as_str().filter(|actor| is_address(actor)) {
                *actor = self.id(Kind::Agent, organization, &address(email))?.into();
            }
        }
        Ok(())
    }
}

/// Takes all steps, phase by phase. After a refusal, no further step is begun, and what was done is printed. An
/// interruption (Ctrl-C) is not delayed by steps that are under way.
pub async fn execute(connection: &Connection, current: &Current, steps: &[Step]) -> Result<(), Failure> {
    let ids = Ids::of(current);
    let bar = ProgressBar::new(steps.len() as u64);
    if !std::io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let mut done = vec![false; steps.len()];
    let mut refusals: Vec<(usize, Failure)> = Vec::new();
    let mut begin = 0;
    let mut interrupt = pin!(interruption());
    while begin < steps.len() && refusals.is_empty() {
        let phase = steps[begin].phase;
        let end = begin + steps[begin..].iter().take_while(|step| step.phase == phase).count();
        let ids = &ids;
        let take = async |place: usize| {
            let outcome = match ids.request(&steps[place]) {
                Ok(request) => connection.call(&request).await,
                Err(failure) => Err(failure),
            };
            (place, outcome.map(|answer| answer.body))
        };
        // Steps that are under way when one is refused are waited for.
        let mut places = begin..end;
        let mut running = stream::FuturesUnordered::new();
        running.extend(places.by_ref().take(AT_ONCE).map(take));
        loop {
            let (place, outcome) = match future::select(running.next(), interrupt.as_mut()).await {
                Either::Left((Some(taken), _)) => taken,
                Either::Left((None, _)) => break,
                Either::Right(_) => {
                    bar.finish_and_clear();
                    let outcome = report(steps, &done);
                    let message =
                        format!("interrupted. {outcome}; up to {} more may have been made", running.len());
                    return Err(Failure { message, ..Failure::silent(Exit::Interrupted) });
                }
            };
            match outcome {
                Ok(made) => {
                    ids.add(&steps[place], &made);
                    done[place] = true;
                    bar.inc(1);
                }
                Err(failure) => refusals.push((place, failure)),
            }
            if refusals.is_empty() {
                running.extend(places.next().map(take));
            }
        }
        begin = end;
    }
    bar.finish_and_clear();
    if refusals.is_empty() {
        return Ok(());
    }
    let outcome = report(steps, &done);
    let lines = refusals.iter().map(|(place, failure)| {
        let step = &steps[*place];
        format!("{}: {}: {}\n", step.place, step.object(), failure.message)
    });
    let message = lines.collect::<String>() + &outcome;
    let unreachable = refusals.iter().find(|(_, failure)| failure.exit == Exit::Unreachable);
    let (_, worst) = unreachable.unwrap_or(&refusals[0]);
    Err(Failure { message, ..worst.clone() })
}

/// Waits for Ctrl-C; forever where the system does not report it, because it then ends the program itself.
async fn interruption() {
    if tokio::signal::ctrl_c().await.is_err() {
        future::pending::<()>().await;
    }
}

/// Prints the steps that were taken and those that were not, and returns their number in words.
fn report(steps: &[Step], done: &[bool]) -> String {
    for (step, is_done) in steps.iter().zip(done) {
        let word = if *is_done { "done    " } else { "not done" };
        let what = match step.change {
            Change::Create => "create",
            Change::Update => "change",
            Change::Decommission => "decommission",
        };
        note(&format!("{word}  {what} {} ({})", step.object(), step.place));
    }
    let count = done.iter().filter(|is_done| **is_done).count();
    format!("{count} of {} changes were made; run the command again to make the rest", steps.len())
}
