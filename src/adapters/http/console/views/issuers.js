// @ts-check
// Trusted issuers, and why an assertion of one is accepted or refused.

/** @import { Explanation, FieldErrors, Issuer, IssuerPage } from "../types" */
/** @import { Context } from "../ui.js" */

import { path } from "../api.js";
import { html, useState } from "../html.js";
import { AgentName } from "../names.js";
import { lines, plain, words } from "../text.js";
import { Area, Check, Confirm, Dialog, Empty, Facts, Form, Heading, Id, Input, Loading, Moment, Pager, Pill, Section, Select, Table, Text, Trouble, numberOf, to, useData, wrongValue } from "../ui.js";
import { Lines } from "./events.js";
import { OrganizationField } from "./organization-field.js";

const PAGE = 25;
const SOURCES = /** @type {[string, string][]} */ ([
  ["discovery", "Found by OpenID discovery"], ["jwks_uri", "A JWK set at a URL"], ["jwks", "Keys that you enter"], ["spiffe_bundle", "A SPIFFE bundle at a URL"],
]);

/** @param {Context} context */
export default function Issuers(context) {
  const [, id] = context.place.path;
  return id ? html`<${One} ...${context} id=${id} />` : html`<${List} ...${context} />`;
}

/** @param {Context} context */
function List({ session, place, notify }) {
  const page = Math.max(1, Number(place.query.get("page")) || 1);
  const status = place.query.get("status") ?? "";
  const [isOpen, setIsOpen] = useState(false);
  const { data, failure, isLoading, reload } = useData(`${page} ${status}`, async (signal) => {
    /** @type {IssuerPage} */
    const issuers = await session.request("issuers", { query: { page, status, limit: PAGE }, signal });
    return issuers;
  });
  const canWrite = session.scopes.has("issuers:write");
  return html`
    <${Heading} title="Trusted issuers" lead="Third parties whose JWTs authenticate agents that have no secret.">
      ${canWrite && html`<button type="button" class="button primary" onClick=${() => setIsOpen(true)}>Trust an issuer</button>`}
    <//>
    <div class="filters"><${Select} name="status" label="Status" value=${status} options=${[["", "Any"], "active", "suspended"]}
      onChange=${(/** @type {string} */ value) => { location.hash = to(["issuers"], { status: value }); }} /></div>
    <${Trouble} failure=${failure} retry=${reload} />
    ${!data && isLoading && html`<${Loading} />`}
    ${data && html`<${Section} title="Issuers found" isFlush>
      ${data.data.length === 0
        ? html`<${Empty} title="No trusted issuers">${canWrite ? "Trust an issuer, such as Kubernetes or a CI service, so that its workloads need no secrets." : "An administrator can add one."}<//>`
        : html`<${Table} caption="Trusted issuers" rows=${data.data} keyOf=${(/** @type {Issuer} */ one) => one.issuerId} columns=${[
            { label: "Name", kind: "main", cell: (/** @type {Issuer} */ one) => html`<a class="strong" href=${to(["issuers", one.issuerId])}><${Text} of=${one.name} /></a>` },
            { label: "Issuer", cell: (/** @type {Issuer} */ one) => html`<${Text} of=${one.issuer} />` },
            { label: "Status", cell: (/** @type {Issuer} */ one) => html`<${Pill} of=${one.status} />` },
            { label: "Keys", cell: (/** @type {Issuer} */ one) => html`<${Pill} of=${one.keysStatus.state} />` },
            { label: "Added", cell: (/** @type {Issuer} */ one) => html`<${Moment} of=${one.createdAt} isNear />` },
          ]} />`}
    <//>
    <${Pager} page=${page} limit=${PAGE} total=${data.total} noun="issuers" hrefOf=${(/** @type {number} */ page) => to(["issuers"], { page, status })} />`}
    ${isOpen && html`<${Create} session=${session} notify=${notify} onClose=${() => setIsOpen(false)} />`}`;
}

