// @ts-check
// The audit log: filtered, page by page, and live.

/** @import { AuditEvent, AuditPage } from "../types" */
/** @import { Context } from "../ui.js" */
/** @import { Failure } from "../api.js" */

import { html, useEffect, useLayoutEffect, useRef, useState } from "../html.js";
import { AgentName } from "../names.js";
import { Empty, Heading, Input, Loading, Moment, Pill, Section, Select, Trouble, asFailure, to, useData } from "../ui.js";
import { EventDialog, Resource } from "./events.js";

const ACTIONS = [
  "agent.created", "agent.updated", "agent.suspended", "agent.reactivated", "agent.decommissioned",
  "credential.generated", "credential.rotated", "credential.revoked",
  "token.issued", "token.exchanged", "token.refused", "token.introspected", "token.revoked", "auth.failed",
  "organization.created", "organization.updated", "organization.suspended", "organization.reactivated",
  "issuer.created", "issuer.updated", "issuer.suspended", "issuer.reactivated", "issuer.deleted", "subject.revoked",
];
const FILTERS = ["action", "outcome", "agentId", "resourceType", "resourceId", "fromDate", "toDate", "organizationId"];
const PAGE = 50;
/** The most events that are shown while the log is followed. */
const SHOWN = 500;
/** The fewest and the most events that are added in one frame. Two in each are more than 100 a second. */
const [LEAST, MOST] = [2, 4];
/** Time that adding events may take of a frame, in milliseconds. A frame that takes more is followed by smaller ones. */
const BUDGET_MS = 6;
/** Length of a frame, in milliseconds. One that takes longer is dropped. */
const FRAME_MS = 1_000 / 60;
/** The view is behind the log if more events wait than this, which is what a second of a busy log brings. */
const BEHIND = 100;
/** Time between two questions for new events, in milliseconds. */
const EVERY_MS = 1_000;
/** Events that are read at once while the log is followed: all that the next question reads, or old ones would look new. */
const READ = 200;
/** The most pages that one question reads back. */
const PAGES = 5;
/** The most events that are remembered as seen. */
const SEEN = 10_000;

/** @param {Context} context */
export default function Audit({ session, place }) {
  const { query } = place;
  const isFollowing = query.get("follow") === "on";
  const filter = Object.fromEntries(FILTERS.map((name) => [name, query.get(name) ?? ""]));
  const [shown, setShown] = useState(/** @type {AuditEvent | null} */ (null));
  // On a narrow screen, the filters would hide the events.
  const [isOpen] = useState(() => innerWidth > 640 || FILTERS.some((name) => filter[name]));
  const isAdmin = session.scopes.has("admin:orgs");
  const hrefOf = (/** @type {Record<string, string>} */ changes) => to(["audit"], { ...Object.fromEntries(query), ...changes });
  /** @param {Event} event */
  function apply(event) {
    event.preventDefault();
    const data = new FormData(/** @type {HTMLFormElement} */ (event.currentTarget));
    const text = (/** @type {string} */ name) => String(data.get(name) ?? "").trim();
    const time = (/** @type {string} */ name) => (text(name) ? new Date(text(name)).toISOString() : "");
    location.hash = hrefOf({
      ...Object.fromEntries(FILTERS.map((name) => [name, text(name)])), fromDate: time("fromDate"), toDate: time("toDate"),
    });
  }
  const local = (/** @type {string | undefined} */ time) => {
    const date = new Date(time ?? "");
    if (Number.isNaN(date.getTime())) return "";
    return new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
  };
  const key = JSON.stringify(filter);
  const props = { session, filter, key, show: setShown };
  return html`
    <${Heading} title="Audit log" lead="Every change, and every token. An event is stored together with what it records, and is never changed.">
      <a class=${isFollowing ? "button primary" : "button"} role="button" aria-pressed=${isFollowing ? "true" : "false"}
        href=${hrefOf({ follow: isFollowing ? "" : "on" })}>${isFollowing ? "Stop following" : "Follow live"}</a>
    <//>
    <details class="filter-box" open=${isOpen}><summary>Filters</summary>
    <form class="filters" role="search" aria-label="Filters" onSubmit=${apply} key=${key}>
      <${Select} name="action" label="Action" value=${filter["action"]} options=${[["", "Any"], ...ACTIONS]} />
      <${Select} name="outcome" label="Outcome" value=${filter["outcome"]} options=${[["", "Any"], "success", "failure"]} />
      <${Input} name="agentId" label="Agent that acted" value=${filter["agentId"]} more=${{ placeholder: "ID" }} />
      <${Select} name="resourceType" label="Resource" value=${filter["resourceType"]} options=${[["", "Any"], "agent", "credential", "token", "organization", "issuer"]} />
      <${Input} name="resourceId" label="Resource ID" value=${filter["resourceId"]} more=${{ placeholder: "ID" }} />
      <${Input} name="fromDate" label="From" type="datetime-local" value=${local(filter["fromDate"])} />
      <${Input} name="toDate" label="To" type="datetime-local" value=${local(filter["toDate"])} />
      ${isAdmin && html`<${Input} name="organizationId" label="Organization" value=${filter["organizationId"]} more=${{ placeholder: "ID" }} />`}
      <div class="filter-actions">
        <button type="submit" class="button">Apply</button>
        ${FILTERS.some((name) => filter[name]) && html`<a class="button quiet" href=${to(["audit"], { follow: query.get("follow") ?? "" })}>Clear</a>`}
      </div>
    </form></details>
    ${isFollowing ? html`<${Live} ...${props} />` : html`<${Pages} ...${props} />`}
    ${shown && html`<${EventDialog} session=${session} event=${shown} onClose=${() => setShown(null)} />`}`;
}

