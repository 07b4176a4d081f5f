// @ts-check
// Parts that all views are made of.

/** @import { View } from "./html.js" */
/** @import { FieldErrors, Place } from "./types" */
/** @import { Session } from "./api.js" */

import { Failure } from "./api.js";
import { html, useEffect, useLayoutEffect, useRef, useState } from "./html.js";
import { count, distance, moment, parts, plain, short } from "./text.js";

/**
 * What a view gets.
 * @typedef {{ session: Session, place: Place, notify: (text: string) => void }} Context
 */

/**
 * Returns the address of a place of the console.
 * @param {string[]} path
 * @param {Record<string, string | number | undefined>} [query]
 */
export function to(path, query = {}) {
  const filled = Object.entries(query).filter(([, value]) => value !== undefined && value !== "");
  const search = new URLSearchParams(filled.map(([name, value]) => [name, String(value)])).toString();
  return `#/${path.map(encodeURIComponent).join("/")}${search ? `?${search}` : ""}`;
}

/**
 * Loads data, again whenever the key changes. Data of an earlier key is never shown.
 * @template T
 * @param {string} key
 * @param {(signal: AbortSignal) => Promise<T>} load
 * @returns {{ data: T | undefined, failure: Failure | undefined, isLoading: boolean, reload: () => void }}
 */
export function useData(key, load) {
  const [turn, setTurn] = useState(0);
  const [state, setState] = useState(
    /** @type {{ key: string, data?: T, failure?: Failure, isLoading: boolean }} */ ({ key, isLoading: true }),
  );
  useEffect(() => {
    const stop = new AbortController();
    setState((before) => (before.key === key ? { ...before, isLoading: true } : { key, isLoading: true }));
    load(stop.signal).then(
      (data) => !stop.signal.aborted && setState({ key, data, isLoading: false }),
      (error) => !stop.signal.aborted && setState({ key, failure: asFailure(error), isLoading: false }),
    );
    return () => stop.abort();
  }, [key, turn]);
  const shown = state.key === key ? state : { isLoading: true };
  return {
    data: "data" in shown ? shown.data : undefined,
    failure: "failure" in shown ? shown.failure : undefined,
    isLoading: shown.isLoading,
    reload: () => setTurn((before) => before + 1),
  };
}

/**
 * Returns any error as a failure.
 * @param {unknown} error
 */
export function asFailure(error) {
  return error instanceof Failure ? error : new Failure(`The console has a fault: ${String(error)}`);
}

/**
 * A text of the API. Its direction does not reach the text around it, and hidden characters are named.
 * @param {{ of: unknown }} props
 */
export function Text({ of }) {
  return html`<bdi class="data">${parts(String(of ?? "")).map((part) =>
    part.isHidden ? html`<span class="hidden-letter" title="hidden character">${part.text}</span>` : breakable(part.text),
  )}</bdi>`;
}

/**
 * Lets an address break before its domain rather than within a word.
 * @param {string} text
 */
function breakable(text) {
  const place = text.indexOf("@");
  return place > 0 ? [text.slice(0, place), html`<wbr />`, text.slice(place)] : text;
}

/**
 * An ID, shortened for the eye and whole for the clipboard.
 * @param {{ of: string, href?: string }} props
 */
export function Id({ of, href }) {
  const text = html`<code class="id" title=${plain(of)}>${plain(short(of))}</code>`;
  return href ? html`<a href=${href}>${text}</a>` : text;
}

/**
 * A moment, or its distance from now if that is asked for.
 * @param {{ of: string | undefined, isNear?: boolean, hasYear?: boolean }} props
 */
export function Moment({ of, isNear, hasYear }) {
  if (!of) return html`<span class="muted">—</span>`;
  return html`<time datetime=${plain(of)} title=${moment(of)}>${isNear ? distance(of) : moment(of, hasYear)}</time>`;
}

/** @type {Record<string, string>} */
const TONES = {
  active: "good", success: "good", ok: "good", accepted: "good", passed: "good",
  suspended: "warn", failing: "bad", failure: "bad", refused: "bad", failed: "bad", revoked: "off",
  decommissioned: "off", expired: "off", ended: "off", unknown: "off",
};

/**
 * The state of something, in its color.
 * @param {{ of: string, tone?: string }} props
 */
