// panva's oidc-provider for machine clients: client_credentials, introspection, revocation, RS256 JWT access tokens.
// What it does not do, by its own design: it compares client secrets in constant time without a password hash, it neither introspects nor
// revokes JWT access tokens (both endpoints refuse "structured" ones), and it has no rate limit, quota or audit.
// So tokens are measured as JWTs (resource .../jwt), introspection and revocation with opaque ones (resource .../opaque).
import cluster from 'node:cluster';
import { createPrivateKey } from 'node:crypto';
import Provider, { errors } from 'oidc-provider';
import { memoryAdapter, redisAdapter } from './adapters.js';

const { PORT = '3001', HOST = '127.0.0.1', ISSUER_URL = 'http://127.0.0.1:3001', JWT_PRIVATE_KEY, CLIENT_ID, CLIENT_SECRET, REDIS_URL, WORKERS = '1' } = process.env;

function start() {
  const jwk = createPrivateKey(JWT_PRIVATE_KEY).export({ format: 'jwk' });
  const scope = 'agents:read agents:write credentials:write tokens:read audit:read';
  const api = (format) => ({ scope, audience: `https://api.peers.test/${format}`, accessTokenTTL: 3600, accessTokenFormat: format, jwt: { sign: { alg: 'RS256' } } });

  const provider = new Provider(ISSUER_URL, {
    adapter: REDIS_URL ? redisAdapter(REDIS_URL) : memoryAdapter(),
    jwks: { keys: [{ ...jwk, use: 'sig', alg: 'RS256', kid: 'bench' }] },
    cookies: { keys: ['not a secret: no cookie is set here'] },
    scopes: ['openid', ...scope.split(' ')],
    clients: [{
      client_id: CLIENT_ID,
      client_secret: CLIENT_SECRET,
      grant_types: ['client_credentials'],
      redirect_uris: [],
      response_types: [],
      token_endpoint_auth_method: 'client_secret_basic',
      scope,
    }],
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      introspection: { enabled: true, allowedPolicy: () => true },
      revocation: { enabled: true },
      registration: { enabled: true, initialAccessToken: CLIENT_SECRET },
      registrationManagement: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => 'https://api.peers.test/jwt',
        getResourceServerInfo(_ctx, resource) {
          const format = resource.slice('https://api.peers.test/'.length);
          if (!['jwt', 'opaque'].includes(format)) throw new errors.InvalidTarget();
          return api(format);
        },
      },
    },
  });
  provider.on('server_error', (_ctx, err) => console.error(err));
  const server = provider.listen(Number(PORT), HOST, () => console.error(`listening on ${HOST}:${PORT}, ${REDIS_URL ? 'redis' : 'memory'} adapter`));
  const stop = () => server.close(() => process.exit(0));
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
}

if (cluster.isPrimary && Number(WORKERS) > 1) {
  if (!REDIS_URL) throw new Error('several workers share no memory: set REDIS_URL');
  for (let i = 0; i < Number(WORKERS); i += 1) cluster.fork();
  const stop = () => { for (const w of Object.values(cluster.workers)) w.process.kill('SIGTERM'); };
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
} else {
  start();
}
