//! Batched lookups of the status of tokens, and of agents.

use std::sync::Arc;

use uuid::Uuid;

use super::batcher::{BatchConnection, BatchHandler, Batcher, Batchers, Pending, Statements};
use super::lookup::{Answer, answer};
use super::revision_cache::{Found, RevisionCache};
use crate::pool::connect::Connector;
use crate::pool::statement::Parameter;
use crate::rows::codec::{column, number};
use crate::rows::issuers::rests_on;
use domain::agent::Agent;
use domain::delegation::digest_of;
use domain::id::{AgentId, IssuerId, TokenId};
use domain::token::{Claims, PersonStatus, TokenStatus};

const TOKEN_STATUS: &str = "\
-- token_store.status
SELECT asked.place, a.agent_id, a.revision AS agent_revision, a.updated_at AS agent_updated_at,
    o.organization_id, o.revision AS organization_revision, o.updated_at AS organization_updated_at,
    EXISTS (SELECT FROM token_revocations r WHERE r.token_id = asked.token_id) AS is_revoked,
    asked.issuers IS NULL OR issuers_hold(asked.issuers) AS issuers_hold
FROM unnest($1::uuid[], $2::uuid[], $3::text[]) WITH ORDINALITY AS asked (agent_id, token_id, issuers, place)
JOIN agents a ON a.agent_id = asked.agent_id
JOIN organizations o ON o.organization_id = a.organization_id";

/// Status of tokens of which some were obtained by exchange: in the row of a token's client, and in one row for each other
/// agent of its chain.
const STATUS_OF_DELEGATED: &str = "\
-- token_store.status_of_delegated
SELECT asked.place, a.agent_id, a.revision AS agent_revision, a.updated_at AS agent_updated_at,
    o.organization_id, o.revision AS organization_revision, o.updated_at AS organization_updated_at,
    EXISTS (SELECT FROM token_revocations r WHERE r.token_id = ANY (asked.token_ids::uuid[])) AS is_revoked,
    asked.issuers IS NULL OR issuers_hold(asked.issuers) AS issuers_hold,
    i.issuer_id AS trusted_issuer_id, i.revision AS issuer_revision, i.updated_at AS issuer_updated_at,
    COALESCE(g.generation, 0) AS person_generation
FROM unnest($1::bigint[], $2::uuid[], $3::text[], $4::text[], $5::uuid[], $6::bytea[])
    AS asked (place, agent_id, token_ids, issuers, issuer_id, digest)
JOIN agents a ON a.agent_id = asked.agent_id
JOIN organizations o ON o.organization_id = a.organization_id
LEFT JOIN trusted_issuers i ON i.issuer_id = asked.issuer_id
LEFT JOIN person_generations g ON g.issuer_id = asked.issuer_id AND g.digest = asked.digest";

/// Handle that submits questions about tokens.
pub struct TokenStatusBatch(Batcher<StatusQuestion, Answer<TokenStatus>>);

impl TokenStatusBatch {
    pub fn new(connector: &Connector, batchers: &Batchers, kept: RevisionCache) -> Self {
        let statements = Statements::new(TOKEN_STATUS, STATUS_OF_DELEGATED);
        Self(Batcher::new(connector, batchers, statements, TokenStatuses(kept)))
    }

    /// Returns the current status of the token with these claims; `None` if its agent is unknown.
    pub async fn status(&self, claims: &Claims) -> Answer<TokenStatus> {
        self.0.ask(StatusQuestion::of_token(claims)).await?
    }

    /// Returns the agent with this ID; `None` if it is unknown.
    pub async fn agent(&self, id: AgentId) -> Answer<Arc<Agent>> {
        Ok(self.0.ask(StatusQuestion::of_agent(id)).await??.map(|status| status.agent))
    }
}

/// A question about an agent, or about one of its tokens.
struct StatusQuestion {
    agent: AgentId,
    token: Option<TokenId>,
    /// Issuers that the token rests on, as [`rests_on`] writes them.
    issuers: Option<String>,
    chain: Option<Box<ChainQuestion>>,
}

/// The rest of a question about a token that was obtained by exchange.
struct ChainQuestion {
    other_agents: Vec<AgentId>,
    parents: Vec<TokenId>,
    person: Option<(IssuerId, [u8; 32])>,
}

impl StatusQuestion {
    fn of_token(claims: &Claims) -> Self {
        let chain = claims.delegation.as_ref().map(|delegation| {
            Box::new(ChainQuestion {
                other_agents: claims.other_agents().collect(),
                parents: delegation.parents.clone(),
                person: claims.person().map(|person| (person.issuer, digest_of(&person.sub))),
            })
        });
        Self { agent: claims.agent, token: Some(claims.id), issuers: rests_on(&claims.issuers), chain }
    }

