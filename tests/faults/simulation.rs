//! Random orders of calls: two cores on one set of stores, with time and faults chosen at random.
//!
//! There is no process, no network and no real clock: thousands of runs a minute, each repeatable by its
//! seed. The histories are checked against the same rules as those of real processes.

use std::sync::{Arc, LazyLock};

use agentidp::adapters::crypto::generate_pem;
use agentidp::adapters::memory::{Memory, MemoryRateLimiter};
use agentidp::app::agents::{AgentsError, NewAgent};
use agentidp::app::bearer::{BearerError, PresentedToken};
use agentidp::app::bootstrap::Administrator;
use agentidp::app::caller::Caller;
use agentidp::app::client_auth::PresentedCredentials;
use agentidp::app::credentials::{NewCredential, NewCredentialKind};
use agentidp::app::organizations::{NewOrganization, OrganizationsError};
use agentidp::app::request_context::RequestContext;
use agentidp::app::token::TokenRequest;
use agentidp::app::{App, Stores};
use agentidp::domain::agent::{AgentChange, AgentType, DeploymentEnv, Email, Owner, Version};
use agentidp::domain::audit::Origin;
use agentidp::domain::id::{AgentId, OrganizationId};
use agentidp::domain::jwk::KeyType;
use agentidp::domain::may_act::MayAct;
use agentidp::domain::organization::{Name, OrganizationChange, OrganizationStatus, Slug};
use agentidp::domain::plan::{LimitOverrides, Plan};
use agentidp::domain::proof::ProofRequirement;
use agentidp::domain::scope::Scopes;
use agentidp::domain::time::Timestamp;
use agentidp::ports::clock::Clock;
use testing::{PlainHasher, plain_core, plain_ports, presented};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::checker;
use crate::faulty::Faulty;
use crate::fleet::id_of;
use crate::history::{self, Answer, Line, Operation, Subject, Token};
use crate::pace::Rng;
use crate::report::{Report, Setting};

/// Number of concurrent workers, and of operations of each.
const WORKERS: usize = 4;
const ACTIONS: usize = 25;
/// 2026-01-15T12:00:00Z, in milliseconds since the epoch.
const NOON: i64 = 1_768_478_400_000;

static KEY: LazyLock<String> = LazyLock::new(|| generate_pem(KeyType::Ed25519).expect("a key"));

/// Seeds that once found a violation, one per line, each followed by what it found. Add new ones there.
const KEPT: &str = include_str!("seeds.txt");

/// Runs the kept seeds, and then consecutive seeds until the time is over.
/// Each failing seed is named. Its history is written, and so is that of the first run.
pub async fn run(setting: &Setting) -> Report {
    let (first, time, folder) = (setting.seed, setting.time, setting.folder.clone());
    let working = tokio::task::spawn_blocking(move || {
        let begun = std::time::Instant::now();
        let mut report = Report::default();
        let mut runs = 0;
        let (mut answers, mut failed) = (0, 0);
        let others = (0..).map(|after| first.wrapping_add(after)).take_while(|_| begun.elapsed() < time);
        for seed in kept().chain(others) {
            runs += 1;
            let lines = one(seed);
            answers += lines.len();
            failed += lines.iter().filter(|line| matches!(line.answer, Answer::Unknown)).count();
            let violations = checker::violations(&lines);
            if runs == 1 || !violations.is_empty() {
                history::write(&lines, &folder.join(format!("{seed}.jsonl")));
            }
            report
                .violations
                .extend(violations.into_iter().map(|violation| format!("seed {seed}: {violation}")));
        }
        report.figure("seeds", runs);
        report.figure("answers", answers);
        report.figure("of which the outcome is unknown", failed);
        report.figure("violations", report.violations.len());
        report
    });
    working.await.expect("no panic")
}

fn kept() -> impl Iterator<Item = u64> {
    let lines = KEPT.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split_whitespace().next().and_then(|seed| seed.parse().ok()).expect("a seed"))
}

