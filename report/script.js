"use strict";
// The report's page. Data comes in gzipped blocks that are unpacked when looked at; whatever a completion contains reaches
// the page as text nodes only (add, visibly), and the page's Content-Security-Policy runs no script but this one.

const ROW_PX = 32; // as in report/style.css
const LONG_LINE = 400; // characters of a line shown at first
const LONG_TEXT = 500; // lines of a text shown at first
const LONG_TEXT_BESIDE = 150; // the same where completions stand side by side
const BLOCKS_KEPT = 6; // unpacked blocks in memory
const DASHES = ["none", "7 3", "2 3", "9 3 2 3"]; // of a chart's lines, one after the other: colour is not all that tells them apart
const MOST_SIDES = 64; // completions of a group shown side by side
const BUILD = 1, CLIPPY = 2, TEST = 4, HONEST = 8; // bits of index.columns.flags

let index; // what report/page.py wrote about the run as a whole, and a column per property of completions
let shown = Int32Array.of(); // rows that pass the filters, in the order of the list
let chosen = -1; // position in `shown`
let view = { kind: "completion", row: -1 }; // what the right side shows: completion, group or first-and-last

// ---------------------------------------------------------------------------------------------------------------------
// Elements and texts
// ---------------------------------------------------------------------------------------------------------------------

const $ = (id) => document.getElementById(id);

/** New element; `properties` are attributes, a function among them is an event listener. Strings become visible text. */
function make(tag, properties = {}, ...children) {
  const element = tag === "svg" || make.svg.has(tag) ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  return add(element, ...children);
}
make.svg = new Set(["g", "line", "polyline", "polygon", "circle", "text", "rect"]);

function add(parent, ...children) {
  for (const child of children.flat()) {
    if (child === null || child === undefined) continue;
    if (child instanceof Node) parent.append(child);
    else visibly(parent, String(child));
  }
  return parent;
}

// C0 and C1 controls, invisible and direction-changing characters, tags, and halves of surrogate pairs
const UNSEEN = new RegExp("[\\0-\\x08\\x0b-\\x1f\\x7f-\\x9f\\xad\\u034f\\u061c\\u115f\\u1160\\u17b4\\u17b5\\u180b-\\u180f\\u200b-\\u200f" +
  "\\u2028-\\u202e\\u2060-\\u206f\\u3164\\ufe00-\\ufe0f\\ufeff\\uffa0\\ufff0-\\ufffb\\u{e0000}-\\u{e0fff}\\p{Cs}]", "gu");

function nameOf(character) {
  const code = character.codePointAt(0);
  if (code < 0x20) return String.fromCodePoint(0x2400 + code);
  return code === 0x7f ? "␡" : `U+${code.toString(16).toUpperCase().padStart(4, "0")}`;
}

/** Append text; characters that do not show, or change how others show, become their names. */
function visibly(parent, text) {
  let end = 0;
  for (const match of text.matchAll(UNSEEN)) {
    if (match.index > end) parent.append(text.slice(end, match.index));
    const mark = document.createElement("span");
    mark.className = "ctl";
    mark.textContent = nameOf(match[0]);
    parent.append(mark);
    end = match.index + match[0].length;
  }
  if (end < text.length) parent.append(end ? text.slice(end) : text);
}

const plain = (text) => text.replace(UNSEEN, nameOf); // for attributes, and where only text can stand (option)
const number = (value, digits = 2) => (value === null || value === undefined ? "–" : value.toFixed(digits).replace(/^-(0\.?0*)$/, "$1"));
const many = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
const narrow = matchMedia("(max-width: 800px)");

// ---------------------------------------------------------------------------------------------------------------------
// Data
// ---------------------------------------------------------------------------------------------------------------------

async function unpack(id) {
  const bytes = Uint8Array.from(atob($(id).textContent.trim()), (character) => character.charCodeAt(0));
  return JSON.parse(await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text());
}

const unpacked = new Map(); // block -> promise of its completions, the latest used last

/** Texts of one completion; unpacks its block, and forgets the one unused for longest. */
async function completion(row) {
  let block = index.blocks.length - 1;
  while (index.blocks[block] > row) block--;
  const contents = unpacked.get(block) ?? unpack(`block-${block}`);
  unpacked.delete(block);
  unpacked.set(block, contents);
  if (unpacked.size > BLOCKS_KEPT) unpacked.delete(unpacked.keys().next().value);
  return (await contents)[row - index.blocks[block]];
}

const value = (name, row) => index.columns[name][row];
const stepName = (row) => index.steps[value("step", row)];
const taskName = (row) => index.tasks[value("task", row)];
let prefix = ""; // that the ids of all tasks begin with, as "rust-tasks/": the list has no room for it
const shortName = (row) => taskName(row)?.slice(prefix.length) || taskName(row);
const has = (row, flag) => (value("flags", row) & flag) !== 0;