export function Pill({ of, tone }) {
  return html`<span class=${`pill ${tone ?? TONES[of] ?? "off"}`}>${plain(of)}</span>`;
}

/**
 * The heading of a view. It takes the focus, so that a screen reader reads it after a change of the view.
 * @param {{ title: View, lead?: View, children?: View, back?: [string, string] }} props
 */
export function Heading({ title, lead, children, back }) {
  const heading = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => heading.current?.focus({ preventScroll: true }), []);
  useLayoutEffect(() => {
    // The element that had the focus is gone, such as the button of an action that is no longer possible.
    if (document.activeElement === document.body) heading.current?.focus({ preventScroll: true });
  });
  return html`<header class="heading">
    ${back && html`<a class="back" href=${back[1]}>← ${back[0]}</a>`}
    <div class="heading-row">
      <h1 tabindex="-1" ref=${heading}>${title}</h1>
      ${children && html`<div class="actions">${children}</div>`}
    </div>
    ${lead && html`<p class="lead">${lead}</p>`}
  </header>`;
}

/**
 * A part of a view. One whose buttons come and go takes the focus when the element that had it is gone.
 * @param {{ title: string, actions?: View, children?: View, isFlush?: boolean, takesFocus?: boolean }} props
 */
export function Section({ title, actions, children, isFlush, takesFocus }) {
  const section = useRef(/** @type {HTMLElement | null} */ (null));
  useLayoutEffect(() => {
    if (takesFocus && document.activeElement === document.body) section.current?.focus({ preventScroll: true });
  });
  return html`<section ref=${section} class="card" aria-label=${title} tabindex=${takesFocus ? -1 : null}>
    <div class="card-head"><h2>${title}</h2>${actions && html`<div class="actions">${actions}</div>`}</div>
    <div class=${isFlush ? "card-body flush" : "card-body"}>${children}</div>
  </section>`;
}

/**
 * Says that there is nothing, and what to do next.
 * @param {{ title: string, children?: View }} props
 */
export function Empty({ title, children }) {
  return html`<div class="empty"><p class="empty-title">${title}</p><p>${children}</p></div>`;
}

/**
 * Says what is wrong and what to do. Errors of the fields of a form are shown at these.
 * @param {{ failure: Failure | undefined, retry?: () => void, isOfForm?: boolean }} props
 */
export function Trouble({ failure, retry, isOfForm }) {
  if (!failure) return null;
  return html`<div class="notice bad" role="alert">
    <p><strong><${Text} of=${sentence(failure.message)} /></strong> ${failure.advice}</p>
    ${!isOfForm && Object.entries(failure.fields).map(([name, message]) => html`<p><${Text} of=${`${name}: ${message}`} /></p>`)}
    ${failure.requestId && failure.status >= 500 && html`<p class="small">Request <code>${plain(failure.requestId)}</code></p>`}
    ${retry && html`<button type="button" class="button small" onClick=${retry}>Try again</button>`}
  </div>`;
}

/** @param {string} text */
function sentence(text) {
  const begun = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(begun) ? begun : `${begun}.`;
}

/**
 * Says which scope a view needs.
 * @param {{ scope: string, what: string }} props
 */
export function Lacking({ scope, what }) {
  return html`<div class="notice">
    <p>${what} needs the scope <code>${scope}</code>, which your client does not have. Sign in as another client, or
    ask an administrator to add the scope to this one.</p>
  </div>`;
}

/** Stands for data that is on its way. */
export function Loading() {
  return html`<div class="loading" role="status"><span class="visually-hidden">Loading…</span><i></i><i></i><i></i></div>`;
}

/**
 * A table, whose rows become cards on a narrow screen.
 * @param {{ caption: string, columns: { label: string, cell: (row: any) => View, kind?: string }[], rows: any[],
 *   keyOf: (row: any) => string }} props
 */
export function Table({ caption, columns, rows, keyOf }) {
  return html`<table class="table">
    <caption class="visually-hidden">${caption}</caption>
    <thead><tr>${columns.map((column) => html`<th scope="col" class=${column.kind ?? ""}>${column.label}</th>`)}</tr></thead>
    <tbody>${rows.map((row) => html`<tr key=${keyOf(row)}>${columns.map((column) =>
      html`<td class=${column.kind ?? ""} data-label=${column.label}>${column.cell(row)}</td>`)}</tr>`)}</tbody>
  </table>`;
}