/** @param {Pick<Context, "session" | "notify"> & { onClose: () => void }} props */
function Create({ session, notify, onClose }) {
  const [type, setType] = useState("discovery");
  /** @param {FormData} data */
  async function create(data) {
    /** @type {Record<string, unknown>} */
    const keys = { type };
    if (type === "jwks") {
      try {
        keys["jwks"] = JSON.parse(String(data.get("keys")));
      } catch {
        throw wrongValue("keys", 'Enter a JWK set, such as {"keys": […]}.', "The keys are not JSON.");
      }
    } else if (type !== "discovery") {
      keys["uri"] = String(data.get("keys")).trim();
    }
    const audiences = lines(data.get("audiences"));
    const organizationId = String(data.get("organizationId") ?? "").trim();
    /** @type {Issuer} */
    const issuer = await session.request("issuers", { method: "POST", body: {
      name: String(data.get("name")).trim(), issuer: String(data.get("issuer")).trim(), keys, requireJti: data.get("requireJti") !== null,
      ...(audiences.length > 0 ? { audiences } : {}), ...(organizationId ? { organizationId } : {}),
    } });
    notify("The issuer is trusted. Create a credential of this kind for an agent next.");
    return to(["issuers", issuer.issuerId]);
  }
  return html`<${Dialog} title="Trust an issuer" onClose=${onClose}>
    <${Form} action="Trust" onSend=${create} onCancel=${onClose}>${(/** @type {FieldErrors} */ errors) => html`
      <${Input} name="name" label="Name" errors=${errors} />
      <${Input} name="issuer" label="Issuer" errors=${errors} hint="The exact iss of its JWTs, or spiffe:// and a trust domain" />
      <${Select} name="source" label="Its keys" errors=${errors} value=${type} onChange=${setType} options=${SOURCES} />
      ${type === "jwks" && html`<${Area} name="keys" label="JWK set" errors=${errors} rows=${5} />`}
      ${["jwks_uri", "spiffe_bundle"].includes(type) && html`<${Input} name="keys" label="URL of the keys" errors=${errors} />`}
      <${Area} name="audiences" label="Audiences" errors=${errors} rows=${2} hint="One a line; without any, the issuer of this service" />
      <${Check} name="requireJti" label="Each assertion can be used only once (needs jti)" />
      <${OrganizationField} session=${session} errors=${errors} />`}<//>
  <//>`;
}

