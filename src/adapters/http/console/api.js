// @ts-check
// The session of a person, and the requests that it makes. Nothing of it is stored: it ends with the page.

/** @import { Token } from "./types" */

/** The scopes that give access to the API. */
export const SCOPES = [
  "agents:read", "agents:write", "credentials:write", "tokens:read", "audit:read", "issuers:read", "issuers:write",
  "admin:orgs",
];
/** Address of the API. It is next to the folder of this file, whatever a proxy puts before both. */
const BASE = new URL("../api/v1/", import.meta.url);
/** A token is renewed when less of its lifetime is left than this, in milliseconds. */
const RENEW_BEFORE_MS = 60_000;

/** How long a request waits for its whole response, in milliseconds. The service answers in much less. */
const WAIT_MS = 30_000;
/** Code of a failure without a whole response. */
export const UNREACHABLE = "unreachable";

/** A request that did not succeed. */
export class Failure extends Error {
  /**
   * @param {string} message
   * @param {{ status?: number, code?: string, details?: any, requestId?: string, retryAfter?: number }} [more]
   */
  constructor(message, more = {}) {
    super(message);
    this.status = more.status ?? 0;
    this.code = more.code ?? "";
    this.details = more.details ?? {};
    this.requestId = more.requestId ?? "";
    this.retryAfter = more.retryAfter ?? 0;
  }

  /** Errors of the fields, by the name of the field without an index. */
  get fields() {
    /** @type {import("./types").FieldErrors} */
    const fields = {};
    const errors = Array.isArray(this.details.errors) ? this.details.errors : [];
    for (const { field, message } of errors) {
      const name = String(field).split("[")[0] ?? "";
      fields[name] ??= name === field ? String(message) : `${String(field)}: ${String(message)}`;
    }
    return fields;
  }

  /** Returns what the person can do about it. */
  get advice() {
    if (this.code === UNREACHABLE) return "Check that the service runs and that you are online, then try again.";
    if (this.status === 429) return `Try again in ${this.retryAfter || 60} seconds.`;
    if (this.status === 503) return "The service is busy or a store is unavailable. Try again in a moment.";
    if (this.status >= 500) return "Look in the log of the service for this request ID.";
    const missing = Array.isArray(this.details.missingScopes) ? this.details.missingScopes.join(", ") : "";
    if (missing) return `Sign in as a client with the scope ${missing}.`;
    if (this.status === 404) return "The ID may be wrong, or what it names belongs to another organization.";
    if (this.code === "CONFLICT") return "Another change was made at the same time. Reload, then try again.";
    return "";
  }
}

/**
 * @typedef {object} Request
 * @property {string} [method]
 * @property {Record<string, string | number | undefined>} [query]
 * @property {unknown} [body]
 * @property {Record<string, string>} [form]
 * @property {AbortSignal} [signal]
 */

/**
 * Sends a request, and returns the body of its answer.
 * @param {string} path
 * @param {string} token
 * @param {Request} request
 * @returns {Promise<any>}
 */