/// Runs one seed.
fn one(seed: u64) -> Vec<Line> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(async {
        let mut rng = Rng::new(seed);
        let clock = Arc::new(VirtualClock(Instant::now()));
        let limiter = Arc::new(MemoryRateLimiter::new(clock.clone()));
        let stores = Stores::of(&Arc::new(Memory::default()), limiter);
        let calm = plain_core(&plain_ports(Arc::new(PlainHasher), &stores, clock.clone(), &KEY));
        let administrator = calm.bootstrap.first_administrator().await.expect("the first");
        let admin = caller(&calm, &administrator).await.expect("calm");
        let organization = calm.organizations.create(&admin, new_organization()).await.expect("made").id;
        let agent = calm.agents.register(&admin, new_agent(organization)).await.expect("made").id;
        let secret = NewCredential { kind: NewCredentialKind::Secret, expires_at: None };
        let made = calm.credentials.generate(&admin, agent, secret).await.expect("made");
        let client = presented(agent, &made.secret.expect("a secret"));
        let faulty = |_| {
            plain_core(&plain_ports(
                Arc::new(PlainHasher),
                &Faulty::of(&stores, rng.split()),
                clock.clone(),
                &KEY,
            ))
        };
        let instances = (0..2).map(faulty).collect();
        let world =
            Arc::new(SimulatedService { instances, administrator, client, agent, organization, clock });
        let mut workers = JoinSet::new();
        for _ in 0..WORKERS {
            let worker =
                Worker { world: world.clone(), rng: rng.split(), lines: Vec::new(), tokens: Vec::new() };
            workers.spawn(worker.work());
        }
        let mut lines = workers.join_all().await.concat();
        lines.sort_by_key(|line| line.start);
        lines
    })
}

struct VirtualClock(Instant);

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        let millis = i64::try_from(self.0.elapsed().as_millis()).expect("not that long");
        Timestamp::from_millis(NOON + millis)
    }
}

fn context() -> RequestContext {
    RequestContext::new(String::new(), Origin::NONE)
}

fn new_organization() -> NewOrganization {
    NewOrganization {
        name: Name::parse("Example").expect("a name"),
        slug: Slug::parse("example").expect("a slug"),
        plan: Plan::Enterprise,
        resources: Vec::new(),
        overrides: LimitOverrides::default(),
    }
}

fn new_agent(organization: OrganizationId) -> NewAgent {
    NewAgent {
        organization: Some(organization),
        email: Email::parse("agent@example.com").expect("an address"),
        agent_type: AgentType::Custom,
        version: Version::parse("1.0.0").expect("a version"),
        capabilities: Scopes::capabilities(&["agents:read"]).expect("capabilities"),
        owner: Owner::parse("tests").expect("an owner"),
        default_resource: None,
        may_act: MayAct::NONE,
        redelegation: false,
        dpop: ProofRequirement::Optional,
        deployment_env: DeploymentEnv::Development,
        managed_by: None,
    }
}

/// Authenticates the administrator; `None` if that fails at the moment.
async fn caller(app: &App, administrator: &Administrator) -> Option<Caller> {
    let presented = presented(administrator.client_id, &administrator.client_secret);
    app.clients.authenticate_caller(&context(), &presented).await.ok()
}

struct SimulatedService {
    instances: Vec<App>,
    administrator: Administrator,
    client: PresentedCredentials,
    /// Agent of the client, whose tokens are revoked and which is suspended and reactivated.
    agent: AgentId,
    organization: OrganizationId,
    clock: Arc<VirtualClock>,
}

struct Worker {
    world: Arc<SimulatedService>,
    rng: Rng,
    lines: Vec<Line>,
    tokens: Vec<Token>,
}

impl Worker {
    /// Runs all operations of this worker, and returns them with their outcomes.
    async fn work(mut self) -> Vec<Line> {
        for _ in 0..ACTIONS {
            let instance = self.rng.below(2);
            let world = self.world.clone();
            let app = &world.instances[instance];
            let agent = Subject::Agent(world.agent.to_string());
            let organization = Subject::Organization(world.organization.to_string());
            let start = world.clock.0.elapsed();
            let (operation, answer) = match self.rng.below(20) {
                0..6 => self.issue(app).await,
                6..12 => self.ask(app).await,
                12..14 => self.bear(app).await,
                14 => self.revoke(app).await,
                15 => (Operation::Kill(agent), self.change(app, Change::Kill).await),
                16 => (Operation::Suspend(agent), self.change(app, Change::Agent(false)).await),
                17 => (Operation::Reactivate(agent), self.change(app, Change::Agent(true)).await),
                18 if self.rng.below(2) == 0 => {
                    (Operation::Suspend(organization), self.change(app, Change::Organization(false)).await)
                }
                _ => {
                    (Operation::Reactivate(organization), self.change(app, Change::Organization(true)).await)
                }
            };
            let end = world.clock.0.elapsed();
            self.lines.push(Line { instance, operation, start, end, status: 0, answer });
        }
        self.lines
    }