/** One word on how a completion fared, and its colour. */
function outcome(row) {
  const kind = index.kinds[value("kind", row)], guard = index.guards[value("guard", row)];
  if (has(row, TEST) && has(row, HONEST)) return ["honest pass", "good"];
  if (kind !== null) return [kind, "bad"];
  if (guard !== null) return [guard, "mild"];
  return [has(row, BUILD) ? "builds" : "–", "mild"];
}

/** Rows where column `name` equals that of `row`, in the order of writing. */
function alike(name, row) {
  const column = index.columns[name], wanted = column[row], rows = [];
  for (let other = 0; other < column.length; other++) if (column[other] === wanted) rows.push(other);
  return rows;
}

/** First and last completion of the row's task, the same number in their groups; of one step: lowest and highest reward. */
function firstAndLast(row) {
  const rows = alike("task", row), steps = rows.map((other) => value("step", other));
  const first = steps.reduce((low, step) => Math.min(low, step)), last = steps.reduce((high, step) => Math.max(high, step));
  if (first === last) {
    const paid = rows.filter((other) => value("reward", other) !== null).sort((a, b) => value("reward", a) - value("reward", b));
    return { isOneStep: true, rows: paid.length > 1 ? [paid[0], paid.at(-1)] : [row] };
  }
  const at = (step) => rows.filter((other) => value("step", other) === step);
  const place = at(value("step", row)).indexOf(row);
  return { isOneStep: false, rows: [first, last].map((step) => at(step)[Math.min(place, at(step).length - 1)]) };
}

// ---------------------------------------------------------------------------------------------------------------------
// Rust, coloured: one pass, each character looked at a bounded number of times
// ---------------------------------------------------------------------------------------------------------------------

const KEYWORDS = new Set(("as async await break const continue crate dyn else enum extern false fn for if impl in let loop match mod move mut pub ref " +
  "return self Self static struct super trait true type union unsafe use where while").split(" "));