/** @param {Context & { id: string }} props */
function One({ session, notify, id }) {
  const [open, setOpen] = useState(/** @type {"edit" | "status" | "delete" | "person" | "people" | "no-people" | null} */ (null));
  const { data: issuer, failure, reload } = useData(id, async (signal) => {
    /** @type {Issuer} */
    const issuer = await session.request(path("issuers", id), { signal });
    return issuer;
  });
  const back = ["Trusted issuers", to(["issuers"])];
  if (!issuer) {
    return html`<${Heading} title="Trusted issuer" back=${back} />
      ${failure ? html`<${Trouble} failure=${failure} retry=${reload} />` : html`<${Loading} />`}`;
  }
  const isActive = issuer.status === "active";
  const close = () => setOpen(null);
  /** @param {string} said */
  const done = (said) => {
    close();
    notify(said);
    reload();
  };
  const yes = (/** @type {boolean} */ value) => (value ? "Yes" : "No");
  const { subjects, keysStatus } = issuer;
  return html`
    <${Heading} back=${back} title=${html`<${Text} of=${issuer.name} />`} lead=${html`<${Pill} of=${issuer.status} /> <${Text} of=${issuer.issuer} />`}>
      ${session.scopes.has("issuers:write") && html`
        <button type="button" class="button" onClick=${() => setOpen("edit")}>Change</button>
        <button type="button" class=${isActive ? "button danger-quiet" : "button"} onClick=${() => setOpen("status")}>${isActive ? "Suspend" : "Reactivate"}</button>
        <button type="button" class="button danger-quiet" onClick=${() => setOpen("person")}>Revoke a person's tokens</button>
        <button type="button" class="button danger-quiet" onClick=${() => setOpen("delete")}>Delete</button>`}
    <//>
    <div class="columns">
      <${Section} title="Details"><${Facts} of=${[
        ["ID", html`<${Id} of=${issuer.issuerId} />`],
        ["Audiences", html`<ul class="plain">${issuer.audiences.map((one) => html`<li><${Text} of=${one} /></li>`)}</ul>`],
        ["Algorithms", issuer.algorithms.join(", ")],
        ["Longest lifetime", `${issuer.maxLifetimeSeconds} seconds`],
        ["Each assertion once", yes(issuer.requireJti)],
        ["Credentials without a subject", yes(issuer.subjectOptional)],
        ["Managed by", issuer.managedBy ? html`<${Text} of=${issuer.managedBy} />` : html`<span class="muted">By hand</span>`],
        ["Added", html`<${Moment} of=${issuer.createdAt} />`],
      ]} /><//>
      <div class="stack">
        <${Section} title="Keys"><${Facts} of=${[
          ["State", html`<${Pill} of=${keysStatus.state} />`],
          ["Source", SOURCES.find(([type]) => type === issuer.keys.type)?.[1] ?? issuer.keys.type],
          ...(issuer.keys.uri ? [["URL", html`<${Text} of=${issuer.keys.uri} />`]] : []),
          ...(issuer.keys.jwks ? [["Key IDs", html`<${Text} of=${issuer.keys.jwks.keys.map((key) => key.kid ?? key.kty).join(", ")} />`]] : []),
          ["Fetched", html`<${Moment} of=${keysStatus.checkedAt} isNear />`],
          ...(keysStatus.error ? [["Error", html`<${Text} of=${keysStatus.error} />`]] : []),
        ]} /><//>
        <${Section} title="People that agents may act for" actions=${session.scopes.has("issuers:write") && html`
            <button type="button" class="button small" onClick=${() => setOpen("people")}>${subjects ? "Change people" : "Let agents act for people"}</button>
            ${subjects && html`<button type="button" class="button small danger-quiet" onClick=${() => setOpen("no-people")}>Remove</button>`}`}>
          ${subjects ? html`<${Facts} of=${[
              ["Scopes", html`<${Text} of=${subjects.scopes.join(" ")} />`],
              ["Actors", subjects.mayAct.includes("*") ? "Every agent of the organization"
                : html`<ul class="plain">${subjects.mayAct.map((one) => html`<li><${AgentName} session=${session} id=${one} /></li>`)}</ul>`],
              ["Audiences", html`<${Text} of=${subjects.audiences.join(", ")} />`],
              ["Greatest age", `${subjects.maxAgeSeconds} seconds`],
              ["May be passed on", yes(subjects.redelegation)],
            ]} />` : html`<${Empty} title="None">Tokens of its people are not accepted for exchange.<//>`}
        <//>
      </div>
    </div>
    <${Explain} session=${session} id=${id} />
    ${open === "edit" && html`<${Edit} session=${session} issuer=${issuer} onClose=${close} onDone=${done} />`}
    ${open === "people" && html`<${People} session=${session} issuer=${issuer} onClose=${close} onDone=${done} />`}
    ${open === "no-people" && html`<${Confirm} title="Let no agent act for its people" action="Remove" word=${issuer.name} noun="name" onClose=${close} onConfirm=${async () => {
      await session.request(path("issuers", id), { method: "PATCH", body: { subjects: null } });
      done("No agent can act for its people any more.");
    }}><p>Every token that acts for one of its people is revoked for good.</p><//>`}
    ${open === "person" && html`<${Person} session=${session} id=${id} onClose=${close} onDone=${done} />`}
    ${open === "status" && html`<${Confirm} title=${isActive ? "Suspend the issuer" : "Reactivate the issuer"} action=${isActive ? "Suspend" : "Reactivate"}
      word=${issuer.name} noun="name" onClose=${close} onConfirm=${async () => {
        await session.request(path("issuers", id), { method: "PATCH", body: { status: isActive ? "suspended" : "active" } });
        done(isActive ? "The issuer is suspended." : "The issuer is active again.");
      }}><p>${isActive ? "No agent can authenticate by it, and every token that rests on it is revoked for good." : "Agents can authenticate by it again. Revoked tokens stay revoked."}</p><//>`}
    ${open === "delete" && html`<${Confirm} title="Delete the issuer" action="Delete" word=${issuer.name} noun="name" onClose=${close} onConfirm=${async () => {
      await session.request(path("issuers", id), { method: "DELETE" });
      notify("The issuer is deleted.");
      return to(["issuers"]);
    }}><p>Tokens that rest on it become inactive. This is refused while a credential uses it.</p><//>`}`;
}

/** @param {Pick<Context, "session"> & { issuer: Issuer, onClose: () => void, onDone: (said: string) => void }} props */
function Edit({ session, issuer, onClose, onDone }) {
  /** @param {FormData} data */
  async function save(data) {
    const all = {
      name: String(data.get("name")).trim(), audiences: lines(data.get("audiences")),
      maxLifetimeSeconds: numberOf(data, "maxLifetimeSeconds"), requireJti: data.get("requireJti") !== null,
    };
    const before = /** @type {Record<string, unknown>} */ ({ ...issuer });
    const body = Object.fromEntries(Object.entries(all).filter(([name, value]) => JSON.stringify(before[name]) !== JSON.stringify(value)));
    if (Object.keys(body).length > 0) await session.request(path("issuers", issuer.issuerId), { method: "PATCH", body });
    onDone("The issuer is changed.");
  }
  return html`<${Dialog} title="Change the issuer" onClose=${onClose}>
    <${Form} action="Save" onSend=${save} onCancel=${onClose}>${(/** @type {FieldErrors} */ errors) => html`
      <${Input} name="name" label="Name" errors=${errors} value=${issuer.name} />
      <${Area} name="audiences" label="Audiences" errors=${errors} value=${issuer.audiences.join("\n")} hint="One a line" />
      <${Input} name="maxLifetimeSeconds" label="Longest lifetime, in seconds" errors=${errors} type="number" value=${String(issuer.maxLifetimeSeconds)} />
      <${Check} name="requireJti" label="Each assertion can be used only once (needs jti)" isChecked=${issuer.requireJti} />`}<//>
  <//>`;
}

