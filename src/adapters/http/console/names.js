// @ts-check
// E-mail addresses of agents, which people know better than IDs. They are looked up slowly, and few are kept.

/** @import { Session } from "./api.js" */

import { Failure, path } from "./api.js";
import { html, useEffect, useState } from "./html.js";
import { plain } from "./text.js";
import { Id, Text, to } from "./ui.js";

/** The most addresses that are kept. */
const KEPT = 2_000;
/** The most addresses that are looked up in a minute, because each takes one request of the rate limit. */
const PER_MINUTE = 30;
/** The most addresses that wait to be looked up. */
const WAITING = 50;

const MINUTE_MS = 60_000;

/** @param {number} time Milliseconds since 1970 */
const minuteOf = (time) => Math.floor(time / MINUTE_MS);

/** Addresses of the agents that one session has seen. */
export class Names {
  #session;
  /** @type {Map<string, string>} */
  #known = new Map();
  /** @type {Set<string>} */
  #waiting = new Set();
  /** @type {Set<() => void>} */
  #listeners = new Set();
  #isBusy = false;
  #minute = 0;
  #asked = 0;

  /** @param {Session} session */
  constructor(session) {
    this.#session = session;
  }

  /**
   * Returns the address of an agent if it is known.
   * @param {string} id
   */
  of(id) {
    return this.#known.get(id) || undefined;
  }

  /**
   * Remembers the address of an agent.
   * @param {string} id
   * @param {string} email Empty if it cannot be found
   */
  learn(id, email) {
    this.#known.delete(id);
    this.#known.set(id, email);
    const oldest = this.#known.keys().next().value;
    if (this.#known.size > KEPT && oldest !== undefined) this.#known.delete(oldest);
    for (const listener of this.#listeners) listener();
  }

  /**
   * Asks for the address of an agent, soon.
   * @param {string} id
   */
  ask(id) {
    if (this.#known.has(id) || !this.#session.scopes.has("agents:read")) return;
    this.#waiting.add(id);
    const oldest = this.#waiting.values().next().value;
    if (this.#waiting.size > WAITING && oldest !== undefined) this.#waiting.delete(oldest);
    this.#work();
  }

  /**
   * Calls a function at every address that is learned, until the returned function is called.
   * @param {() => void} listener
   */
  watch(listener) {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  async #work() {
    if (this.#isBusy) return;
    this.#isBusy = true;
    for (const id of this.#waiting) {
      await this.#turn();
      try {
        this.learn(id, (await this.#session.request(path("agents", id))).email);
      } catch (error) {
        // After any other failure, the agent is asked for again when it is shown again.
        if (error instanceof Failure && [403, 404].includes(error.status)) this.learn(id, "");
      }
      this.#waiting.delete(id);
    }
    this.#isBusy = false;
  }

  /** Waits until one more address may be looked up. */
  async #turn() {
    while (minuteOf(Date.now()) === this.#minute && this.#asked >= PER_MINUTE) {
      const left = MINUTE_MS - (Date.now() % MINUTE_MS);
      await new Promise((resolve) => setTimeout(resolve, left));
    }
    const minute = minuteOf(Date.now());
    this.#asked = minute === this.#minute ? this.#asked + 1 : 1;
    this.#minute = minute;
  }
}

/** @type {WeakMap<Session, Names>} */
const BY_SESSION = new WeakMap();

/**
 * Returns the names of a session.
 * @param {Session} session
 */
export function namesOf(session) {
  const names = BY_SESSION.get(session) ?? new Names(session);
  BY_SESSION.set(session, names);
  return names;
}

/**
 * Returns the address of an agent once it is known.
 * @param {Session} session
 * @param {string | null | undefined} id
 */
export function useName(session, id) {
  const names = namesOf(session);
  const [, setTurn] = useState(0);
  const email = id ? names.of(id) : undefined;
  useEffect(() => {
    if (!id || email) return undefined;
    const show = () => names.of(id) && setTurn((turn) => turn + 1);
    // The address may have been learned since the link was drawn.
    show();
    names.ask(id);
    return names.watch(show);
  }, [id, email]);
  return email;
}

/**
 * A link to an agent, by its address if that is known.
 * @param {{ session: Session, id: string | null | undefined }} props
 */
export function AgentName({ session, id }) {
  const email = useName(session, id);
  if (!id) return html`<span class="muted">—</span>`;
  const shown = email ? html`<${Text} of=${email} />` : html`<${Id} of=${id} />`;
  return session.scopes.has("agents:read")
    ? html`<a href=${to(["agents", id])} title=${email ? plain(email) : null}>${shown}</a>` : shown;
}