/**
 * Goes to other pages of a list.
 * @param {{ page: number, limit: number, total: number, noun: string, hrefOf: (page: number) => string }} props
 */
export function Pager({ page, limit, total, noun, hrefOf }) {
  const last = Math.max(1, Math.ceil(total / limit));
  const [from, until] = [(page - 1) * limit + 1, Math.min(page * limit, total)];
  const text = total === 0 ? `No ${noun}` : from > total ? `Page ${page} of ${last}`
    : `${count(from)}–${count(until)} of ${count(total)} ${noun}`;
  return html`<nav class="pager" aria-label="Pages">
    <p role="status">${text}</p>
    <div class="actions">
      ${page > 1 ? html`<a class="button" rel="prev" href=${hrefOf(Math.min(page - 1, last))}>Previous</a>` : null}
      ${page < last ? html`<a class="button" rel="next" href=${hrefOf(page + 1)}>Next</a>` : null}
    </div>
  </nav>`;
}

/**
 * Buttons that turn the pages of a part of a view; nothing if there is one page.
 * @param {{ page: number, limit: number, total: number, setPage: (page: number) => void, words: [string, string] }} props
 */
export function Turns({ page, limit, total, setPage, words: [back, on] }) {
  const last = Math.max(1, Math.ceil(total / limit));
  // The last page may have become empty.
  return (total > limit || page > 1) && html`<div class="more">
    <p>${page <= last && html`${count((page - 1) * limit + 1)}–${count(Math.min(page * limit, total))} of ${count(total)}`}</p>
    <span class="actions">
      ${page > 1 && html`<button type="button" class="button small" onClick=${() => setPage(Math.min(page - 1, last))}>${back}</button>`}
      ${page * limit < total && html`<button type="button" class="button small" onClick=${() => setPage(page + 1)}>${on}</button>`}
    </span></div>`;
}

/**
 * Names and values.
 * @param {{ of: [string, View][] }} props
 */
export function Facts({ of }) {
  return html`<dl class="facts">${of.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;
}

/**
 * A dialog that keeps the focus until it is closed. It cannot be closed while its form is sent, whose result it shows.
 * @param {{ title: string, onClose: () => void, children?: View, isWide?: boolean }} props
 */
export function Dialog({ title, onClose, children, isWide }) {
  const dialog = useRef(/** @type {HTMLDialogElement | null} */ (null));
  useLayoutEffect(() => {
    const [before, opened] = [document.activeElement, dialog.current];
    opened?.showModal();
    return () => {
      // Nothing else can take the focus while the dialog is open.
      opened?.close();
      if (before instanceof HTMLElement && before.isConnected) before.focus();
    };
  }, []);
  function close() {
    const shown = dialog.current;
    if (!shown?.querySelector("[aria-busy=true]")) onClose();
    // A browser closes a dialog at the second press of Escape, whatever the page does.
    else if (!shown.open) shown.showModal();
  }
  return html`<dialog ref=${dialog} class=${isWide ? "wide" : ""} aria-labelledby="dialog-title"
    onCancel=${(/** @type {Event} */ event) => { event.preventDefault(); close(); }}
    onClose=${() => dialog.current && close()}>
    <div class="dialog-head">
      <h2 id="dialog-title">${title}</h2>
      <button type="button" class="button quiet" aria-label="Close" onClick=${close}>✕</button>
    </div>
    <div class="dialog-body">${children}</div>
  </dialog>`;
}

/**
 * A field of a form with its label, its hint and its error.
 * @param {{ name: string, label: string, hint?: string, errors?: FieldErrors | undefined, children: (attributes: object) => View }} props
 */
export function Field({ name, label, hint, errors, children }) {
  const error = errors?.[name];
  const described = [hint && `${name}-hint`, error && `${name}-error`].filter(Boolean).join(" ");
  const attributes = {
    id: `field-${name}`, name, "aria-invalid": error ? "true" : null, "aria-describedby": described || null,
  };
  return html`<div class=${error ? "field wrong" : "field"}>
    <label for=${`field-${name}`}>${label}</label>
    ${children(attributes)}
    ${hint && html`<p class="hint" id=${`${name}-hint`}>${hint}</p>`}
    ${error && html`<p class="error" id=${`${name}-error`}>${plain(error)}</p>`}
  </div>`;
}

/**
 * A field of one line.
 * @param {{ name: string, label: string, hint?: string, errors?: FieldErrors | undefined, value?: string, type?: string,
 *   isRequired?: boolean, more?: object }} props
 */
export function Input({ value, type, isRequired, more, ...field }) {
  return html`<${Field} ...${field}>${(/** @type {object} */ attributes) => html`<input type=${type ?? "text"}
    defaultValue=${value ?? ""} autocomplete="off" autocapitalize="off" spellcheck=${false} required=${isRequired}
    ...${more} ...${attributes} />`}<//>`;
}