async function send(path, token, { method, query, body, form, signal }) {
  const url = new URL(path, BASE);
  for (const [name, value] of Object.entries(query ?? {})) {
    if (value !== undefined && value !== "") url.searchParams.set(name, String(value));
  }
  /** @type {Record<string, string>} */
  const headers = {};
  if (token) headers["Authorization"] = `Bearer ${token}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  /** @type {RequestInit} */
  const init = { method: method ?? "GET", headers, credentials: "omit", cache: "no-store", redirect: "error" };
  init.referrerPolicy = "no-referrer";
  if (body !== undefined) init.body = JSON.stringify(body);
  if (form) init.body = new URLSearchParams(form);
  init.signal = AbortSignal.any([AbortSignal.timeout(WAIT_MS), ...(signal ? [signal] : [])]);
  let response, text;
  try {
    response = await fetch(url, init);
    text = await response.text();
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Failure("The service cannot be reached.", { code: UNREACHABLE });
  }
  let answer;
  try {
    answer = text ? JSON.parse(text) : null;
  } catch {
    answer = null;
  }
  if (response.ok) return answer;
  const message = answer?.message ?? answer?.error_description ?? `The service answered ${response.status}.`;
  throw new Failure(String(message), {
    status: response.status,
    code: String(answer?.code ?? answer?.error ?? ""),
    details: answer?.details ?? {},
    requestId: response.headers.get("x-request-id") ?? "",
    retryAfter: Number(response.headers.get("retry-after") ?? 0),
  });
}

/** @typedef {{ token: string, renewAt: number, scopes: Set<string> }} Issued A token, with its scopes of the API. */

/** The session of one client. */
export class Session {
  #clientId;
  #secret;
  #token = "";
  #renewAt = 0;
  /** @type {Promise<void> | null} */
  #renewal = null;
  #ended = new AbortController();
  /** Scopes of the token. @type {Set<string>} */
  scopes = new Set();
  /** Called if the session ends because its client gets no token any more. @type {(failure: Failure) => void} */
  onEnd = () => {};

  /**
   * @param {string} clientId
   * @param {string} secret
   */
  constructor(clientId, secret) {
    this.#clientId = clientId;
    this.#secret = secret;
  }

  /** ID of the client that is signed in. */
  get clientId() {
    return this.#clientId;
  }

  /**
   * Gets a token with these scopes, or with those that the client gets by default.
   * @param {string[]} scopes
   * @returns {Promise<Issued>}
   */
  async #issue(scopes) {
    /** @type {Record<string, string>} */
    const form = { grant_type: "client_credentials", client_id: this.#clientId, client_secret: this.#secret };
    if (scopes.length > 0) form["scope"] = scopes.join(" ");
    /** @type {Token} */
    const { access_token, expires_in, scope } = await send("token", "", { method: "POST", form, signal: this.#ended.signal });
    return {
      token: access_token,
      renewAt: Date.now() + Math.max(expires_in * 1000 - RENEW_BEFORE_MS, expires_in * 500),
      scopes: new Set(scope.split(" ").filter((one) => SCOPES.includes(one))),
    };
  }

  /**
   * Gets a token with these scopes, if the client has all of them.
   * @param {string[]} scopes
   */
  async #issueIfGranted(scopes) {
    try {
      return await this.#issue(scopes);
    } catch (failure) {
      if (failure instanceof Failure && ["invalid_scope", "invalid_target"].includes(failure.code)) return undefined;
      throw failure;
    }
  }

  /** Gets a token with every scope of the API that the client has. */
  async #issueAll() {
    const all = await this.#issueIfGranted(SCOPES);
    if (all) return all;
    // The error does not say which scope the client lacks. With only scopes of the API, the default is all of them.
    const usual = await this.#issueIfGranted([]);
    if (usual && usual.scopes.size > 0) return usual;
    const reading = await this.#issueIfGranted(["agents:read"]);
    if (reading) {
      const own = await send(`agents/${encodeURIComponent(this.#clientId)}`, reading.token, { signal: this.#ended.signal });
      return this.#issue(SCOPES.filter((scope) => own.capabilities.includes(scope)));
    }
    const granted = [];
    for (const scope of SCOPES.slice(1)) {
      if (await this.#issueIfGranted([scope])) granted.push(scope);
    }
    if (granted.length === 0) {
      throw new Failure("This client has no scope of the API, so there is nothing that it may see.", {
        code: "no_scope", status: 403,
      });
    }
    return this.#issue(granted);
  }

  /** Signs in with every scope of the API that the client has. */
  async signIn() {
    this.#keep(await this.#issueAll());
  }

  /** Gets another token with the same scopes, or with those that the client has now. */
  async #issueAgain() {
    this.#keep((await this.#issueIfGranted([...this.scopes])) ?? (await this.#issueAll()));
  }

  /** @param {Issued} issued */
  #keep({ token, renewAt, scopes }) {
    this.#token = token;
    this.#renewAt = renewAt;
    this.scopes = scopes;
  }

  /** Renews the token, once for all requests that wait for it. */
  async #renew() {
    this.#renewal ??= this.#issueAgain().finally(() => {
      this.#renewal = null;
    });
    try {
      await this.#renewal;
    } catch (failure) {
      const isRefused = failure instanceof Failure && ([400, 401].includes(failure.status) || failure.code === "no_scope");
      if (isRefused && !this.#ended.signal.aborted) this.onEnd(failure);
      throw failure;
    }
  }

  /**
   * Sends a request to the API. The token is renewed before it expires, and once if it is refused.
   * @param {string} path Path below the API, with encoded parts
   * @param {Request} [request]
   * @returns {Promise<any>}
   */
  async request(path, request = {}) {
    const signals = [this.#ended.signal, ...(request.signal ? [request.signal] : [])];
    const bounded = { ...request, signal: AbortSignal.any(signals) };
    if (Date.now() >= this.#renewAt) await this.#renew();
    const token = this.#token;
    try {
      return await send(path, token, bounded);
    } catch (failure) {
      if (!(failure instanceof Failure) || failure.status !== 401) throw failure;
      if (token === this.#token) await this.#renew();
      return await send(path, this.#token, bounded);
    }
  }

  /**
   * Signs in with another secret of the client from now on, because the one before was rotated.
   * @param {string} secret
   */
  rotated(secret) {
    this.#secret = secret;
  }

  /** Ends the session: revokes its token, and forgets the token and the secret. */
  signOut() {
    const token = this.#token;
    this.#ended.abort();
    this.#token = "";
    this.#secret = "";
    this.scopes = new Set();
    // The token ends by itself if this fails.
    if (token) send("token/revoke", token, { method: "POST", form: { token } }).catch(() => {});
  }
}

/**
 * Returns a path with encoded parts.
 * @param {string[]} parts
 */
export function path(...parts) {
  return parts.map(encodeURIComponent).join("/");
}
