"""Authlib: token exchange. It makes no proofs of possession."""

import os

import requests
from authlib.integrations.requests_client import OAuth2Session

names = ("ISSUER", "CLIENT_ID", "CLIENT_SECRET", "ADMIN_ID", "ADMIN_SECRET")
issuer, client, secret, admin_id, admin_secret = (os.environ[name] for name in names)
api = issuer.rstrip("/") + "/api/v1"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"

admin = OAuth2Session(admin_id, admin_secret)
admin.fetch_token(api + "/token", grant_type="client_credentials")
organization = admin.get(f"{api}/agents/{client}").json()["organizationId"]
actor = admin.post(
    api + "/agents",
    json={
        "organizationId": organization,
        "email": "actor@example.com",
        "agentType": "custom",
        "version": "1.0.0",
        "capabilities": ["tools:call"],
        "owner": "tests",
        "deploymentEnv": "development",
    },
).json()["agentId"]
actor_secret = admin.post(f"{api}/agents/{actor}/credentials", json={}).json()["clientSecret"]
assert admin.patch(f"{api}/agents/{client}", json={"mayAct": [actor]}).ok

subject = OAuth2Session(client, secret)
subject.fetch_token(api + "/token", grant_type="client_credentials", scope="tools:call")
session = OAuth2Session(actor, actor_secret)
token = session.fetch_token(
    api + "/token",
    grant_type="urn:ietf:params:oauth:grant-type:token-exchange",
    subject_token=subject.token["access_token"],
    subject_token_type=ACCESS_TOKEN,
)
assert token["issued_token_type"] == ACCESS_TOKEN, token
assert token["scope"] == "tools:call", token
about = subject.introspect_token(api + "/token/introspect", token["access_token"]).json()
assert about["sub"] == client and about["act"] == {"sub": actor}, about
# The subject revokes its own token, and with it the one that was exchanged from it.
assert subject.revoke_token(api + "/token/revoke", subject.token["access_token"]).ok
form = {"token": token["access_token"]}
about = requests.post(api + "/token/introspect", data=form, auth=(client, secret), timeout=30).json()
assert about == {"active": False}, about