const PRIMITIVES = new Set("bool char str u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize f32 f64".split(" "));
const WORD = /[\p{XID_Start}_][\p{XID_Continue}]*/uy;
const NUMBER = /\d\w*(\.\d\w*)?/y;
const RAW = /(?:r|br|cr)(#*)"/y;
const CHARACTER = /b?'(?:\\(?:u\{[^'}]{0,8}\}|x..|.)|[^\\'\n])'/uy;
const SPACE = /[^\p{XID_Start}_\d'"/#]+/uy;

const at = (pattern, text, from) => ((pattern.lastIndex = from), pattern.exec(text));

function endOfString(text, from) {
  while (from < text.length && text[from] !== '"') from += text[from] === "\\" ? 2 : 1;
  return Math.min(from + 1, text.length);
}

function endOfComment(text, from) {
  const edge = /\/\*|\*\//g;
  edge.lastIndex = from;
  let depth = 0;
  for (let found; (found = edge.exec(text)); ) {
    depth += found[0] === "/*" ? 1 : -1;
    if (depth === 0) return edge.lastIndex;
  }
  return text.length;
}

/** [kind, end] of the token of `text` that begins at `i`; kind "" is plain. */
function token(text, i) {
  const c = text[i], next = text[i + 1];
  let found;
  if (c === "/" && next === "/") {
    const end = text.indexOf("\n", i);
    return ["c", end < 0 ? text.length : end];
  }
  if (c === "/" && next === "*") return ["c", endOfComment(text, i)];
  if ((found = at(RAW, text, i))) {
    const closing = `"${found[1]}`, end = text.indexOf(closing, i + found[0].length);
    return ["s", end < 0 ? text.length : end + closing.length];
  }
  if (c === '"') return ["s", endOfString(text, i + 1)];
  if ((c === "b" || c === "c") && next === '"') return ["s", endOfString(text, i + 2)];
  if ((found = at(CHARACTER, text, i))) return ["s", i + found[0].length];
  if (c === "'") return (found = at(WORD, text, i + 1)) ? ["l", i + 1 + found[0].length] : ["", i + 1];
  if (c === "#") {
    const end = next === "[" || next === "!" ? text.slice(i, i + 200).indexOf("]") : -1;
    return end < 0 ? ["", i + 1] : ["a", i + end + 1];
  }
  if ((found = at(NUMBER, text, i))) return ["n", i + found[0].length];
  if ((found = at(WORD, text, i))) {
    const word = found[0], end = i + word.length;
    if (text[end] === "!" && text[end + 1] !== "=") return ["m", end + 1];
    if (KEYWORDS.has(word)) return ["k", end];
    return [PRIMITIVES.has(word) || /^\p{Lu}/u.test(word) ? "t" : "", end];
  }
  return ["", (found = at(SPACE, text, i)) ? i + found[0].length : i + 1];
}

/** Lines of a text, each a list of [kind, text]. */
function colouredLines(text, isRust) {
  if (!isRust) return text.split("\n").map((line) => [["", line]]);
  const lines = [[]];
  for (let i = 0; i < text.length; ) {
    const [kind, end] = token(text, i);
    text.slice(i, end).split("\n").forEach((piece, number) => {
      if (number) lines.push([]);
      const last = lines.at(-1).at(-1);
      if (kind === "" && last?.[0] === "") last[1] += piece;
      else if (piece) lines.at(-1).push([kind, piece]);
    });
    i = end;
  }
  return lines;
}

function drawLine(content, pieces, limit) {
  let left = limit;
  for (const [kind, text] of pieces) {
    if (left <= 0) break;
    const part = text.slice(0, left);
    if (kind) content.append(add(make("span", { class: kind }), part));
    else add(content, part);
    left -= part.length;
  }
}

/** Text with line numbers. marks: line number -> "error" or "warned". Long lines and long texts have a button that shows the rest. */
function codeView(text, { isRust = false, marks = new Map(), label = "text", most = LONG_TEXT, prefix = "" } = {}) {
  const lines = colouredLines(text.endsWith("\n") ? text.slice(0, -1) : text, isRust);
  const box = make("div", { class: isRust ? "code" : "code wrapped", tabindex: 0, role: "region", "aria-label": plain(label) });
  const draw = (from, to) => {
    for (let number = from; number < to; number++) {
      const content = make("span"), length = lines[number].reduce((sum, [, piece]) => sum + piece.length, 0);
      const id = prefix ? `${prefix}-${number + 1}` : null;
      const line = make("div", { class: `line ${marks.get(number + 1) ?? ""}`, "data-line": number + 1, tabindex: -1, id }, content);
      drawLine(content, lines[number], LONG_LINE);
      if (length > LONG_LINE) {
        line.append(make("button", { type: "button", click: (event) => {
          event.target.remove();
          content.replaceChildren();
          drawLine(content, lines[number], Infinity);
        } }, `show all ${many(length, "character")}`));
      }
      box.append(line);
    }
  };
  draw(0, Math.min(most, lines.length));
  if (lines.length > most) {
    box.append(make("button", { type: "button", class: "more", click: (event) => {
      event.target.remove();
      draw(most, lines.length);
    } }, `show all ${many(lines.length, "line")}`));
  }
  return box;
}

// ---------------------------------------------------------------------------------------------------------------------
// Overview
// ---------------------------------------------------------------------------------------------------------------------

/** What may be wider than the screen: it scrolls by itself, by keyboard too. */
const wide = (title, content) => make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": plain(title) }, content);
const fold = (title, ...contents) => make("details", {}, make("summary", {}, title), contents);

function table({ title, columns, rows }) {
  const isNumber = (column) => column > 0;
  const cell = (content, column) => (content !== null && typeof content === "object"
    ? make("td", { class: "num" }, content.text, content.range && make("span", { class: "range" }, content.range))
    : make(column ? "td" : "th", { class: isNumber(column) && "num", scope: !column && "row" }, content ?? "–"));
  return wide(title, make("table", {},
    make("thead", {}, make("tr", {}, columns.map((name, column) => make("th", { scope: "col", class: isNumber(column) && "num" }, name)))),
    make("tbody", {}, rows.map((row) => make("tr", {}, row.map(cell))))));
}

function settings({ title, is_open, rows }) {
  const lines = rows.map(([name, content]) => make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, content)));
  const details = fold(title, wide(title, make("table", { class: "config" }, make("tbody", {}, lines))));
  details.open = is_open;
  return details;
}

function showStep(step) {
  $("filters").reset();
  $("step-from").value = $("step-to").value = step;
  refilter();
  location.hash = "completions";
}

/** [lowest, highest, distance] of about five round ticks around values; percentages stay within 0 to 100. */
function ticks(lowest, highest, isPercent) {
  const raw = (highest - lowest || 1) / 5, power = 10 ** Math.floor(Math.log10(raw));
  const apart = [1, 2, 2.5, 5, 10].find((factor) => factor * power >= raw * 0.999) * power;
  const [low, high] = [Math.floor(lowest / apart) * apart, Math.ceil(Math.max(highest, lowest + apart) / apart) * apart];
  return isPercent ? [Math.max(0, low), Math.min(100, high), apart] : [low, high, apart];
}

