// @ts-check
// The frame around all views: signing in and out, navigation, and the place that the URL names.

/** @import { View } from "./html.js" */
/** @import { FieldErrors, Place } from "./types" */

import { Failure, Session, UNREACHABLE } from "./api.js";
import { html, render, useEffect, useRef, useState } from "./html.js";
import { useName } from "./names.js";
import { Form, Heading, Input, Lacking, Loading, Text, Trouble, asFailure, to, wrongValue } from "./ui.js";

/**
 * @typedef {object} Area
 * @property {string} title
 * @property {string} path First part of the place
 * @property {string} scope The scope that the view needs; empty if it needs none
 * @property {() => Promise<{ default: (context: any) => View }>} load
 */

/** @type {Area[]} */
const AREAS = [
  { title: "Overview", path: "", scope: "", load: () => import("./views/overview.js") },
  { title: "Agents", path: "agents", scope: "agents:read", load: () => import("./views/agents.js") },
  { title: "Audit log", path: "audit", scope: "audit:read", load: () => import("./views/audit.js") },
  { title: "Delegation", path: "tokens", scope: "audit:read", load: () => import("./views/tokens.js") },
  { title: "Trusted issuers", path: "issuers", scope: "issuers:read", load: () => import("./views/issuers.js") },
  { title: "Organizations", path: "organizations", scope: "admin:orgs", load: () => import("./views/organizations.js") },
  { title: "Usage", path: "usage", scope: "agents:read", load: () => import("./views/usage.js") },
];

const NO_PROOFS = "This agent needs proofs of possession (DPoP), which the console does not send. Use another agent.";

