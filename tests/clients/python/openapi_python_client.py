"""openapi-python-client: generates a client from the document, and calls the API with it."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

document = Path(__file__).parents[3] / "openapi/openapi.json"
folder = tempfile.TemporaryDirectory()
generate = ["openapi-python-client", "generate", "--fail-on-warning", "--meta", "none"]
subprocess.run([*generate, "--path", document, "--output-path", f"{folder.name}/agentidp"], check=True, timeout=120)
sys.path.insert(0, folder.name)

from agentidp import AuthenticatedClient, Client
from agentidp.api.agents import list_agents, register_agent
from agentidp.api.audit import list_audit_events
from agentidp.api.credentials import create_credential
from agentidp.api.tokens import introspect_token, issue_token
from agentidp.models import (
    AgentType,
    ApiError,
    AuditAction,
    CreateAgentRequest,
    CreateCredentialRequest,
    DeploymentEnv,
    IntrospectionForm,
    OAuthError,
    TokenForm,
    TokenFormGrantType,
)
from agentidp.types import UNSET

anonymous = Client(base_url=os.environ["ISSUER"], timeout=30, raise_on_unexpected_status=True)


def token(client_id, client_secret):
    form = TokenForm(grant_type=TokenFormGrantType.CLIENT_CREDENTIALS, client_id=client_id, client_secret=client_secret)
    return issue_token.sync(client=anonymous, body=form)


issued = token(os.environ["ADMIN_ID"], os.environ["ADMIN_SECRET"])
client = AuthenticatedClient(
    base_url=os.environ["ISSUER"], timeout=30, raise_on_unexpected_status=True, token=issued.access_token
)

new = CreateAgentRequest(
    email="generated@example.com",
    agent_type=AgentType.ROUTER,
    version="1.0.0",
    capabilities=["tools:call"],
    owner="generated",
    deployment_env=DeploymentEnv.STAGING,
)
agent = register_agent.sync(client=client, body=new)
assert agent.status.value == "active", agent
credential = create_credential.sync(agent.agent_id, client=client, body=CreateCredentialRequest())
access_token = token(str(agent.agent_id), credential.client_secret).access_token
form = IntrospectionForm(token=access_token)
about = introspect_token.sync(client=client, body=form)
assert about.active and about.sub == str(agent.agent_id) and about.scope == "tools:call", about
form.client_id, form.client_secret = str(agent.agent_id), credential.client_secret
refusal = introspect_token.sync(client=anonymous, body=form)
assert isinstance(refusal, ApiError) and refusal.code == "FORBIDDEN", refusal

listing = list_agents.sync(client=client, owner="generated", agent_type=AgentType.ROUTER)
assert [found.agent_id for found in listing.data] == [agent.agent_id] and listing.total == 1, listing

events, cursor = [], UNSET
while cursor is not None:
    page = list_audit_events.sync(client=client, limit=1, action=AuditAction.AGENT_CREATED, cursor=cursor)
    events += page.data
    cursor = page.next_cursor
assert events[0].resource.id == agent.agent_id, events[0]
assert len({event.event_id for event in events}) == len(events) > 1, events

taken = register_agent.sync_detailed(client=client, body=new)
assert taken.status_code == 409 and isinstance(taken.parsed, ApiError), taken
assert taken.parsed.code == "AGENT_ALREADY_EXISTS", taken.parsed
assert taken.parsed.details["agentId"] == str(agent.agent_id), taken.parsed
wrong = token(str(agent.agent_id), "wrong")
assert isinstance(wrong, OAuthError) and wrong.error == "invalid_client", wrong