/**
 * A field of several lines.
 * @param {{ name: string, label: string, hint?: string, errors?: FieldErrors | undefined, value?: string, rows?: number }} props
 */
export function Area({ value, rows, ...field }) {
  return html`<${Field} ...${field}>${(/** @type {object} */ attributes) => html`<textarea rows=${rows ?? 3}
    defaultValue=${value ?? ""} autocomplete="off" autocapitalize="off" spellcheck=${false} ...${attributes}></textarea>`}<//>`;
}

/**
 * A choice among few values.
 * @param {{ name: string, label: string, hint?: string, errors?: FieldErrors | undefined, value?: string,
 *   options: (string | [string, string])[], onChange?: (value: string) => void }} props
 */
export function Select({ value, options, onChange, ...field }) {
  return html`<${Field} ...${field}>${(/** @type {object} */ attributes) => html`<select ...${attributes}
    onChange=${(/** @type {any} */ event) => onChange?.(event.currentTarget.value)}>
    ${options.map((option) => {
      const [name, label] = typeof option === "string" ? [option, option] : option;
      return html`<option value=${name} selected=${name === value}>${plain(label)}</option>`;
    })}</select>`}<//>`;
}

/**
 * A choice of yes or no.
 * @param {{ name: string, label: string, hint?: string, isChecked?: boolean, onChange?: (isChecked: boolean) => void }} props
 */
export function Check({ name, label, hint, isChecked, onChange }) {
  return html`<div class="check">
    <input type="checkbox" id=${`field-${name}`} name=${name} defaultChecked=${isChecked} aria-describedby=${hint ? `${name}-hint` : null}
      onChange=${(/** @type {any} */ event) => onChange?.(event.currentTarget.checked)} />
    <label for=${`field-${name}`}>${label}</label>
    ${hint && html`<p class="hint" id=${`${name}-hint`}>${hint}</p>`}
  </div>`;
}

/**
 * A form that sends once, shows errors at their fields, and moves the focus to the first of them. It cannot be cancelled
 * while it is sent. If `onSend` returns a place, the page goes there, unless the person has left in the meantime.
 * @param {{ action: string, onSend: (data: FormData) => Promise<string | void>, onCancel?: () => void, isDanger?: boolean,
 *   children: (errors: FieldErrors) => View }} props
 */
export function Form({ action, onSend, onCancel, isDanger, children }) {
  const form = useRef(/** @type {HTMLFormElement | null} */ (null));
  const [failure, setFailure] = useState(/** @type {Failure | undefined} */ (undefined));
  const [isSending, setIsSending] = useState(false);
  useEffect(() => {
    const wrong = form.current?.querySelector("[aria-invalid=true]");
    if (wrong instanceof HTMLElement) wrong.focus();
  }, [failure]);
  /** @param {Event} event */
  async function submit(event) {
    event.preventDefault();
    if (isSending || !form.current) return;
    // A date without its time, for one, has an empty value.
    const incomplete = [...form.current.querySelectorAll("input")].find((input) => input.validity.badInput);
    if (incomplete) return setFailure(wrongValue(incomplete.name, incomplete.validationMessage));
    const here = location.hash;
    setIsSending(true);
    setFailure(undefined);
    try {
      const place = await onSend(new FormData(form.current));
      if (place && location.hash === here) location.hash = place;
    } catch (error) {
      setFailure(asFailure(error));
    }
    setIsSending(false);
  }
  return html`<form ref=${form} onSubmit=${submit} novalidate autocomplete="off">
    <${Trouble} failure=${failure} isOfForm />
    ${children(failure?.fields ?? {})}
    <div class="form-actions">
      ${onCancel && html`<button type="button" class="button" disabled=${isSending} onClick=${onCancel}>Cancel</button>`}
      <button type="submit" class=${isDanger ? "button danger" : "button primary"} aria-busy=${isSending ? "true" : null}>${action}</button>
    </div>
  </form>`;
}

