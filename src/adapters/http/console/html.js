// @ts-check
// Joins the view library: elements are written as templates, and every value in a template becomes text.

import htm from "./vendor/htm.js";
import { h } from "./vendor/preact.js";

export { render } from "./vendor/preact.js";
export { useEffect, useLayoutEffect, useMemo, useRef, useState } from "./vendor/hooks.js";

export const html = htm.bind(h);

/** @typedef {ReturnType<typeof html> | string | null | undefined | false} View Anything that can be shown. */
