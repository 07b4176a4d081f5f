// @ts-check
// Audit events, wherever they are shown.

/** @import { AuditEvent, AuditPage } from "../types" */
/** @import { Context } from "../ui.js" */

import { html, useState } from "../html.js";
import { AgentName } from "../names.js";
import { Dialog, Empty, Facts, Id, Loading, Moment, Pill, Section, Table, Text, Trouble, to, useData } from "../ui.js";

/**
 * The resource of an event, with a link to where it can be seen.
 * @param {Pick<Context, "session"> & { event: AuditEvent }} props
 */
export function Resource({ session, event }) {
  const { resource } = event;
  if (!resource) return html`<span class="muted">—</span>`;
  const { type, id } = resource;
  if (type === "agent") return html`<${AgentName} session=${session} id=${id} />`;
  /** @type {Record<string, [string, string]>} */
  const places = { token: ["audit:read", "tokens"], issuer: ["issuers:read", "issuers"], organization: ["admin:orgs", "organizations"] };
  const [scope, place] = places[type] ?? ["", ""];
  const isLink = Boolean(scope) && session.scopes.has(scope);
  return isLink
    ? html`<a href=${to([place, id])}>${type} <${Id} of=${id} /></a>`
    : html`<span>${type} <${Id} of=${id} /></span>`;
}

/**
 * Everything that is known of an event.
 * @param {Pick<Context, "session"> & { event: AuditEvent, onClose: () => void }} props
 */
export function EventDialog({ session, event, onClose }) {
  return html`<${Dialog} title=${event.action} onClose=${onClose} isWide>
    <${Facts} of=${[
      ["Outcome", html`<${Pill} of=${event.outcome} />`],
      ["Time", html`<${Moment} of=${event.timestamp} />`],
      ["Agent", html`<${AgentName} session=${session} id=${event.agentId} />`],
      ["Resource", html`<${Resource} session=${session} event=${event} />`],
      ["Address", event.ipAddress ? html`<${Text} of=${event.ipAddress} />` : html`<span class="muted">—</span>`],
      ["User agent", event.userAgent ? html`<${Text} of=${event.userAgent} />` : html`<span class="muted">—</span>`],
      ["Organization", event.organizationId ? html`<${Id} of=${event.organizationId} />` : html`<span class="muted">—</span>`],
      ["Event", html`<code>${event.eventId}</code>`],
    ]} />
    <h3>Details</h3>
    <pre tabindex="0" aria-label="Details"><${Lines} of=${JSON.stringify(event.metadata, null, 2)} /></pre>
  <//>`;
}

/** @param {{ of: string }} props */
export function Lines({ of }) {
  return of.split("\n").map((line, place) => html`<${Text} of=${line} key=${place} />${"\n"}`);
}

/**
 * The latest events that a filter finds.
 * @param {Pick<Context, "session"> & { title: string, filter: Record<string, string>, empty: string, limit?: number }} props
 */
export function Events({ session, title, filter, empty, limit = 6 }) {
  const [shown, setShown] = useState(/** @type {AuditEvent | null} */ (null));
  const { data, failure, isLoading, reload } = useData(JSON.stringify(filter), async (signal) => {
    /** @type {AuditPage} */
    const page = await session.request("audit", { query: { ...filter, limit }, signal });
    return page;
  });
  return html`<${Section} title=${title} isFlush actions=${html`<a href=${to(["audit"], filter)}>All<span class="visually-hidden"> of: ${title}</span></a>`}>
    <${Trouble} failure=${failure} retry=${reload} />
    ${!data && isLoading && html`<${Loading} />`}
    ${data && data.data.length === 0 && html`<${Empty} title="No events">${empty}<//>`}
    ${data && data.data.length > 0 && html`<${Table} caption=${title} rows=${data.data} keyOf=${(/** @type {AuditEvent} */ event) => event.eventId} columns=${[
      { label: "Event", kind: "main", cell: (/** @type {AuditEvent} */ event) =>
        html`<button type="button" class="link" onClick=${() => setShown(event)}>${event.action}</button>` },
      { label: "Outcome", cell: (/** @type {AuditEvent} */ event) => html`<${Pill} of=${event.outcome} />` },
      { label: "Agent", cell: (/** @type {AuditEvent} */ event) => html`<${AgentName} session=${session} id=${event.agentId} />` },
      { label: "Resource", cell: (/** @type {AuditEvent} */ event) => html`<${Resource} session=${session} event=${event} />` },
      { label: "Time", kind: "end", cell: (/** @type {AuditEvent} */ event) => html`<${Moment} of=${event.timestamp} isNear />` },
    ]} />`}
    ${shown && html`<${EventDialog} session=${session} event=${shown} onClose=${() => setShown(null)} />`}
  <//>`;
}
