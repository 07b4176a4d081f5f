// The stack's own variables, and those that a measurement needs beside them.
import { createPrivateKey, createPublicKey } from 'node:crypto';

const env = process.env;

function need(name) {
  if (!env[name]) throw new Error(`${name} is not set`);
  return env[name];
}

function int(name, fallback) {
  const n = Number(env[name] ?? fallback);
  if (!Number.isInteger(n) || n < 0) throw new Error(`${name} must be a whole number`);
  return n;
}

export function loadConfig() {
  const privateKey = createPrivateKey(need('JWT_PRIVATE_KEY'));
  return Object.freeze({
    port: int('PORT', 3000),
    host: env.HOST ?? '127.0.0.1',
    databaseUrl: need('DATABASE_URL'),
    redisUrl: need('REDIS_URL'),
    privateKey,
    publicKey: createPublicKey(privateKey),
    issuer: env.ISSUER_URL ?? 'https://idp.example.test',
    corsOrigin: env.CORS_ORIGIN ?? '',
    // knobs of the measurement
    pgPoolMax: int('PG_POOL_MAX', 10), // pg.Pool's own default
    rateLimitMax: int('RATE_LIMIT_MAX', 100), // its own
    monthlyTokens: int('MONTHLY_TOKENS', 10_000), // its free tier
    tokenTtl: int('TOKEN_TTL_SECONDS', 3600),
    bcryptCost: int('BCRYPT_COST', 10),
    rememberSecrets: env.REMEMBER_SECRETS === 'true', // bcrypt once, its "yes" remembered
    workers: int('WORKERS', 1), // more than one with node:cluster
  });
}
