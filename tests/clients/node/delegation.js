// oauth4webapi and openid-client: token exchange, with bearer tokens and with tokens that are bound to a key.

import assert from 'node:assert/strict'
import * as oauth from 'oauth4webapi'
import * as openid from 'openid-client'

const { ISSUER, CLIENT_ID, CLIENT_SECRET, ADMIN_ID, ADMIN_SECRET } = process.env
const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange'
const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token'
const api = ISSUER.replace(/\/$/, '') + '/api/v1'
const insecure = { [oauth.allowInsecureRequests]: true }

async function call (method, path, token, body) {
  const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' }
  const answer = await fetch(api + path, { method, headers, body: body && JSON.stringify(body) })
  assert.ok(answer.ok, `${path}: ${await answer.clone().text()}`)
  return answer.json()
}

const as = await oauth
  .discoveryRequest(new URL(ISSUER), { algorithm: 'oauth2', ...insecure })
  .then((response) => oauth.processDiscoveryResponse(new URL(ISSUER), response))
assert.ok(as.grant_types_supported.includes(EXCHANGE))
assert.ok(as.dpop_signing_alg_values_supported.includes('ES256'))

async function request (id, secret, grant, parameters, DPoP) {
  const client = { client_id: id }
  const send = oauth.genericTokenEndpointRequest(
    as, client, oauth.ClientSecretBasic(secret), grant, parameters, { DPoP, ...insecure })
  return oauth.processGenericTokenEndpointResponse(as, client, await send)
}

// A second agent of the client's organization, which may act for the client.
const admin = (await request(ADMIN_ID, ADMIN_SECRET, 'client_credentials', {})).access_token
const { organizationId } = await call('GET', `/agents/${CLIENT_ID}`, admin)
const actor = (await call('POST', '/agents', admin, {
  organizationId, email: 'actor@example.com', agentType: 'custom', version: '1.0.0',
  capabilities: ['tools:call', 'agents:read'], owner: 'tests', deploymentEnv: 'development'
})).agentId
const secret = (await call('POST', `/agents/${actor}/credentials`, admin, {})).clientSecret
await call('PATCH', `/agents/${CLIENT_ID}`, admin, { mayAct: [actor] })

async function introspect (token) {
  const response = oauth.introspectionRequest(
    as, { client_id: CLIENT_ID }, oauth.ClientSecretBasic(CLIENT_SECRET), token, insecure)
  return oauth.processIntrospectionResponse(as, { client_id: CLIENT_ID }, await response)
}

// oauth4webapi, with bearer tokens.
const subject = await request(CLIENT_ID, CLIENT_SECRET, 'client_credentials', { scope: 'tools:call' })
const exchanged = { subject_token: subject.access_token, subject_token_type: ACCESS_TOKEN, scope: 'tools:call' }
const delegated = await request(actor, secret, EXCHANGE, exchanged)
assert.equal(delegated.issued_token_type, ACCESS_TOKEN)
assert.equal(delegated.token_type, 'bearer')
const about = await introspect(delegated.access_token)
assert.deepEqual([about.sub, about.client_id, about.act], [CLIENT_ID, actor, { sub: actor }])

// oauth4webapi, with tokens that are bound to a key.
const keyPair = await oauth.generateKeyPair('ES256')
const DPoP = oauth.DPoP({ client_id: actor }, keyPair)
const bound = await request(actor, secret, EXCHANGE, exchanged, DPoP)
assert.equal(bound.token_type, 'dpop')
assert.equal((await introspect(bound.access_token)).cnf.jkt, await DPoP.calculateThumbprint())
const own = await request(actor, secret, 'client_credentials', { scope: 'agents:read' }, DPoP)
const url = new URL(`${api}/agents/${actor}`)
for (let time = 0; time < 3; time++) {
  const answer = await oauth.protectedResourceRequest(
    own.access_token, 'GET', url, undefined, undefined, { DPoP, ...insecure })
  assert.equal(answer.status, 200, await answer.text())
}
const stolen = await fetch(url, { headers: { authorization: `Bearer ${own.access_token}` } })
assert.equal(stolen.status, 401)

// openid-client.
const options = { algorithm: 'oauth2', execute: [openid.allowInsecureRequests] }
const config = await openid.discovery(
  new URL(ISSUER), actor, undefined, openid.ClientSecretBasic(secret), options)
const plain = await openid.genericGrantRequest(config, EXCHANGE, exchanged)
assert.equal((await introspect(plain.access_token)).active, true)
const handle = openid.getDPoPHandle(config, await openid.randomDPoPKeyPair())
const again = await openid.genericGrantRequest(config, EXCHANGE, exchanged, { DPoP: handle })
assert.equal(again.token_type, 'dpop')
const mine = await openid.clientCredentialsGrant(config, { scope: 'agents:read' }, { DPoP: handle })
const answer = await openid.fetchProtectedResource(
  config, mine.access_token, url, 'GET', undefined, undefined, { DPoP: handle })
assert.equal(answer.status, 200, await answer.text())