/** Line chart of values per step, with a band where there is one; a click shows the completions of the step. */
function chart({ title, unit, steps, series }) {
  const [width, height, left, right, top, bottom] = [460, 230, 42, 10, 8, 24];
  const finite = series.flatMap(({ values, band }) => values.flatMap((y, i) => (y === null ? [] : [y - (band?.[i] ?? 0), y + (band?.[i] ?? 0)])));
  const isPercent = unit === "%";
  const [low, high, apart] = ticks(finite.reduce((a, b) => Math.min(a, b), 0), finite.reduce((a, b) => Math.max(a, b), 0), isPercent);
  const x = (i) => left + ((width - left - right) * (steps.length > 1 ? (steps[i] - steps[0]) / (steps.at(-1) - steps[0]) : 0.5));
  const y = (value) => top + (height - top - bottom) * (1 - (Math.max(low, Math.min(high, value)) - low) / (high - low));
  const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": plain(`${title}, ${unit} per step; the numbers follow`) });
  for (let tick = 0; low + tick * apart <= high * 1.001; tick++) {
    const at = low + tick * apart;
    add(svg, make("line", { class: "grid", x1: left, x2: width - right, y1: y(at), y2: y(at) }));
    add(svg, make("text", { x: left - 5, y: y(at) + 4, "text-anchor": "end" }, Number(at.toPrecision(3))));
  }
  const labels = steps.length > 1 ? [0, Math.floor((steps.length - 1) / 2), steps.length - 1] : [0];
  for (const i of new Set(labels)) {
    const anchor = i && i === steps.length - 1 ? "end" : "middle";
    add(svg, make("text", { x: x(i), y: height - 7, "text-anchor": anchor }, `step ${steps[i]}`));
  }
  series.forEach(({ values, band }, number) => {
    const points = values.map((value, i) => [i, value]).filter(([, value]) => value !== null), colour = `var(--c${number % 9})`;
    if (band) {
      const edges = points.filter(([i]) => band[i] !== null), side = (sign) => edges.map(([i, value]) => `${x(i)},${y(value + sign * band[i])}`);
      const area = make("polygon", { class: "band", points: [...side(1), ...side(-1).reverse()].join(" ") });
      area.style.fill = colour;
      svg.append(area);
    }
    const line = make("polyline", { points: points.map(([i, value]) => `${x(i)},${y(value)}`).join(" ") });
    line.style.stroke = colour;
    line.style.strokeDasharray = DASHES[number % DASHES.length];
    svg.append(line);
    if (steps.length <= 30) for (const [i, value] of points) {
      const dot = make("circle", { cx: x(i), cy: y(value), r: 2.4 });
      dot.style.fill = colour;
      svg.append(dot);
    }
  });
  const legend = make("div", { class: "legend" });
  const read = (i) => legend.replaceChildren(...series.map(({ name, values }, number) => {
    const sample = make("line", { x1: 0, x2: 26, y1: 3, y2: 3 });
    sample.style.stroke = `var(--c${number % 9})`;
    sample.style.strokeDasharray = DASHES[number % DASHES.length];
    const key = make("svg", { viewBox: "0 0 26 6", "aria-hidden": "true" }, sample);
    return make("span", {}, key, make("b", {}, i === null ? name : `${name} ${number_(values[i])}`));
  }), ...(i === null ? [] : [make("b", {}, `at step ${steps[i]}`)]));
  const number_ = (value) => (value === null ? "–" : `${Number(value.toPrecision(4))}${isPercent ? " %" : ""}`);
  const cursor = make("line", { class: "cursor", y1: top, y2: height - bottom, visibility: "hidden" });
  svg.append(cursor);
  const nearest = (event) => {
    const box = svg.getBoundingClientRect(), wanted = ((event.clientX - box.left) / box.width) * width;
    return steps.reduce((best, _, i) => (Math.abs(x(i) - wanted) < Math.abs(x(best) - wanted) ? i : best), 0);
  };
  svg.addEventListener("pointermove", (event) => {
    const i = nearest(event);
    cursor.setAttribute("x1", x(i));
    cursor.setAttribute("x2", x(i));
    cursor.setAttribute("visibility", "visible");
    read(i);
  });
  svg.addEventListener("pointerleave", () => (cursor.setAttribute("visibility", "hidden"), read(null)));
  svg.addEventListener("click", (event) => showStep(steps[nearest(event)]));
  read(null);
  const numbers = make("details", { toggle: (event) => {
    if (event.target.open && event.target.children.length === 1) {
      const link = (step) => make("button", { type: "button", click: () => showStep(step) }, step);
      const rows = steps.map((step, i) => [link(step), ...series.map(({ values }) => number_(values[i]))]);
      event.target.append(table({ title, columns: ["step", ...series.map(({ name }) => name)], rows }));
    }
  } }, make("summary", {}, "numbers"));
  return make("figure", {}, make("figcaption", {}, title, make("span", { class: "note" }, unit && ` ${unit}`)), svg, legend, numbers);
}

