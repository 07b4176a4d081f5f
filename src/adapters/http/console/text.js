// @ts-check
// Texts of the API, and how they are shown. Agents choose their own names, so each text may try to deceive its reader.

/** Characters that cannot be seen, or that change the order of the characters around them. */
const HIDDEN = /[\p{Cc}\p{Cf}\p{Co}\p{Cn}\p{Zl}\p{Zp}\u115f\u1160\u2800\u3164\uffa0]|[\ud800-\udfff]/u;

/**
 * Returns the visible name of a hidden character, such as `U+202E`.
 * @param {string} letter
 */
function nameOf(letter) {
  return `U+${(letter.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0")}`;
}

/**
 * Divides a text into what can be shown and the names of hidden characters.
 * @param {string} text
 * @returns {{ text: string, isHidden: boolean }[]}
 */
export function parts(text) {
  /** @type {{ text: string, isHidden: boolean }[]} */
  const found = [];
  for (const letter of text) {
    const isHidden = HIDDEN.test(letter);
    const last = found.at(-1);
    if (!isHidden && last && !last.isHidden) last.text += letter;
    else found.push({ text: isHidden ? nameOf(letter) : letter, isHidden });
  }
  return found;
}

/**
 * Returns a text for places that take nothing but text, such as attributes.
 * @param {unknown} value
 */
export function plain(value) {
  return parts(String(value ?? "")).map((part) => (part.isHidden ? `‹${part.text}›` : part.text)).join("");
}

/**
 * Returns the beginning of an ID.
 * @param {string} id
 */
export function short(id) {
  return id.length > 13 ? `${id.slice(0, 8)}…${id.slice(-4)}` : id;
}

/**
 * Returns a number with separators.
 * @param {number} value
 */
export function count(value) {
  return new Intl.NumberFormat("en").format(value);
}

const MOMENT = new Intl.DateTimeFormat("en-GB", {
  year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit",
});
const MOMENT_OF_YEAR = new Intl.DateTimeFormat("en-GB", {
  month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit",
});
const DISTANCE = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
/** @type {[Intl.RelativeTimeFormatUnit, number][]} */
const UNITS = [["year", 31557600], ["month", 2629800], ["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];

/**
 * Returns a moment in the time zone of the reader.
 * @param {string} time
 * @param {boolean} [hasYear]
 */
export function moment(time, hasYear = true) {
  const date = new Date(time);
  return Number.isNaN(date.getTime()) ? plain(time) : (hasYear ? MOMENT : MOMENT_OF_YEAR).format(date);
}

/**
 * Returns how far a moment is from now.
 * @param {string} time
 */
export function distance(time) {
  const seconds = (new Date(time).getTime() - Date.now()) / 1000;
  if (Number.isNaN(seconds)) return plain(time);
  const [unit, length] = UNITS.find(([, length]) => Math.abs(seconds) >= length) ?? ["second", 1];
  return DISTANCE.format(Math.round(seconds / length), unit);
}

/**
 * Returns whether a text is an ID.
 * @param {string} text
 */
export function isId(text) {
  return /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text);
}

/**
 * Returns the lines of a field.
 * @param {FormDataEntryValue | null} value
 */
export function lines(value) {
  return String(value ?? "").split("\n").map((line) => line.trim()).filter(Boolean);
}

/**
 * Returns the words or lines of a field.
 * @param {FormDataEntryValue | null} value
 */
export function words(value) {
  return String(value ?? "").split(/[\s,]+/).filter(Boolean);
}
