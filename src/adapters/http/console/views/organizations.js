// @ts-check
// Organizations: their plans, limits, resources and kill switch.

/** @import { FieldErrors, Organization, OrganizationPage } from "../types" */
/** @import { Context } from "../ui.js" */

import { path } from "../api.js";
import { html, useState } from "../html.js";
import { count, lines } from "../text.js";
import { Area, Confirm, Dialog, Empty, Facts, Field, Form, Heading, Id, Input, Loading, Moment, Pager, Pill, Section, Select, Table, Text, Trouble, numberOf, to, useData } from "../ui.js";

const PAGE = 25;
const PLANS = ["free", "pro", "enterprise"];
/** The limits that can replace those of the plan. */
const LIMITS = /** @type {const} */ ([
  ["maxAgents", "Agents"],
  ["maxTokensPerMonth", "Tokens per agent and month"],
  ["requestsPerMinute", "Requests per agent and minute"],
  ["auditRetentionDays", "Days that audit events are shown"],
]);

/** @param {Context} context */
export default function Organizations(context) {
  const [, id] = context.place.path;
  return id ? html`<${One} ...${context} id=${id} />` : html`<${List} ...${context} />`;
}

/** @param {Context} context */
function List({ session, place, notify }) {
  const page = Math.max(1, Number(place.query.get("page")) || 1);
  const slug = place.query.get("slug") ?? "";
  const [isOpen, setIsOpen] = useState(false);
  const { data, failure, isLoading, reload } = useData(`${page} ${slug}`, async (signal) => {
    /** @type {OrganizationPage} */
    const organizations = await session.request("organizations", { query: { page, slug, limit: PAGE }, signal });
    return organizations;
  });
  /** @param {Event} event */
  function find(event) {
    event.preventDefault();
    const text = new FormData(/** @type {HTMLFormElement} */ (event.currentTarget)).get("search");
    location.hash = to(["organizations"], { slug: String(text).trim() });
  }
  return html`
    <${Heading} title="Organizations" lead="Tenants. Each owns its agents, credentials and audit events.">
      <button type="button" class="button primary" onClick=${() => setIsOpen(true)}>Create an organization</button>
    <//>
    <form class="filters" role="search" onSubmit=${find}>
      <${Input} name="search" label="Slug" value=${slug} key=${slug} />
      <div class="filter-actions"><button type="submit" class="button">Search</button>
        ${slug && html`<a class="button quiet" href=${to(["organizations"])}>Clear</a>`}</div>
    </form>
    <${Trouble} failure=${failure} retry=${reload} />
    ${!data && isLoading && html`<${Loading} />`}
    ${data && html`<${Section} title="Organizations found" isFlush>
      ${data.data.length === 0
        ? html`<${Empty} title="No organization has this slug"><a href=${to(["organizations"])}>Show all</a>, or create one.<//>`
        : html`<${Table} caption="Organizations" rows=${data.data} keyOf=${(/** @type {Organization} */ one) => one.organizationId} columns=${[
            { label: "Name", kind: "main", cell: (/** @type {Organization} */ one) => html`<a class="strong" href=${to(["organizations", one.organizationId])}><${Text} of=${one.name} /></a>` },
            { label: "Slug", cell: (/** @type {Organization} */ one) => html`<code>${one.slug}</code>` },
            { label: "Plan", cell: (/** @type {Organization} */ one) => one.plan },
            { label: "Status", cell: (/** @type {Organization} */ one) => html`<${Pill} of=${one.status} />` },
            { label: "Created", cell: (/** @type {Organization} */ one) => html`<${Moment} of=${one.createdAt} isNear />` },
          ]} />`}
    <//>
    <${Pager} page=${page} limit=${PAGE} total=${data.total} noun="organizations" hrefOf=${(/** @type {number} */ page) => to(["organizations"], { page, slug })} />`}
    ${isOpen && html`<${Dialog} title="Create an organization" onClose=${() => setIsOpen(false)}>
      <${Form} action="Create" onCancel=${() => setIsOpen(false)} onSend=${async (/** @type {FormData} */ data) => {
        const body = { name: String(data.get("name")), slug: String(data.get("slug")), plan: data.get("plan") };
        /** @type {Organization} */
        const made = await session.request("organizations", { method: "POST", body });
        notify("The organization is created.");
        return to(["organizations", made.organizationId]);
      }}>${(/** @type {FieldErrors} */ errors) => html`
        <${Input} name="name" label="Name" errors=${errors} />
        <${Input} name="slug" label="Slug" errors=${errors} hint="2 to 50 small letters, digits and hyphens; unique" />
        <${Select} name="plan" label="Plan" errors=${errors} value="free" options=${PLANS} />`}<//>
    <//>`}`;
}

