"""Authlib: its validators of metadata, its client by every method, and its check of the token."""

import os

import requests
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata
from authlib.oidc.discovery import OpenIDProviderMetadata
from joserfc import jwt
from joserfc.jwk import KeySet

issuer, client, secret = (os.environ[name] for name in ("ISSUER", "CLIENT_ID", "CLIENT_SECRET"))
base = issuer.rstrip("/")

openid = requests.get(base + "/.well-known/openid-configuration", timeout=30).json()
OpenIDProviderMetadata(openid).validate()
AuthorizationServerMetadata(openid).validate()
keys = KeySet.import_key_set(requests.get(openid["jwks_uri"], timeout=30).json())


def check(token):
    claims = jwt.decode(token["access_token"], keys).claims
    jwt.JWTClaimsRegistry(iss={"essential": True, "value": issuer}).validate(claims)
    assert claims["sub"] == client, claims
    assert token["token_type"] == "Bearer", token


for method in ("client_secret_basic", "client_secret_post"):
    session = OAuth2Session(client, secret, token_endpoint_auth_method=method)
    check(session.fetch_token(openid["token_endpoint"], grant_type="client_credentials"))
    about = session.introspect_token(openid["introspection_endpoint"], session.token["access_token"])
    assert about.json()["active"] is True, about.text
    assert session.revoke_token(openid["revocation_endpoint"], session.token["access_token"]).ok
    about = session.introspect_token(openid["introspection_endpoint"], session.token["access_token"])
    assert about.json() == {"active": False}, about.text

session = OAuth2Session(client, open(os.environ["CLIENT_KEY"]).read(), token_endpoint_auth_method="private_key_jwt")
session.register_client_auth_method(PrivateKeyJWT(openid["token_endpoint"], claims={"aud": issuer}))
check(session.fetch_token(openid["token_endpoint"], grant_type="client_credentials"))