    const fn of_agent(agent: AgentId) -> Self {
        Self { agent, token: None, issuers: None, chain: None }
    }

    /// Returns the token and its ancestors as the text of an array.
    fn token_ids(&self) -> Option<String> {
        let parents = self.chain.as_ref().map_or(&[][..], |chain| &chain.parents);
        let ids: Vec<String> = self.token.iter().chain(parents).map(ToString::to_string).collect();
        (!ids.is_empty()).then(|| format!("{{{}}}", ids.join(",")))
    }
}

/// The parameters of [`STATUS_OF_DELEGATED`], one vector per column.
#[derive(Default)]
struct ChainColumns {
    places: Vec<i64>,
    agents: Vec<Uuid>,
    token_ids: Vec<Option<String>>,
    issuers: Vec<Option<String>>,
    issuer_ids: Vec<Option<Uuid>>,
    digests: Vec<Option<Vec<u8>>>,
}

impl ChainColumns {
    fn of<'a>(questions: impl Iterator<Item = &'a StatusQuestion>) -> Self {
        let mut columns = Self::default();
        for (question, place) in questions.zip(1..) {
            columns.push(place, question.agent, Some(question));
            for other in question.chain.iter().flat_map(|chain| &chain.other_agents) {
                columns.push(place, *other, None);
            }
        }
        columns
    }

    /// Adds the row of an agent: of the token's client with the question, of another agent without.
    fn push(&mut self, place: i64, agent: AgentId, question: Option<&StatusQuestion>) {
        let chain = question.and_then(|question| question.chain.as_ref());
        let person = chain.and_then(|chain| chain.person);
        self.places.push(place);
        self.agents.push(agent.0);
        self.token_ids.push(question.and_then(StatusQuestion::token_ids));
        self.issuers.push(question.and_then(|question| question.issuers.clone()));
        self.issuer_ids.push(person.map(|(issuer, _)| issuer.0));
        self.digests.push(person.map(|(_, digest)| digest.to_vec()));
    }

    fn parameters(&self) -> [Parameter<'_>; 6] {
        [&self.places, &self.agents, &self.token_ids, &self.issuers, &self.issuer_ids, &self.digests]
    }
}

struct TokenStatuses(RevisionCache);

impl BatchHandler<StatusQuestion, Answer<TokenStatus>> for TokenStatuses {
    async fn serve(
        &mut self,
        connection: &mut BatchConnection,
        batch: Vec<Pending<StatusQuestion, Answer<TokenStatus>>>,
    ) {
        let questions = || batch.iter().map(|(question, _)| question);
        let look = async {
            let rows = if questions().any(|question| question.chain.is_some()) {
                connection.read_full(&ChainColumns::of(questions()).parameters()).await?
            } else {
                let agents: Vec<Uuid> = questions().map(|question| question.agent.0).collect();
                let tokens: Vec<Option<Uuid>> =
                    questions().map(|question| question.token.map(|id| id.0)).collect();
                let issuers: Vec<Option<&str>> =
                    questions().map(|question| question.issuers.as_deref()).collect();
                connection.read(&[&agents, &tokens, &issuers]).await?
            };
            let persons = self.0.issuers(connection, &rows).await?;
            let mut statuses: Vec<Option<TokenStatus>> = vec![None; batch.len()];
            let mut other_agents = Vec::new();
            for (row, found) in rows.iter().zip(self.0.resolve(connection, &rows).await?) {
                let Found { place, agent, organization } = found;
                let Some((question, _)) = batch.get(place) else { continue };
                if agent.id != question.agent {
                    other_agents.push((place, agent));
                    continue;
                }
                let issuer = match &question.chain {
                    Some(_) => column::<Option<Uuid>>(row, "trusted_issuer_id")?,
                    None => None,
                };
                let person = match issuer.and_then(|issuer| persons.get(&issuer)) {
                    Some(issuer) => Some(PersonStatus {
                        issuer: issuer.clone(),
                        generation: number(row, "person_generation")?,
                    }),
                    None => None,
                };
                statuses[place] = Some(TokenStatus {
                    agent,
                    organization,
                    is_revoked: column(row, "is_revoked")?,
                    issuers_hold: column(row, "issuers_hold")?,
                    other_agents: Vec::new(),
                    person,
                });
            }
            for (place, agent) in other_agents {
                if let Some(status) = &mut statuses[place] {
                    status.other_agents.push(agent);
                }
            }
            Ok(statuses)
        };
        answer(look.await, batch);
    }
}