/** @typedef {Pick<Context, "session"> & { filter: Record<string, string>, show: (event: AuditEvent) => void }} ListProps */

/** @param {{ rows: unknown, isLive?: boolean }} props */
function EventTable({ rows, isLive }) {
  return html`<table class="table events">
    <caption class="visually-hidden">Audit events, newest first</caption>
    <thead><tr><th scope="col" class="when">Time</th><th scope="col">Action</th><th scope="col" class="narrow">Outcome</th>
      <th scope="col">Agent</th><th scope="col">Resource</th><th scope="col" class="address">Address</th></tr></thead>
    <tbody aria-live=${isLive ? "off" : null}>${rows}</tbody>
  </table>`;
}

/** @param {Pick<Context, "session"> & { event: AuditEvent, show: (event: AuditEvent) => void }} props */
function Row({ session, event, show }) {
  return html`<tr data-event=${event.eventId}>
    <td data-label="Time" class="when"><${Moment} of=${event.timestamp} hasYear=${false} /></td>
    <td data-label="Action" class="main"><button type="button" class="link" onClick=${() => show(event)}>${event.action}</button></td>
    <td data-label="Outcome" class="narrow"><${Pill} of=${event.outcome} /></td>
    <td data-label="Agent"><${AgentName} session=${session} id=${event.agentId} /></td>
    <td data-label="Resource"><${Resource} session=${session} event=${event} /></td>
    <td data-label="Address" class="address">${event.ipAddress ?? "—"}</td>
  </tr>`;
}

/** @param {ListProps} props */
function Pages({ session, filter, show }) {
  // The cursors of the pages before this one, the first of which has none.
  const [cursors, setCursors] = useState(/** @type {string[]} */ ([""]));
  const cursor = cursors.at(-1) ?? "";
  const { data, failure, isLoading, reload } = useData(cursor, async (signal) => {
    /** @type {AuditPage} */
    const page = await session.request("audit", { query: { ...filter, limit: PAGE, cursor }, signal });
    return page;
  });
  if (failure) return html`<${Trouble} failure=${failure} retry=${reload} />`;
  if (!data) return isLoading && html`<${Loading} />`;
  return html`<${Section} title="Events" isFlush takesFocus actions=${html`<button type="button" class="button small" onClick=${reload}>Reload</button>`}>
    ${data.data.length === 0
      ? html`<${Empty} title="No event matches">Change or clear the filters.<//>`
      : html`<${EventTable} rows=${data.data.map((event) => html`<${Row} key=${event.eventId} session=${session} event=${event} show=${show} />`)} />`}
    <div class="more">
      <p role="status">${data.data.length === 0 ? "No events" : `Page ${cursors.length}`}</p>
      <span class="actions">
        ${cursors.length > 1 && html`<button type="button" class="button small" onClick=${() => setCursors(cursors.slice(0, -1))}>Newer</button>`}
        ${data.nextCursor && html`<button type="button" class="button small" onClick=${() => setCursors([...cursors, data.nextCursor ?? ""])}>Older</button>`}
      </span>
    </div>
  <//>`;
}

/** Events that were seen, of which the oldest are forgotten. */
class Seen {
  /** @type {Set<string>} */
  #ids = new Set();

  /** @param {string} id */
  has(id) {
    return this.#ids.has(id);
  }