/** @param {Context & { id: string }} props */
function One({ session, notify, id }) {
  const [open, setOpen] = useState(/** @type {"edit" | "status" | null} */ (null));
  const { data: organization, failure, reload } = useData(id, async (signal) => {
    /** @type {Organization} */
    const organization = await session.request(path("organizations", id), { signal });
    return organization;
  });
  const back = ["Organizations", to(["organizations"])];
  if (!organization) {
    return html`<${Heading} title="Organization" back=${back} />
      ${failure ? html`<${Trouble} failure=${failure} retry=${reload} />` : html`<${Loading} />`}`;
  }
  const limits = /** @type {Record<string, number | null>} */ (organization.limits ?? {});
  const isActive = organization.status === "active";
  const close = () => setOpen(null);
  /** @param {object} body @param {string} said */
  const change = async (body, said) => {
    await session.request(path("organizations", id), { method: "PATCH", body });
    close();
    notify(said);
    reload();
  };
  return html`
    <${Heading} back=${back} title=${html`<${Text} of=${organization.name} />`} lead=${html`<${Pill} of=${organization.status} /> <${Id} of=${id} />`}>
      <button type="button" class="button" onClick=${() => setOpen("edit")}>Change</button>
      <button type="button" class=${isActive ? "button danger-quiet" : "button"} onClick=${() => setOpen("status")}>${isActive ? "Suspend" : "Reactivate"}</button>
    <//>
    <div class="columns">
      <${Section} title="Details"><${Facts} of=${[
        ["Slug", html`<code>${organization.slug}</code>`],
        ["Plan", organization.plan],
        ["Created", html`<${Moment} of=${organization.createdAt} />`],
        ["Changed", html`<${Moment} of=${organization.updatedAt} />`],
        ["Agents", html`<a href=${to(["agents"], { organization: id })}>Show its agents</a>`],
        ["Audit log", html`<a href=${to(["audit"], { organizationId: id })}>Show its events</a>`],
        ["Usage", html`<a href=${to(["usage"], { organization: id })}>Show its usage</a>`],
      ]} /><//>
      <${Section} title="Limits"><${Facts} of=${LIMITS.map(([name, label]) => {
        const limit = limits[name];
        return [label, limit === undefined ? html`<span class="muted">As in the plan</span>` : limit === null ? "Unlimited" : count(limit)];
      })} /><//>
    </div>
    <${Section} title="Resources">
      ${organization.resources.length === 0
        ? html`<${Empty} title="It has no resources">Change the organization to add the APIs that its agents request tokens for.<//>`
        : html`<ul class="tags">${organization.resources.map((one) => html`<li key=${one}><${Text} of=${one} /></li>`)}</ul>`}
    <//>
    ${open === "edit" && html`<${Edit} organization=${organization} onClose=${close} onChange=${change} />`}
    ${open === "status" && html`<${Confirm} title=${isActive ? "Suspend the organization" : "Reactivate the organization"} action=${isActive ? "Suspend" : "Reactivate"}
      word=${organization.slug} noun="slug" onClose=${close}
      onConfirm=${() => change({ status: isActive ? "suspended" : "active" }, isActive ? "The organization is suspended." : "The organization is active again.")}>
      <p>${isActive ? "All of its agents get no tokens, and all tokens that they have are revoked for good." : "Its agents can get tokens again. The tokens that they had stay revoked."}</p>
    <//>`}`;
}

/** @param {{ organization: Organization, onClose: () => void, onChange: (body: object, said: string) => Promise<void> }} props */
function Edit({ organization, onClose, onChange }) {
  const limits = /** @type {Record<string, number | null>} */ (organization.limits ?? {});
  /** @param {FormData} data */
  async function save(data) {
    /** @type {Record<string, number | null>} */
    const replaced = {};
    for (const [name] of LIMITS) {
      const text = String(data.get(`limits.${name}`)).trim().toLowerCase();
      if (text !== "") replaced[name] = text === "unlimited" ? null : numberOf(data, `limits.${name}`);
    }
    const resources = lines(data.get("resources"));
    const body = {
      ...(data.get("name") === organization.name ? {} : { name: data.get("name") }),
      ...(data.get("plan") === organization.plan ? {} : { plan: data.get("plan") }),
      ...(JSON.stringify(replaced) === JSON.stringify(limits) ? {} : { limits: replaced }),
      ...(JSON.stringify(resources) === JSON.stringify(organization.resources) ? {} : { resources }),
    };
    if (Object.keys(body).length === 0) return onClose();
    return onChange(body, "The organization is changed.");
  }
  return html`<${Dialog} title="Change the organization" onClose=${onClose} isWide>
    <${Form} action="Save" onSend=${save} onCancel=${onClose}>${(/** @type {FieldErrors} */ errors) => html`
      <div class="pair">
        <${Input} name="name" label="Name" errors=${errors} value=${organization.name} />
        <${Select} name="plan" label="Plan" errors=${errors} value=${organization.plan} options=${PLANS} />
      </div>
      <fieldset><legend>Limits</legend>
        <p class="hint">Empty keeps the limit of the plan. A number replaces it, and <code>unlimited</code> removes it.</p>
        <div class="pair">${LIMITS.map(([name, label]) => html`<${Field} name=${`limits.${name}`} label=${label} errors=${errors}>${(/** @type {object} */ attributes) => html`
          <input ...${attributes} autocomplete="off" defaultValue=${limits[name] === undefined ? "" : limits[name] === null ? "unlimited" : String(limits[name])} />`}<//>`)}</div>
      </fieldset>
      <${Area} name="resources" label="Resources" errors=${errors} value=${organization.resources.join("\n")} rows=${4} hint="URIs or plain names of the APIs that tokens are for, one a line" />`}<//>
  <//>`;
}