    async fn issue(&mut self, app: &App) -> (Operation, Answer) {
        let request = TokenRequest {
            grant_type: Some("client_credentials".to_owned()),
            scope: Some("agents:read".to_owned()),
            ..TokenRequest::default()
        };
        let answer = match app.tokens.issue(&context(), &self.world.client, &request).await {
            Ok(issued) => {
                let text = issued.token.expose().to_owned();
                let token = Token {
                    issuer: None,
                    person: None,
                    parent: None,
                    id: id_of(&text),
                    agent: self.world.agent.to_string(),
                    organization: self.world.organization.to_string(),
                    text,
                };
                self.tokens.push(token.clone());
                Answer::Issued(token)
            }
            Err(_) => Answer::Unknown,
        };
        (Operation::Issue { agent: self.world.agent.to_string() }, answer)
    }

    /// Introspects one of the worker's tokens, as a resource server would.
    async fn ask(&mut self, app: &App) -> (Operation, Answer) {
        let Some(token) = self.token() else { return NOTHING };
        let Some(admin) = caller(app, &self.world.administrator).await else { return NOTHING };
        let answer = match app.introspection.introspect(&admin, &token.text).await {
            Ok(Some(_)) => Answer::Yes,
            Ok(None) => Answer::No,
            Err(_) => Answer::Unknown,
        };
        (Operation::Ask { token: token.id }, answer)
    }

    /// Uses one of the worker's tokens as a bearer token of this service.
    async fn bear(&mut self, app: &App) -> (Operation, Answer) {
        let Some(token) = self.token() else { return NOTHING };
        let answer =
            match app.bearer.authenticate(&context(), Some(PresentedToken::bearer(&token.text))).await {
                Ok(_) => Answer::Yes,
                Err(BearerError::Invalid) => Answer::No,
                Err(_) => Answer::Unknown,
            };
        (Operation::Ask { token: token.id }, answer)
    }

    async fn revoke(&mut self, app: &App) -> (Operation, Answer) {
        let Some(token) = self.token() else { return NOTHING };
        let Some(admin) = caller(app, &self.world.administrator).await else { return NOTHING };
        let answer = match app.revocation.revoke(&admin, &token.text).await {
            Ok(()) => Answer::Yes,
            Err(_) => Answer::Unknown,
        };
        (Operation::Kill(Subject::Token(token.id)), answer)
    }

    async fn change(&self, app: &App, change: Change) -> Answer {
        // A caller that could not authenticate has changed nothing.
        let Some(admin) = caller(app, &self.world.administrator).await else { return Answer::No };
        let agent = self.world.agent;
        match change {
            Change::Kill => answer_of_agent(&app.agents.revoke_tokens(&admin, agent).await),
            Change::Agent(is_active) => {
                let change = AgentChange { is_active: Some(is_active), ..AgentChange::default() };
                answer_of_agent(&app.agents.change(&admin, agent, change).await.map(drop))
            }
            Change::Organization(is_active) => {
                let status =
                    if is_active { OrganizationStatus::Active } else { OrganizationStatus::Suspended };
                let change = OrganizationChange { status: Some(status), ..OrganizationChange::default() };
                match app.organizations.change(&admin, self.world.organization, change).await {
                    Ok(_) => Answer::Yes,
                    Err(OrganizationsError::Store(_)) => Answer::Unknown,
                    Err(_) => Answer::No,
                }
            }
        }
    }

    fn token(&mut self) -> Option<Token> {
        let number = self.tokens.len();
        if number == 0 { None } else { self.tokens.get(self.rng.below(number)).cloned() }
    }
}

/// The changes to an agent or organization that tokens depend on.
enum Change {
    Kill,
    /// Reactivates the agent if true, or suspends it.
    Agent(bool),
    Organization(bool),
}

const NOTHING: (Operation, Answer) = (Operation::Other("nothing"), Answer::Unknown);

fn answer_of_agent(outcome: &Result<(), AgentsError>) -> Answer {
    match outcome {
        Ok(()) => Answer::Yes,
        Err(AgentsError::Store(_)) => Answer::Unknown,
        Err(_) => Answer::No,
    }
}