  /** @param {string} id */
  add(id) {
    this.#ids.add(id);
    const oldest = this.#ids.values().next().value;
    if (this.#ids.size > SEEN && oldest !== undefined) this.#ids.delete(oldest);
  }
}

/**
 * Follows the log. An event may appear after a newer one, so each question reads back to events that were seen before.
 * @param {ListProps} props
 */
function Live({ session, filter, show }) {
  /** @type {[{ event: AuditEvent, row: unknown }[], (update: any) => void]} */
  const [rows, setRows] = useState(/** @type {any[]} */ ([]));
  const [failure, setFailure] = useState(/** @type {Failure | undefined} */ (undefined));
  const [isReady, setIsReady] = useState(false);
  const box = useRef(/** @type {HTMLElement | null} */ (null));
  const began = useRef(0);
  const batch = useRef(LEAST);
  const measured = useRef({ frames: 0, dropped: 0, worst: 0, skipped: 0 });

  useEffect(() => {
    const stop = new AbortController();
    const seen = new Seen();
    /** @type {AuditEvent[]} Events that wait to be shown, oldest first. */
    let waiting = [];
    let frame = 0;
    let timer = 0;
    /** Time of the last frame, in milliseconds. */
    let drawn = 0;

    function showNext(/** @type {number} */ now) {
      frame = 0;
      // The view would fall ever further behind the log if slow frames did not show more.
      const share = Math.ceil(((waiting.length - BEHIND) * (now - drawn)) / EVERY_MS);
      const next = waiting.splice(0, Math.max(batch.current, share));
      began.current = performance.now();
      const made = next.reverse().map((event) => ({
        event, row: html`<${Row} key=${event.eventId} session=${session} event=${event} show=${show} />`,
      }));
      setRows((/** @type {any[]} */ before) => [...made, ...before].slice(0, SHOWN));
      schedule(now);
    }
    function schedule(/** @type {number} */ since) {
      if (waiting.length === 0 || frame !== 0 || stop.signal.aborted) return;
      drawn = since;
      frame = requestAnimationFrame(showNext);
    }
    async function ask(/** @type {boolean} */ isFirst) {
      /** @type {AuditEvent[]} */
      const unseen = [];
      let cursor = "";
      for (let page = 0; page < (isFirst ? 1 : PAGES); page += 1) {
        /** @type {AuditPage} */
        const answer = await session.request("audit", {
          query: { ...filter, limit: READ, cursor }, signal: stop.signal,
        });
        const fresh = answer.data.filter((event) => !seen.has(event.eventId));
        unseen.push(...fresh);
        cursor = answer.nextCursor ?? "";
        if (fresh.length < answer.data.length || !cursor) break;
        if (page === PAGES - 1) measured.current.skipped += 1;
      }
      for (const event of unseen) seen.add(event.eventId);
      waiting.push(...(isFirst ? unseen.slice(0, PAGE) : unseen).reverse());
      // Events that would leave the list again before anyone could see them are not shown.
      if (waiting.length > SHOWN) waiting = waiting.slice(-SHOWN);
      schedule(performance.now());
    }
    async function follow(/** @type {boolean} */ isFirst) {
      let pause = EVERY_MS;
      let isNext = false;
      try {
        await ask(isFirst);
        setFailure(undefined);
      } catch (error) {
        if (stop.signal.aborted) return;
        const failure = asFailure(error);
        isNext = isFirst;
        pause = Math.max(EVERY_MS, failure.retryAfter * 1000);
        setFailure(failure);
      }
      setIsReady(true);
      if (!stop.signal.aborted) timer = window.setTimeout(() => follow(isNext), pause);
    }
    follow(true);
    return () => {
      stop.abort();
      clearTimeout(timer);
      cancelAnimationFrame(frame);
    };
  }, []);

  useLayoutEffect(() => {
    if (!box.current || began.current === 0) return;
    const [took, sums] = [performance.now() - began.current, measured.current];
    began.current = 0;
    batch.current = took > BUDGET_MS ? LEAST : Math.min(MOST, batch.current + 1);
    sums.frames += 1;
    sums.dropped += took > FRAME_MS ? 1 : 0;
    sums.worst = Math.max(sums.worst, took);
    Object.assign(box.current.dataset, {
      frames: sums.frames, dropped: sums.dropped, worstFrameMs: sums.worst.toFixed(1), skipped: sums.skipped,
    });
  }, [rows]);

  return html`<div ref=${box} class="live" data-limit=${SHOWN}>
    <${Section} title="Live events" isFlush actions=${html`<span class="small muted live-mark">Following</span>`}>
      <${Trouble} failure=${failure} />
      ${!isReady && html`<${Loading} />`}
      ${isReady && rows.length === 0 && html`<${Empty} title="No event yet">New events appear here by themselves.<//>`}
      ${rows.length > 0 && html`<${EventTable} isLive rows=${rows.map(({ row }) => row)} />`}
    <//>
  </div>`;
}
