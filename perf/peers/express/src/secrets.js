import { createHmac, randomBytes } from 'node:crypto';
import bcrypt from 'bcrypt';

export const newSecret = () => `sk_live_${randomBytes(32).toString('hex')}`;

/** How a secret is hashed and compared: by native bcrypt, on libuv's thread pool. */
export function secretHasher({ rememberSecrets, bcryptCost }) {
  const hash = (secret) => bcrypt.hash(secret, bcryptCost);
  if (!rememberSecrets) return { hash, verify: (secret, stored) => bcrypt.compare(secret, stored) };

  // Beside the stack as it is: bcrypt's "yes" is remembered under a keyed digest, at most 10,000 of them.
  const key = randomBytes(32);
  const known = new Set();
  return {
    hash,
    async verify(secret, stored) {
      const digest = createHmac('sha256', key).update(stored).update('\0').update(secret).digest('base64');
      if (known.has(digest)) return true;
      const ok = await bcrypt.compare(secret, stored);
      if (ok) {
        if (known.size >= 10_000) known.delete(known.values().next().value);
        known.add(digest);
      }
      return ok;
    },
  };
}