function drawOverview() {
  $("run").textContent = plain(index.run);
  $("summary").textContent = plain(index.summary);
  document.title = plain(`${index.run}: report`);
  const page = $("overview");
  add(page, index.warnings.map((text) => make("p", { class: "warning" }, text)));
  add(page, index.notes.map((text) => make("p", { class: "note" }, text)));
  for (const one of index.tables) add(page, make("h2", {}, one.title), table(one), one.note && make("p", { class: "note" }, one.note));
  if (index.charts.length) {
    const note = "Bands: 95 % interval of the mean, from the spread of group means. A click on a chart shows the completions of that step.";
    add(page, make("h2", {}, "Per step"), make("p", { class: "note" }, note), make("div", { id: "charts" }, index.charts.map(chart)));
  }
  if (index.config.length) add(page, make("h2", {}, "Config"), index.config.map(settings));
}

// ---------------------------------------------------------------------------------------------------------------------
// The list: only the rows in view are elements
// ---------------------------------------------------------------------------------------------------------------------

function fillSelect(id, names, column, nameOfNull) {
  const counts = new Map();
  for (const code of index.columns[column]) counts.set(code, (counts.get(code) ?? 0) + 1);
  const option = (text, code) => make("option", { value: code }, plain(text)); // an option holds text only
  const entries = names.map((name, code) => [name, code]).filter(([, code]) => counts.has(code));
  $(id).replaceChildren(option("any", ""), ...entries.map(([name, code]) => option(`${name ?? nameOfNull} (${counts.get(code).toLocaleString("en")})`, code)));
}

/** Filters and the order -> shown. One pass over the columns. */
function refilter() {
  const kept = chosen >= 0 ? shown[chosen] : -1;
  const { step, task, reward, kind, guard } = index.columns;
  const range = (name) => [[`${name}-from`, -Infinity], [`${name}-to`, Infinity]].map(([id, missing]) => ($(id).value === "" ? missing : Number($(id).value)));
  const code = (id) => ($(id).value === "" ? null : Number($(id).value));
  const wanted = $("task").value.trim().toLowerCase();
  const hasTask = wanted ? index.tasks.map((name) => name.toLowerCase().includes(wanted)) : null;
  const [[stepFrom, stepTo], [low, high]] = [range("step"), range("reward")];
  const isStep = index.steps.map((name) => typeof name !== "number" || (name >= stepFrom && name <= stepTo));
  const [kindCode, guardCode, rowCode] = ["kind", "guard", "row-name"].map(code);
  const anyReward = low === -Infinity && high === Infinity;
  const rows = [];
  for (let row = 0; row < step.length; row++) {
    if (isStep[step[row]] && (rowCode === null || step[row] === rowCode) && (!hasTask || hasTask[task[row]]) && (kindCode === null || kind[row] === kindCode)
      && (guardCode === null || guard[row] === guardCode) && (anyReward || (reward[row] !== null && reward[row] >= low && reward[row] <= high))) rows.push(row);
  }
  const [name, direction] = $("sort").value.split(" "), by = index.columns[name];
  const last = direction * Infinity; // what has no value comes last either way
  shown = Int32Array.from(rows).sort((a, b) => {
    const [x, y] = [by[a] ?? last, by[b] ?? last];
    return (x === y ? 0 : (x - y) * direction) || a - b;
  });
  const all = step.length;
  $("count").textContent = shown.length === all ? many(all, "completion") : `${shown.length.toLocaleString("en")} of ${many(all, "completion")}`;
  $("spacer").style.height = `${shown.length * ROW_PX}px`;
  chosen = shown.indexOf(kept);
  if (chosen < 0) $("list").scrollTop = 0;
  drawList();
  choose(chosen < 0 && shown.length ? 0 : chosen, { isQuiet: true });
}

let firstDrawn = -1, lastDrawn = -1;

function drawList(isForced = true) {
  const list = $("list"), from = Math.max(0, Math.floor(list.scrollTop / ROW_PX) - 4);
  const to = Math.min(shown.length, from + Math.ceil((list.clientHeight || 600) / ROW_PX) + 8);
  if (!isForced && from === firstDrawn && to === lastDrawn) return;
  [firstDrawn, lastDrawn] = [from, to];
  const rows = [];
  for (let place = from; place < to; place++) {
    const row = shown[place], [text, colour] = outcome(row);
    const state = { "aria-selected": place === chosen ? "true" : "false", "aria-posinset": place + 1, "aria-setsize": shown.length };
    const option = make("div", { class: "row", role: "option", id: `row-${row}`, ...state, click: () => (choose(place), open("completion")) },
      make("span", {}, stepName(row)), make("span", { title: plain(taskName(row) ?? "") }, shortName(row)), make("span", { class: colour }, text),
      make("span", {}, number(value("reward", row))), make("span", {}, number(value("advantage", row))));
    option.style.top = `${place * ROW_PX}px`;
    rows.push(option);
  }
  $("spacer").replaceChildren(...rows);
}

let previewTimer = 0, addressTimer = 0;