/** @param {Pick<Context, "session"> & { issuer: Issuer, onClose: () => void, onDone: (said: string) => void }} props */
function People({ session, issuer, onClose, onDone }) {
  const { subjects } = issuer;
  /** @param {FormData} data */
  async function save(data) {
    await session.request(path("issuers", issuer.issuerId), { method: "PATCH", body: { subjects: {
      audiences: lines(data.get("subjects.audiences")), mayAct: words(data.get("subjects.mayAct")), scopes: words(data.get("subjects.scopes")),
      maxAgeSeconds: numberOf(data, "subjects.maxAgeSeconds"), redelegation: data.get("subjects.redelegation") !== null,
    } } });
    onDone("The people that agents may act for are changed.");
  }
  return html`<${Dialog} title="People that agents may act for" onClose=${onClose}>
    <${Form} action="Save" onSend=${save} onCancel=${onClose}>${(/** @type {FieldErrors} */ errors) => html`
      <${Area} name="subjects.audiences" label="Audiences of their tokens" errors=${errors} rows=${2} value=${subjects?.audiences.join("\n")}
        hint="One a line, such as the client ID of the app that they log in to; not those of the issuer's workloads" />
      <${Area} name="subjects.mayAct" label="Agents that may act" errors=${errors} rows=${2} value=${subjects?.mayAct.join("\n")} hint="IDs, or * for every agent of the organization" />
      <${Area} name="subjects.scopes" label="Scopes that a person can pass on" errors=${errors} rows=${2} value=${subjects?.scopes.join(" ")} hint="With spaces between them" />
      <${Input} name="subjects.maxAgeSeconds" label="Greatest age of their tokens, in seconds" errors=${errors} type="number" value=${String(subjects?.maxAgeSeconds ?? 3600)} />
      <${Check} name="subjects.redelegation" label="An agent that acts for a person may let another act" isChecked=${subjects?.redelegation} />`}<//>
  <//>`;
}

