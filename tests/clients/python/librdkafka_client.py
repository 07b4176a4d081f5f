"""librdkafka: gets its token by itself, and can name neither a resource nor an audience."""

import base64
import json
import os
import time

import requests
from confluent_kafka import Producer

base = os.environ["ISSUER"].rstrip("/")
metadata = requests.get(base + "/.well-known/oauth-authorization-server", timeout=30).json()


def token(client, secret, **parameters):
    form = {"grant_type": "client_credentials", **parameters}
    answer = requests.post(metadata["token_endpoint"], data=form, auth=(client, secret), timeout=30)
    assert answer.ok, answer.text
    return answer.json()["access_token"]


admin = token(os.environ["ADMIN_ID"], os.environ["ADMIN_SECRET"])
api = metadata["token_endpoint"].removesuffix("/token")


def call(method, path, **arguments):
    headers = {"Authorization": f"Bearer {admin}"}
    answer = requests.request(method, f"{api}/{path}", headers=headers, timeout=30, **arguments)
    assert answer.ok, answer.text
    return answer.json()


agent = call("GET", f"agents/{os.environ['CLIENT_ID']}")
call("PATCH", f"organizations/{agent['organizationId']}", json={"resources": [os.environ["RESOURCE"], "kafka"]})
call("PATCH", f"agents/{agent['agentId']}", json={"defaultResource": "kafka"})

failures = []
producer = Producer(
    {
        # No broker is needed: the token is fetched before any connection.
        "bootstrap.servers": "127.0.0.1:1",
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanisms": "OAUTHBEARER",
        "sasl.oauthbearer.method": "oidc",
        "sasl.oauthbearer.client.id": os.environ["CLIENT_ID"],
        "sasl.oauthbearer.client.secret": os.environ["CLIENT_SECRET"],
        "sasl.oauthbearer.token.endpoint.url": metadata["token_endpoint"],
        "sasl.oauthbearer.scope": "tools:call",
        "error_cb": lambda error: failures.append(str(error)),
    }
)
query = {"agentId": agent["agentId"], "action": "token.issued"}
deadline = time.monotonic() + 60
while not (events := call("GET", "audit", params=query)["data"]):
    assert time.monotonic() < deadline, failures
    producer.poll(0.1)
assert events[0]["metadata"]["resource"] == "kafka", events
# It would say so if it could not read the token.
producer.poll(1)
assert not any("OAUTHBEARER" in failure or "token" in failure.lower() for failure in failures), failures

claims = token(os.environ["CLIENT_ID"], os.environ["CLIENT_SECRET"]).split(".")[1]
claims = json.loads(base64.urlsafe_b64decode(claims + "=="))
assert claims["aud"] == "kafka", claims