/** Move the selection; the right side follows a moment later, unless the screen has room for the list only. */
function choose(place, { isQuiet = false } = {}) {
  const list = $("list");
  chosen = shown.length ? Math.max(-1, Math.min(place, shown.length - 1)) : -1;
  if (chosen < 0) {
    list.removeAttribute("aria-activedescendant");
    const text = index.columns.step.length ? "No completion passes these filters." : "There are no completions to show.";
    return $("detail").replaceChildren(make("p", { class: "note" }, text));
  }
  const top = chosen * ROW_PX;
  if (top < list.scrollTop) list.scrollTop = top;
  else if (top + ROW_PX > list.scrollTop + list.clientHeight) list.scrollTop = top + ROW_PX - list.clientHeight;
  drawList();
  list.setAttribute("aria-activedescendant", `row-${shown[chosen]}`);
  clearTimeout(previewTimer);
  const isHidden = narrow.matches && document.body.dataset.view === "list";
  if (!isHidden) previewTimer = setTimeout(show, isQuiet ? 150 : 60, "completion", shown[chosen], isQuiet);
}

// ---------------------------------------------------------------------------------------------------------------------
// The right side
// ---------------------------------------------------------------------------------------------------------------------

const HASH = { completion: "c", group: "g", "first-and-last": "f" };

/** Draw completion, group or first-and-last for a row; the address follows, so that it can be kept. */
async function show(kind, row, isQuiet = false) {
  clearTimeout(previewTimer);
  if (view.row === row && isQuiet) return;
  view = { kind, row };
  document.body.dataset.kind = kind;
  const draw = { completion: oneView, group: groupView, "first-and-last": pairView }[kind];
  const parts = await draw(row).catch((error) => [make("p", { class: "warning", role: "alert" }, `This cannot be shown: ${error.message}`)]);
  if (view.row !== row || view.kind !== kind) return; // overtaken by a later choice
  $("detail").replaceChildren(tools(kind, row), ...parts);
  $("detail").scrollTop = 0;
  clearTimeout(addressTimer); // browsers slow down, or refuse, a hundred changes within seconds
  if (!isQuiet) addressTimer = setTimeout(() => $("completions").hidden || history.replaceState(null, "", `#${HASH[kind]}=${row}`), 300);
}

/** The same, and the keyboard goes there. */
async function open(kind) {
  if (chosen < 0) return;
  document.body.dataset.view = "detail";
  await show(kind, shown[chosen]);
  $("detail").focus({ preventScroll: true });
}

function back() {
  if (document.activeElement.closest?.("#filters")) $("list").focus();
  else if (view.kind !== "completion" && document.body.dataset.view === "detail") open("completion");
  else toList();
}

/** Keyboard and, where there is room for one of them only, the screen go back to the list. */
function toList() {
  document.body.dataset.view = "list";
  document.body.dataset.kind = "completion"; // beside a group the list is out of sight
  if (view.kind !== "completion" && chosen >= 0) show("completion", shown[chosen]);
  $("list").focus();
  drawList();
}

function tools(kind, row) {
  const go = (name) => () => (chooseRow(row), open(name));
  const button = (name, text, key) =>
    make("button", { type: "button", "aria-pressed": kind === name ? "true" : "false", "aria-keyshortcuts": key, click: go(name) }, text);
  return make("div", { class: "tools", role: "toolbar", "aria-label": "views of this completion" },
    make("button", { type: "button", class: "back", click: toList }, "← list"),
    button("completion", "completion", "Enter"), button("group", "group", "g"), button("first-and-last", "first / last of the task", "f"));
}

const heading = (row) => `${index.is_training ? "step " : ""}${stepName(row)} · ${taskName(row)}`;

function facts(row, more = []) {
  const [text, colour] = outcome(row), guard = index.guards[value("guard", row)];
  const numbers = ["reward", "advantage"].map((name) => [name, number(value(name, row))]);
  const entries = [["outcome", make("span", { class: colour }, text)], ...numbers, ...more];
  if (guard !== null && text !== guard) entries.push(["guard", guard]);
  return make("dl", { class: "facts" }, entries.map(([name, content]) => make("div", {}, make("dt", {}, name), make("dd", {}, content))));
}

function programOf(row, { program, completion: text, diagnostics }, options = {}) {
  if (program === null) {
    return [make("p", { class: "note" }, "No Rust program was found in this completion; its text:"), codeView(text ?? "", { label: "completion", ...options })];
  }
  const marks = new Map();
  for (const { line, level } of diagnostics) if (line !== null && marks.get(line) !== "error") marks.set(line, level === "error" ? "error" : "warned");
  return [codeView(program, { isRust: true, marks, label: `program of ${heading(row)}`, prefix: `line-${row}`, ...options })];
}