/** @returns {Place} */
function placeOfUrl() {
  const [path = "", search = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const decode = (/** @type {string} */ part) => {
    try {
      return decodeURIComponent(part);
    } catch {
      return part;
    }
  };
  return { path: path.split("/").filter(Boolean).map(decode), query: new URLSearchParams(search) };
}

/** @param {{ onSession: (session: Session) => void, note: string }} props */
function SignIn({ onSession, note }) {
  useEffect(() => {
    document.title = "Sign in · AgentIdP";
  }, []);
  /** @param {FormData} data */
  async function signIn(data) {
    const [id, secret] = [String(data.get("client_id")).trim(), String(data.get("client_secret")).trim()];
    const errors = [
      ...(id ? [] : [{ field: "client_id", message: "Enter the client ID." }]),
      ...(secret ? [] : [{ field: "client_secret", message: "Enter the client secret." }]),
    ];
    if (errors.length > 0) throw new Failure("Fill in what is missing.", { status: 400, details: { errors } });
    const session = new Session(id, secret);
    try {
      await session.signIn();
    } catch (error) {
      const failure = asFailure(error);
      if (failure.code === "invalid_client") {
        throw wrongValue("client_secret", "Check both, or create a new credential for this agent.",
          "The client ID or the client secret is wrong, or the credential has ended.");
      }
      if (failure.code === "invalid_dpop_proof") {
        throw new Failure(NO_PROOFS, { status: 400 });
      }
      throw failure;
    }
    onSession(session);
  }
  return html`<main class="sign-in" id="main">
    <div class="sign-in-card">
      <img src="console/icon.svg" alt="" width="40" height="40" />
      <h1>Sign in to AgentIdP</h1>
      <p class="lead">Use the client ID and the secret of an agent with management scopes.</p>
      ${note && html`<div class="notice" role="status"><p>${note}</p></div>`}
      <${Form} action="Sign in" onSend=${signIn}>${(/** @type {FieldErrors} */ errors) => html`
        <${Input} name="client_id" label="Client ID" errors=${errors} more=${{ class: "mono", autofocus: true }} />
        <${Input} name="client_secret" label="Client secret" type="password" errors=${errors} more=${{ class: "mono" }} />`}
      <//>
      <p class="small muted">Both are kept in the memory of this page only. They are gone when you close or reload it.</p>
    </div>
  </main>`;
}

/** @param {{ session: Session, place: Place, onSignOut: () => void }} props */
function Navigation({ session, place, onSignOut }) {
  const [isOpen, setIsOpen] = useState(false);
  const here = place.path[0] ?? "";
  useEffect(() => setIsOpen(false), [location.hash]);
  const areas = AREAS.filter((area) => !area.scope || session.scopes.has(area.scope));
  return html`<header class=${isOpen ? "side open" : "side"}>
    <div class="brand">
      <img src="console/icon.svg" alt="" width="28" height="28" /><span>AgentIdP</span>
      <button type="button" class="button menu" aria-expanded=${isOpen ? "true" : "false"} aria-controls="areas"
        onClick=${() => setIsOpen(!isOpen)}>Menu</button>
    </div>
    <div id="areas" class="areas">
      <nav aria-label="Console"><ul>
        ${areas.map((area) => html`<li><a href=${to(area.path ? [area.path] : [])}
          aria-current=${here === area.path ? "page" : null}>${area.title}</a></li>`)}
      </ul></nav>
      <div class="account">
        <p class="small muted">Signed in as</p>
        <p class="who"><${Who} session=${session} /></p>
        <button type="button" class="button" onClick=${onSignOut}>Sign out</button>
      </div>
    </div>
  </header>`;
}

/** @param {{ session: Session }} props */
function Who({ session }) {
  return html`<${Text} of=${useName(session, session.clientId) ?? session.clientId} />`;
}

/** @param {{ session: Session, place: Place, notify: (text: string) => void }} props */
function Main({ session, place, notify }) {
  const here = place.path[0] ?? "";
  const area = AREAS.find((area) => area.path === here);
  const [loaded, setLoaded] = useState(/** @type {{ area?: Area, View?: any, failure?: Failure }} */ ({}));
  useEffect(() => {
    let isCurrent = true;
    document.title = `${area?.title ?? "Not found"} · AgentIdP`;
    area?.load().then(
      (module) => isCurrent && setLoaded({ area, View: module.default }),
      () => isCurrent && setLoaded({ area, failure: new Failure("This view cannot be loaded.", { code: UNREACHABLE }) }),
    );
    return () => {
      isCurrent = false;
    };
  }, [area]);
  if (!area) {
    return html`<${Heading} title="There is nothing here" lead="The console has no such page. Choose one of the navigation." />`;
  }
  if (area.scope && !session.scopes.has(area.scope)) {
    return html`<${Heading} title=${area.title} key=${here} /><${Lacking} scope=${area.scope} what=${area.title} />`;
  }
  if (loaded.area !== area) return html`<${Loading} />`;
  if (loaded.failure) return html`<${Trouble} failure=${loaded.failure} retry=${() => location.reload()} />`;
  return html`<${loaded.View} key=${place.path.join("/")} session=${session} place=${place} notify=${notify} />`;
}

function App() {
  const [session, setSession] = useState(/** @type {Session | null} */ (null));
  const [place, setPlace] = useState(placeOfUrl);
  const [note, setNote] = useState("");
  const [said, setSaid] = useState("");
  const timer = useRef(0);
  useEffect(() => {
    const move = () => setPlace(placeOfUrl());
    addEventListener("hashchange", move);
    return () => removeEventListener("hashchange", move);
  }, []);
  /** @param {string} text */
  function notify(text) {
    clearTimeout(timer.current);
    setSaid(text);
    timer.current = window.setTimeout(() => setSaid(""), 8_000);
  }
  /** @param {string} reason */
  function end(reason) {
    session?.signOut();
    setSession(null);
    setNote(reason);
    setSaid("");
  }
  if (!session) {
    return html`<${SignIn} note=${note} onSession=${(/** @type {Session} */ begun) => {
      setNote("");
      setSession(begun);
    }} />`;
  }
  session.onEnd = ({ code, message }) => end(code === "invalid_dpop_proof" ? NO_PROOFS : code === "no_scope" ? message
    : "Your credential is no longer accepted, so you were signed out. Sign in again.");
  return html`
    <a class="skip" href="#main" onClick=${(/** @type {Event} */ event) => {
      event.preventDefault();
      document.querySelector("h1")?.focus();
    }}>Skip to content</a>
    <div class="frame">
      <${Navigation} session=${session} place=${place} onSignOut=${() => {
        end("You are signed out.");
        location.hash = to([]);
      }} />
      <main id="main"><${Main} session=${session} place=${place} notify=${notify} /></main>
    </div>
    <div class="toast" role="status" aria-live="polite">${said && html`<p>${said}</p>`}</div>`;
}

const root = document.getElementById("app");
if (root) render(html`<${App} />`, root);
