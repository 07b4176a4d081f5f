"""FastMCP protects a server with tokens of this service; its client and the MCP SDK's get them by themselves.

The argument says how FastMCP checks a token: `offline` by the published keys, or `online` by introspection.
"""

import asyncio
import os
import sys
from urllib.parse import urlsplit

import httpx2
from fastmcp import Client, FastMCP
from fastmcp.client.auth import ClientCredentialsOAuthProvider
from fastmcp.server.auth import RemoteAuthProvider
from fastmcp.server.auth.providers.introspection import IntrospectionTokenVerifier
from fastmcp.server.auth.providers.jwt import JWTVerifier
from mcp import ClientSession
from mcp.client.auth.extensions import client_credentials as sdk
from mcp.client.streamable_http import streamable_http_client
from pydantic import AnyHttpUrl

issuer, client, secret, resource = (
    os.environ[name] for name in ("ISSUER", "CLIENT_ID", "CLIENT_SECRET", "RESOURCE")
)
base = issuer.rstrip("/")
server = urlsplit(resource)

verifiers = {
    "offline": JWTVerifier(
        jwks_uri=base + "/.well-known/jwks.json",
        issuer=issuer,
        audience=resource,
        algorithm="RS256",
        required_scopes=["tools:call"],
    ),
    "online": IntrospectionTokenVerifier(
        introspection_url=base + "/api/v1/token/introspect",
        client_id=client,
        client_secret=secret,
        audience=resource,
        required_scopes=["tools:call"],
    ),
}


class Storage:
    """Keeps the SDK's tokens in memory."""

    tokens = None
    info = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.info

    async def set_client_info(self, info):
        self.info = info


def sdk_providers():
    for method in ("client_secret_basic", "client_secret_post"):
        yield sdk.ClientCredentialsOAuthProvider(
            resource, Storage(), client, secret, token_endpoint_auth_method=method, issuer=issuer
        )
    key = open(os.environ["CLIENT_KEY"]).read()
    signed = sdk.SignedJWTParameters(issuer=client, subject=client, signing_key=key)
    yield sdk.PrivateKeyJWTOAuthProvider(
        resource, Storage(), client, signed.create_assertion_provider(), issuer=issuer
    )


async def until_listening():
    while True:
        try:
            _, writer = await asyncio.open_connection(server.hostname, server.port)
            writer.close()
            return
        except OSError:
            await asyncio.sleep(0.02)


async def call_everything(verifier):
    auth = RemoteAuthProvider(
        token_verifier=verifier,
        authorization_servers=[AnyHttpUrl(issuer)],
        base_url=f"{server.scheme}://{server.netloc}",
    )
    mcp = FastMCP("adder", auth=auth)

    @mcp.tool
    def add(a: int, b: int) -> int:
        return a + b

    running = asyncio.create_task(
        mcp.run_http_async(
            show_banner=False, host=server.hostname, port=server.port, path=server.path, log_level="warning"
        )
    )
    try:
        await until_listening()
        async with httpx2.AsyncClient() as http:
            assert (await http.post(resource, json={})).status_code == 401
        provider = ClientCredentialsOAuthProvider(client_id=client, client_secret=secret, issuer=issuer)
        async with Client(resource, auth=provider) as library:
            assert (await library.call_tool("add", {"a": 1, "b": 2})).data == 3
        for provider in sdk_providers():
            async with httpx2.AsyncClient(auth=provider, follow_redirects=True) as http:
                async with streamable_http_client(resource, http_client=http) as streams:
                    async with ClientSession(streams[0], streams[1]) as session:
                        await session.initialize()
                        result = await session.call_tool("add", {"a": 1, "b": 2})
                        assert not result.is_error, result
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def main():
    async with asyncio.timeout(120):
        await call_everything(verifiers[sys.argv[1]])


asyncio.run(main())