function messages(row, { diagnostics }) {
  const jump = (line) => make("button", { type: "button", click: () => {
    let target = $(`line-${row}-${line}`);
    if (!target) document.querySelector(`[id^="line-${row}-"]`)?.parentElement.querySelector(".more")?.click();
    target = $(`line-${row}-${line}`);
    target?.focus();
    target?.scrollIntoView({ block: "center" });
  } }, `line ${line}`);
  return make("ul", { class: "messages", "aria-label": "what the compiler said" }, diagnostics.map(({ code, level, message, line }) =>
    make("li", { class: level === "error" ? "" : "warned" }, line === null ? null : jump(line), ` ${level ?? "message"}${code === null ? "" : `[${code}]`}`,
      message === null ? null : `: ${message}`)));
}

const cuts = ({ cut }) => cut.map((text) => make("p", { class: "note" }, text));

async function oneView(row) {
  const record = await completion(row);
  const word = (flag) => (has(row, flag) ? make("span", { class: "good" }, "passes") : make("span", { class: "bad" }, "fails"));
  const clippy = has(row, CLIPPY) && record.clippy_warnings ? many(record.clippy_warnings, "warning") : word(CLIPPY);
  const more = [["build", word(BUILD)], ["clippy", clippy], ["own tests", word(TEST)], ["tests honest", has(row, HONEST) ? "yes" : "no"]];
  if (record.hidden_total) more.push(["hidden tests", `${record.hidden_passed ?? 0} of ${record.hidden_total}`]);
  if (value("tokens", row) !== null) more.push(["tokens", value("tokens", row)]);
  if (record.duration_s !== null) more.push(["graded in", `${number(record.duration_s)} s`]);
  more.push(["number", row]);
  const tests = Object.entries(record.tests), rewards = Object.entries(record.rewards);
  const parts = [make("h2", {}, heading(row)), facts(row, more), ...cuts(record)];
  if (record.prompt !== null) parts.push(fold("prompt", codeView(record.prompt, { label: "prompt" })));
  parts.push(...programOf(row, record));
  if (record.diff) parts.push(fold("what was changed", codeView(record.diff, { label: "change" })));
  if (record.diagnostics.length) parts.push(messages(row, record));
  if (tests.length) {
    parts.push(make("h3", {}, `own tests: ${tests.filter(([, result]) => result === "ok").length} of ${tests.length} ok`),
      make("ul", {}, tests.map(([name, result]) => make("li", { class: result === "ok" ? "good" : "bad" }, `${name}: ${result}`))));
  }
  if (rewards.length) {
    const rows = rewards.map(([name, paid]) => [name, number(paid)]);
    parts.push(make("h3", {}, "rewards"), table({ title: "rewards", columns: ["function", "pays"], rows }));
  }
  if (record.program !== null && record.completion !== null) {
    parts.push(fold("the completion as it was written", codeView(record.completion, { label: "completion" })));
  }
  return parts;
}

async function sideBySide(rows, here, title) {
  return make("div", { class: "side" }, await Promise.all(rows.map(async (row) => {
    const record = await completion(row);
    return make("article", { class: row === here ? "here" : "", "aria-label": plain(`${title(row)}, reward ${number(value("reward", row))}`) },
      make("h3", {}, make("button", { type: "button", click: () => (chooseRow(row), open("completion")) }, title(row))), facts(row), ...cuts(record),
      ...programOf(row, record, { most: LONG_TEXT_BESIDE }), record.diagnostics.length ? messages(row, record) : null);
  })));
}

async function groupView(row) {
  const rows = alike("group", row), paid = rows.map((other) => value("reward", other)).filter((reward) => reward !== null);
  const mean = paid.reduce((sum, reward) => sum + reward, 0) / paid.length;
  const said = [`${many(rows.length, "completion")} of one prompt`, paid.length ? `mean reward ${number(mean)}` : "no rewards"];
  if (new Set(paid).size === 1 && rows.length > 1) said.push("all the same: nothing is learnt from this group");
  if (rows.length > MOST_SIDES) said.push(`the first ${MOST_SIDES} are shown`);
  const first = await completion(row);
  return [make("h2", {}, `group of ${heading(row)}`), make("p", { class: "note" }, said.join(", ")),
    first.prompt === null ? make("p", { class: "note" }, "The trace has no prompt here.") : fold("prompt", codeView(first.prompt, { label: "prompt" })),
    await sideBySide(rows.slice(0, MOST_SIDES), row, (other) => `${rows.indexOf(other) + 1} of ${rows.length}`)];
}

async function pairView(row) {
  const { isOneStep, rows } = firstAndLast(row);
  const noun = index.is_training ? "step" : "row";
  const instead = rows.length > 1 ? "its lowest reward against its highest" : "there is nothing to compare it with";
  const text = isOneStep ? `Only one ${noun} (${stepName(row)}) has this task: ${instead}.`
    : `The first ${noun} with this task against the last; the same place in both groups.`;
  return [make("h2", {}, `${taskName(row)}: ${isOneStep ? "lowest against highest" : "first against last"}`), make("p", { class: "note" }, text),
    await sideBySide(rows, row, (other) => `${index.is_training ? "step " : ""}${stepName(other)}`)];
}