/** @param {Pick<Context, "session"> & { id: string, onClose: () => void, onDone: (said: string) => void }} props */
function Person({ session, id, onClose, onDone }) {
  return html`<${Dialog} title="Revoke a person's tokens" onClose=${onClose}>
    <${Form} action="Revoke" isDanger onCancel=${onClose} onSend=${async (/** @type {FormData} */ data) => {
      const subject = String(data.get("subject"));
      if (subject !== String(data.get("again"))) {
        throw wrongValue("again", "Type the same subject again.", "The two subjects differ.");
      }
      await session.request(path("issuers", id, "subjects", "revoke"), { method: "POST", body: { subject } });
      onDone("Every token that acts for this person is revoked.");
    }}>${(/** @type {FieldErrors} */ errors) => html`
      <p>Every token that acts for this person is revoked for good. Also for a person who was never seen.</p>
      <${Input} name="subject" label="Subject" errors=${errors} hint="The exact sub of the person at the issuer" />
      <${Input} name="again" label="Subject, again" errors=${errors} />`}<//>
  <//>`;
}

/** @typedef {Explanation["checks"][number]} CheckResult */

/** @param {Pick<Context, "session"> & { id: string }} props */
function Explain({ session, id }) {
  const [answer, setAnswer] = useState(/** @type {Explanation | null} */ (null));
  const value = (/** @type {unknown} */ of) => (of === undefined ? html`<span class="muted">—</span>` : html`<code><${Text} of=${typeof of === "string" ? of : JSON.stringify(of)} /></code>`);
  return html`<${Section} title="Explain an assertion">
    <p>Makes every check that authentication would make, and shows what was compared. Nothing is issued or counted.</p>
    <${Form} action="Explain" onSend=${async (/** @type {FormData} */ data) => {
      setAnswer(null);
      const clientId = words(data.get("clientId"))[0];
      setAnswer(await session.request(path("issuers", id, "explain"), {
        method: "POST", body: { assertion: String(data.get("assertion")).trim(), ...(clientId ? { clientId } : {}) },
      }));
    }}>${(/** @type {FieldErrors} */ errors) => html`
      <${Area} name="assertion" label="Assertion" errors=${errors} rows=${4} hint="The JWT that the workload would send" />
      <${Input} name="clientId" label="Agent" errors=${errors} hint="Optional: the ID of the agent that would send it" />`}<//>
    <div aria-live="polite">${answer && html`
      <h3>Verdict: <${Pill} of=${answer.verdict} /></h3>
      <${Table} caption="Checks" rows=${answer.checks} keyOf=${(/** @type {CheckResult} */ check) => check.check} columns=${[
        { label: "Check", kind: "main", cell: (/** @type {CheckResult} */ check) => plain(check.check).replaceAll("_", " ") },
        { label: "Result", cell: (/** @type {CheckResult} */ check) => html`<${Pill} of=${check.passed ? "passed" : "failed"} />` },
        { label: "Expected", cell: (/** @type {CheckResult} */ check) => value(check.expected) },
        { label: "Found", cell: (/** @type {CheckResult} */ check) => value(check.actual) },
      ]} />
      <h3>Agents that match</h3>
      ${answer.agents.length === 0 ? html`<p class="muted">None. Create a credential with this issuer, subject and claims.</p>`
        : html`<ul class="plain">${answer.agents.map((one) => html`<li><${AgentName} session=${session} id=${one} /></li>`)}</ul>`}
      <h3>Claims</h3>
      <pre tabindex="0" aria-label="Claims"><${Lines} of=${JSON.stringify(answer.claims ?? null, null, 2)} /></pre>`}</div>
  <//>`;
}