/**
 * Returns the failure of a form that has a wrong value in one field.
 * @param {string} field
 * @param {string} message What to enter
 * @param {string} [said] What is wrong
 */
export function wrongValue(field, message, said = "A value is invalid.") {
  return new Failure(said, { status: 400, details: { errors: [{ field, message }] } });
}

/**
 * Returns the whole number in a field.
 * @param {FormData} data
 * @param {string} field
 */
export function numberOf(data, field) {
  const text = String(data.get(field) ?? "").trim();
  if (!/^\d{1,15}$/.test(text)) throw wrongValue(field, "Enter a whole number in digits alone.");
  return Number(text);
}

/**
 * Refuses a form whose person has not typed a name.
 * @param {FormData} data
 * @param {{ word: string, noun: string }} name
 */
export function confirm(data, { word, noun }) {
  const typed = String(data.get("confirmation")).trim();
  // A hidden character is typed as the name by which it is shown.
  const shown = parts(word).map((part) => part.text).join("");
  if (typed !== word && typed !== shown) {
    throw wrongValue("confirmation", `Type the ${noun} exactly as it is shown.`, `This is not the ${noun}.`);
  }
}

/**
 * The field for a name that confirms something.
 * @param {{ word: string, noun: string, errors: FieldErrors, more?: object }} props
 */
export function Confirmation({ word, noun, errors, more }) {
  return html`<p>To confirm, type the ${noun}: <strong class="word"><${Text} of=${word} /></strong></p>
    <${Input} name="confirmation" label=${`The ${noun}`} errors=${errors} more=${more} />`;
}

/**
 * Asks the person to type a name before something that cannot be undone.
 * @param {{ title: string, action: string, word: string, noun: string, onConfirm: () => Promise<string | void>,
 *   onClose: () => void, children?: View }} props
 */
export function Confirm({ title, action, word, noun, onConfirm, onClose, children }) {
  return html`<${Dialog} title=${title} onClose=${onClose}>
    <${Form} action=${action} isDanger onCancel=${onClose} onSend=${async (/** @type {FormData} */ data) => {
      confirm(data, { word, noun });
      return onConfirm();
    }}>${(/** @type {FieldErrors} */ errors) => html`
      ${children}
      <${Confirmation} word=${word} noun=${noun} errors=${errors} more=${{ autofocus: true }} />`}
    <//>
  <//>`;
}

/**
 * A value with a button that copies it.
 * @param {{ label: string, value: string }} props
 */
export function Copyable({ label, value }) {
  const field = useRef(/** @type {HTMLInputElement | null} */ (null));
  const [said, setSaid] = useState("");
  async function copy() {
    field.current?.select();
    try {
      await navigator.clipboard.writeText(value);
      setSaid("Copied");
    } catch {
      setSaid("Selected; press Ctrl+C");
    }
  }
  return html`<div class="field">
    <label for=${`copy-${label}`}>${label}</label>
    <div class="copyable">
      <input id=${`copy-${label}`} ref=${field} readonly value=${plain(value)} class="mono" />
      <button type="button" class="button" onClick=${copy}>Copy<span class="visually-hidden"> ${label}</span></button>
    </div>
    <p class="hint" role="status">${said}</p>
  </div>`;
}

/**
 * A bar that shows how much of a limit is used.
 * @param {{ label: string, used: number, limit: number | null | undefined }} props
 */
export function Meter({ label, used, limit }) {
  const share = limit ? Math.min(1, used / limit) : 0;
  const tone = share >= 0.9 ? "bad" : share >= 0.75 ? "warn" : "good";
  return html`<div class="meter">
    <p><span>${label}</span> <strong>${count(used)}</strong> <span class="muted">${limit ? `of ${count(limit)}` : "no limit"}</span></p>
    ${limit && html`<svg viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true">
      <rect class="track" width="100" height="4" /><rect class=${tone} width=${share * 100} height="4" />
    </svg>`}
  </div>`;
}