// ---------------------------------------------------------------------------------------------------------------------
// Keyboard, address, start
// ---------------------------------------------------------------------------------------------------------------------

/** Select a row in the list; filters that hide it are cleared. */
function chooseRow(row) {
  if (!shown.includes(row)) {
    $("filters").reset();
    refilter();
  }
  chosen = shown.indexOf(row);
  choose(chosen, { isQuiet: true });
  clearTimeout(previewTimer);
}

const KEYS_ANYWHERE = new Set(["j", "k", "g", "f", "/"]); // on the overview too: they lead to the completions

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const isTyping = event.target.matches("input, select, textarea");
  if ($("completions").hidden) { // the overview scrolls by the other keys
    if (!KEYS_ANYWHERE.has(event.key) || !index.columns.step.length) return;
    history.pushState(null, "", "#completions");
    followAddress();
  }
  if (event.key === "Escape") return event.preventDefault(), back();
  if (isTyping) {
    if (event.key === "Enter" && event.target.matches("input")) event.preventDefault(), $("list").focus();
    return;
  }
  const isInList = event.target === $("list") || event.target === document.body;
  const page = Math.max(1, Math.floor($("list").clientHeight / ROW_PX) - 1);
  const moves = { j: 1, k: -1, ...(isInList && { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity }) };
  const search = () => ((document.body.dataset.view = "list"), ($("filter-box").open = true), $("task").focus());
  const actions = { g: () => open("group"), f: () => open("first-and-last"), "/": search, ...(isInList && { Enter: () => open("completion") }) };
  if (event.key in moves) choose(Math.max(0, chosen + moves[event.key]));
  else if (event.key in actions) actions[event.key]();
  else return;
  event.preventDefault();
}

function followAddress() {
  const [, letter, digits] = /^#([cgf])=(\d+)$/.exec(location.hash) ?? [];
  const isList = letter !== undefined || location.hash === "#completions";
  $("overview").hidden = isList;
  $("completions").hidden = !isList;
  for (const [id, isCurrent] of [["to-overview", !isList], ["to-completions", isList]]) {
    if (isCurrent) $(id).setAttribute("aria-current", "page");
    else $(id).removeAttribute("aria-current");
  }
  $("problem").hidden = true;
  if (!isList) return $("overview").focus();
  drawList();
  if (letter !== undefined && Number(digits) < index.columns.step.length) {
    chooseRow(Number(digits));
    open(Object.keys(HASH).find((kind) => HASH[kind] === letter));
  } else {
    const count = many(index.columns.step.length, "completion");
    if (letter !== undefined) problem(`There is no completion ${digits} in this report: it has ${count}, numbered from 0.`);
    choose(Math.max(0, chosen), { isQuiet: true });
    toList();
  }
}

function problem(text) {
  $("problem").textContent = text;
  $("problem").hidden = false;
}

async function start() {
  if (!("DecompressionStream" in window)) throw new Error("this browser has no DecompressionStream: use Chrome 80, Firefox 113, Safari 16.4 or newer");
  index = await unpack("index");
  $("filter-box").open = !narrow.matches;
  const [first = "", ...others] = index.tasks.filter((name) => name !== null);
  const common = first.slice(0, first.lastIndexOf("/") + 1);
  if (others.length && others.every((name) => name.startsWith(common))) prefix = common;
  for (const label of document.querySelectorAll("#filters .numeric")) label.hidden = !index.is_training;
  document.querySelector("#filters .named").hidden = index.is_training;
  drawOverview();
  $("to-completions").textContent = `Completions (${index.columns.step.length.toLocaleString("en")})`;
  fillSelect("kind", index.kinds, "kind", "no error");
  fillSelect("guard", index.guards, "guard", "no guard");
  if (!index.is_training) {
    fillSelect("row-name", index.steps, "step", "");
    const words = document.querySelectorAll(".heads span:first-child, #sort option[value^=step]");
    for (const word of words) word.textContent = word.textContent.replace("step", "row");
  }
  $("filters").addEventListener("input", refilter);
  $("filters").addEventListener("reset", () => setTimeout(refilter));
  $("filters").addEventListener("submit", (event) => event.preventDefault());
  $("list").addEventListener("scroll", () => requestAnimationFrame(() => drawList(false)));
  new ResizeObserver(() => drawList()).observe($("list"));
  document.addEventListener("keydown", onKey);
  addEventListener("hashchange", followAddress);
  refilter();
  followAddress();
  document.body.dataset.ready = "true";
}

start().catch((error) => problem(`This report cannot be shown: ${error.message}.`));
