"""OpenAPI Generator: generates a Python client from the document, and calls the API with it."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

document = Path(__file__).parents[3] / "openapi/openapi.json"
folder = tempfile.TemporaryDirectory()
generate = ["openapi-generator-cli", "generate", "--generator-name", "python", "--package-name", "agentidp"]
subprocess.run([*generate, "--input-spec", document, "--output", folder.name], check=True, timeout=120)
sys.path.insert(0, folder.name)

import agentidp
from agentidp.exceptions import ConflictException, ForbiddenException, UnauthorizedException

anonymous = agentidp.ApiClient(agentidp.Configuration(host=os.environ["ISSUER"]))
in_time = {"_request_timeout": 30.0}


def token(client_id, client_secret):
    tokens = agentidp.TokensApi(anonymous)
    return tokens.issue_token("client_credentials", client_id=client_id, client_secret=client_secret, **in_time)


issued = token(os.environ["ADMIN_ID"], os.environ["ADMIN_SECRET"])
configuration = agentidp.Configuration(host=os.environ["ISSUER"], access_token=issued.access_token)
client = agentidp.ApiClient(configuration)
agents = agentidp.AgentsApi(client)

new = agentidp.CreateAgentRequest(
    email="generated@example.com",
    agentType=agentidp.AgentType.ROUTER,
    version="1.0.0",
    capabilities=["tools:call"],
    owner="generated",
    deploymentEnv=agentidp.DeploymentEnv.STAGING,
)
agent = agents.register_agent(new, **in_time)
assert agent.status == agentidp.AgentStatus.ACTIVE, agent
credentials = agentidp.CredentialsApi(client)
credential = credentials.create_credential(agent.agent_id, agentidp.CreateCredentialRequest(), **in_time)
itself = agentidp.Configuration(
    host=os.environ["ISSUER"], username=str(agent.agent_id), password=credential.client_secret
)
by_basic = agentidp.TokensApi(agentidp.ApiClient(itself))
access_token = by_basic.issue_token("client_credentials", **in_time).access_token
about = agentidp.TokensApi(client).introspect_token(access_token, **in_time)
assert about.active and about.sub == str(agent.agent_id) and about.scope == "tools:call", about
try:
    by_basic.introspect_token(access_token, **in_time)
    raise AssertionError("the agent may not introspect tokens")
except ForbiddenException as refusal:
    assert refusal.data.actual_instance.code == "FORBIDDEN", refusal

listing = agents.list_agents(owner="generated", agent_type=agentidp.AgentType.ROUTER, **in_time)
assert [found.agent_id for found in listing.data] == [agent.agent_id] and listing.total == 1, listing

events, cursor, audit = [], None, agentidp.AuditApi(client)
while not events or cursor:
    page = audit.list_audit_events(limit=1, action=agentidp.AuditAction.AGENT_DOT_CREATED, cursor=cursor, **in_time)
    events += page.data
    cursor = page.next_cursor
assert events[0].resource.id == agent.agent_id, events[0]
assert len({event.event_id for event in events}) == len(events) > 1, events

try:
    agents.register_agent(new, **in_time)
    raise AssertionError("the address is taken")
except ConflictException as taken:
    assert isinstance(taken.data, agentidp.ApiError), taken
    assert taken.data.code == "AGENT_ALREADY_EXISTS", taken.data
    assert taken.data.details["agentId"] == str(agent.agent_id), taken.data
try:
    token(str(agent.agent_id), "wrong")
    raise AssertionError("the secret is wrong")
except UnauthorizedException as wrong:
    assert isinstance(wrong.data.actual_instance, agentidp.OAuthError), wrong
    assert wrong.data.actual_instance.error == "invalid_client", wrong
