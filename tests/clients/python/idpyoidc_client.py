"""idpyoidc: discovery as OpenID and as OAuth client, and a token by the client credentials grant."""

import os

from idpyoidc.client.oauth2 import Client

issuer, client, secret = (os.environ[name] for name in ("ISSUER", "CLIENT_ID", "CLIENT_SECRET"))

for name, discovery in (
    ("provider_info", "idpyoidc.client.oidc.provider_info_discovery.ProviderInfoDiscovery"),
    ("server_metadata", "idpyoidc.client.oauth2.server_metadata.ServerMetadata"),
):
    for method in ("client_secret_basic", "client_secret_post"):
        library = Client(
            config={
                "client_id": client,
                "client_secret": secret,
                "issuer": issuer,
                "provider_info": {"issuer": issuer},
                "client_authn_methods": [method],
            },
            services={
                name: {"class": discovery},
                "client_credentials": {"class": "idpyoidc.client.oauth2.client_credentials.CCAccessTokenRequest"},
            },
        )
        found = library.do_request(name)
        assert found["issuer"] == issuer, found
        answer = library.do_request("client_credentials", authn_method=method)
        assert answer["token_type"] == "Bearer", answer
