"""pyoidc: discovery by its OpenID client, and a token by its OAuth client."""

import os

from oic.oauth2 import Client as OAuthClient
from oic.oauth2.message import AccessTokenResponse, CCAccessTokenRequest
from oic.oic import Client
from oic.utils.authn.client import CLIENT_AUTHN_METHOD

issuer, client, secret = (os.environ[name] for name in ("ISSUER", "CLIENT_ID", "CLIENT_SECRET"))

provider = Client(client_authn_method=CLIENT_AUTHN_METHOD)
found = provider.provider_config(issuer)
assert found["issuer"] == issuer, found

library = OAuthClient(client_id=client, client_authn_method=CLIENT_AUTHN_METHOD)
library.client_secret = secret
for method in ("client_secret_basic", "client_secret_post"):
    answer = library.do_any(
        request=CCAccessTokenRequest,
        endpoint=found["token_endpoint"],
        response=AccessTokenResponse,
        method="POST",
        authn_method=method,
        request_args={"grant_type": "client_credentials"},
        body_type="json",
    )
    assert answer["token_type"] == "Bearer", answer
