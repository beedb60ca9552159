// Draws the reference from /api/v1/openapi.json. Text goes into the page as text only, never as markup.

const DOCUMENT = "/api/v1/openapi.json";
const METHODS = ["get", "post", "put", "delete"];
const find = (selector) => document.querySelector(selector);

function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value === true) node.setAttribute(key, "");
    else if (value !== false && value != null) node.setAttribute(key, value);
  }
  node.append(...children.flat(Infinity).filter((child) => child != null && child !== false));
  return node;
}

/** Text with `code` and blank lines as paragraphs; nothing else of Markdown is needed here. */
function prose(text) {
  return text.split(/\n{2,}/).map((paragraph) => el("p", {}, inline(paragraph)));
}

function inline(text) {
  return text.split(/(`[^`]+`)/).map((part) => (part.startsWith("`") ? el("code", {}, part.slice(1, -1)) : part));
}

// ---- schemas

let api;

function resolve(node) {
  let seen = 0;
  while (node && node.$ref && seen++ < 20) {
    node = node.$ref.slice(2).split("/").reduce((at, part) => at[part], api);
  }
  return node || {};
}

const typeName = (schema) => (schema.$ref ? schema.$ref.split("/").pop() : "");

function kindOf(given) {
  const schema = resolve(given);
  if ("const" in schema) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  const options = schema.anyOf || schema.oneOf;
  if (options) return options.map(kindOf).join(" | ");
  if (schema.type === "array") return `list of ${kindOf(schema.items || {})}`;
  const name = typeName(given).replace(/_/g, " ");
  if (schema.type === "object") return name || "object";
  if (schema.format) return schema.format;
  return schema.type || name || "any";
}

function limitsOf(schema) {
  const limits = [];
  const between = (low, high, unit) => {
    if (low != null && high != null) limits.push(`${low} to ${high}${unit}`);
    else if (low != null) limits.push(`at least ${low}${unit}`);
    else if (high != null) limits.push(`at most ${high}${unit}`);
  };
  between(schema.minimum, schema.maximum, "");
  if (schema.exclusiveMinimum != null) limits.push(`above ${schema.exclusiveMinimum}`);
  if (schema.exclusiveMaximum != null) limits.push(`below ${schema.exclusiveMaximum}`);
  between(schema.minLength, schema.maxLength, " characters");
  between(schema.minItems, schema.maxItems, " items");
  if (schema.pattern) limits.push(schema.pattern);
  if (schema.default !== undefined && schema.default !== null) limits.push(`default ${JSON.stringify(schema.default)}`);
  return limits;
}

/** The object whose fields are worth showing below a value: itself, its items', or its only alternative. */
function insideOf(given, depth = 0) {
  const schema = resolve(given);
  if (depth > 6) return null;
  if (schema.properties) return schema;
  if (schema.type === "array" && schema.items) return insideOf(schema.items, depth + 1);
  for (const option of schema.anyOf || schema.oneOf || []) {
    const inside = insideOf(option, depth + 1);
    if (inside) return inside;
  }
  return null;
}

/** The fields of an object; which of them must be there matters only for what is sent, not for an answer. */
function fieldsOf(schema, trail, sent) {
  const required = new Set(sent ? schema.required || [] : []);
  const rows = Object.entries(schema.properties || {}).map(([name, given]) =>
    fieldOf(name, given, required.has(name), trail, sent));
  return el("dl", { class: "fields" }, rows);
}

function fieldOf(name, given, needed, trail, sent) {
  const schema = resolve(given);
  const inside = insideOf(given);
  const limits = limitsOf(schema);
  const about = [];
  if (schema.description) about.push(el("div", {}, inline(schema.description)));
  if (limits.length) about.push(el("div", { class: "mono" }, limits.join(", ")));
  if (inside && !trail.includes(inside) && trail.length < 5) {
    const more = el("details", {}, el("summary", {}, "Fields"));
    more.addEventListener("toggle", () => {
      if (more.childElementCount === 1) more.append(fieldsOf(inside, [...trail, inside], sent));
    });
    about.push(more);
  }
  return el("div", { class: "field" },
    el("dt", {}, el("code", {}, name), el("span", { class: "kind" }, kindOf(given)),
      needed && el("span", { class: "need" }, "required")),
    about.length > 0 && el("dd", {}, about));
}

/** A value that fits the schema, for samples. */
function sampleOf(given, depth = 0) {
  const schema = resolve(given);
  if (schema.examples && schema.examples.length) return schema.examples[0];
  if ("const" in schema) return schema.const;
  if (schema.default !== undefined && schema.default !== null) return schema.default;
  if (schema.enum) return schema.enum[0];
  if (schema.allOf) return sampleOf(schema.allOf[0], depth);
  const option = (schema.anyOf || schema.oneOf || []).find((each) => resolve(each).type !== "null");
  if (option) return sampleOf(option, depth);
  if (depth > 6) return null;
  if (schema.type === "array") return schema.items ? [sampleOf(schema.items, depth + 1)] : [];
  if (schema.type === "object" || schema.properties) {
    return Object.fromEntries(Object.entries(schema.properties || {}).map(
      ([key, value]) => [key, sampleOf(value, depth + 1)]));
  }
  if (schema.type === "integer" || schema.type === "number") return schema.minimum ?? 1;
  if (schema.type === "boolean") return true;
  if (schema.format === "uuid") return "0193a4c2-7b1e-7c3a-9f10-4d5e6f708192";
  if (schema.format === "date-time") return "2026-12-01T19:00:00Z";
  if (schema.type === "string") return "text";
  return null;
}

// ---- code

function coloured(value) {
  const text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  const block = el("pre", { tabindex: "0" });
  const token = /("(?:[^"\\]|\\.)*")(\s*:)?|(-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null)/g;
  let last = 0;
  for (const match of text.matchAll(token)) {
    block.append(text.slice(last, match.index));
    const kind = match[1] ? (match[2] ? "k" : "s") : "n";
    block.append(el("span", { class: kind }, match[1] || match[3]), match[2] || "");
    last = match.index + match[0].length;
  }
  block.append(text.slice(last));
  return block;
}

function sampleBlock(title, content) {
  const text = typeof content === "string" ? content : JSON.stringify(content, null, 2);
  const button = el("button", { type: "button", class: "plain", onclick: async () => {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  } }, "Copy");
  return [el("div", { class: "sample-head" }, el("h4", {}, title), navigator.clipboard && button),
    typeof content === "string" ? el("pre", { tabindex: "0" }, content) : coloured(content)];
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function curlOf(operation) {
  const { method, path, parts, body, secured } = operation;
  const filled = path.replace(/\{(\w+)\}/g, (_, name) => {
    const parameter = parts.find((part) => part.in === "path" && part.name === name);
    return parameter ? sampleOf(parameter.schema) : name;
  });
  const lines = [`curl ${method === "get" ? "" : `-X ${method.toUpperCase()} `}${quoted(location.origin + filled)}`];
  if (secured) lines.push(`-H 'Authorization: Bearer …'`);
  if (parts.some((part) => part.name === "Idempotency-Key")) lines.push(`-H "Idempotency-Key: $(uuidgen)"`);
  if (body) {
    lines.push(`-H 'Content-Type: application/json'`, `-d ${quoted(JSON.stringify(sampleOf(body), null, 2))}`);
  }
  return lines.join(" \\\n  ");
}

// ---- operations

function readOperations() {
  const operations = [];
  for (const [path, item] of Object.entries(api.paths)) {
    for (const method of METHODS.filter((each) => item[each])) {
      const declared = item[method];
      const media = resolve(declared.requestBody).content;
      const security = declared.security || [];
      operations.push({
        id: declared.operationId, method, path, tag: (declared.tags || [""])[0], summary: declared.summary || path,
        description: declared.description || "", parts: (declared.parameters || []).map(resolve),
        body: media && media["application/json"] && media["application/json"].schema,
        deprecated: Boolean(declared.deprecated), bodyNeeded: Boolean(resolve(declared.requestBody).required), responses: declared.responses,
        secured: security.length > 0, optional: security.some((each) => Object.keys(each).length === 0),
        who: [...new Set(security.flatMap((each) => Object.keys(each)))],
      });
    }
  }
  return operations;
}

const addressOf = (path) => path.split(/(\{\w+\})/).map((part) =>
  part.startsWith("{") ? el("span", { class: "part" }, part) : part);

function whoText({ who, optional }) {
  if (!who.length) return "open to everyone";
  const names = who.map((name) => ({ user: "a signed-in user", gate: "a gate" }[name] || name)).join(" or ");
  return optional ? `open to everyone; ${names} may see more` : `for ${names}`;
}

function parameterList(title, parts) {
  if (!parts.length) return [];
  const rows = parts.map((part) => fieldOf(part.name, { ...resolve(part.schema),
    description: part.description || resolve(part.schema).description }, part.required, [], true));
  return [el("h4", {}, title), el("dl", { class: "fields" }, rows)];
}

function statusOf(code, given) {
  const response = resolve(given);
  const fine = code < 400;
  const lines = response.description.split("\n").filter((line) => line.startsWith("- "));
  const about = lines.length
    ? el("ul", {}, lines.map((line) => el("li", {}, inline(line.slice(2)))))
    : inline(response.description);
  return el("div", { class: fine ? "status fine" : "status" }, el("dt", {}, code), el("dd", {}, about));
}

function answerOf(operation) {
  for (const [code, given] of Object.entries(operation.responses)) {
    if (code[0] !== "2") continue;
    const content = Object.entries(resolve(given).content || {})[0];
    if (content) return { code, media: content[0], schema: content[1].schema };
  }
  return null;
}

function describe(operation) {
  const answer = answerOf(operation);
  const data = answer && resolve(answer.schema).properties && resolve(answer.schema).properties.data;
  const inside = data && insideOf(data);
  const codes = Object.entries(operation.responses).sort(([one], [other]) => one - other);
  const common = new Set(["400", "408", "413", "415", "431", "500", "503"]);
  const own = codes.filter(([code]) => !common.has(code));
  const usual = codes.filter(([code]) => common.has(code));
  return el("div", { class: "text" },
    operation.description && prose(operation.description),
    parameterList("In the path", operation.parts.filter((part) => part.in === "path")),
    parameterList("In the query", operation.parts.filter((part) => part.in === "query")),
    operation.body && [el("h4", {}, "Body"), fieldsOf(insideOf(operation.body) || {}, [], true)],
    inside && [el("h4", {}, "Data of the answer"), fieldsOf(inside, [inside], false)],
    el("h4", {}, "Answers"),
    el("dl", { class: "statuses" }, own.map(([code, given]) => statusOf(code, given))),
    usual.length > 0 && el("details", {}, el("summary", {}, "Those that any request may get"),
      el("dl", { class: "statuses" }, usual.map(([code, given]) => statusOf(code, given)))),
    parameterList("Headers", operation.parts.filter((part) => part.in === "header")));
}

function sections(operation) {
  const answer = answerOf(operation);
  const enveloped = answer && answer.media === "application/json" && Object.keys(answer.schema).length > 0;
  return el("div", { class: "sample" },
    sampleBlock("Request", curlOf(operation)),
    enveloped && sampleBlock(`Answer ${answer.code}`, sampleOf(answer.schema)),
    tryOut(operation));
}

function drawOperation(operation) {
  const article = el("article", { class: "operation", id: operation.id },
    el("header", {},
      el("h3", {}, el("a", { href: `#${operation.id}` }, operation.summary)),
      el("p", { class: "address" },
        el("span", { class: `verb ${operation.method}` }, operation.method),
        el("code", {}, addressOf(operation.path)),
        operation.deprecated && el("strong", { class: "leaving" }, "deprecated"),
        el("span", { class: "who" }, whoText(operation)))));
  article.append(describe(operation), sections(operation));
  return article;
}

// ---- trying out

function tryOut(operation) {
  const more = el("details", { class: "try" }, el("summary", {}, "Try it here"));
  more.addEventListener("toggle", () => {
    if (more.childElementCount === 1) more.append(tryForm(operation));
  });
  return more;
}

function tryForm(operation) {
  const inputs = operation.parts.filter((part) => part.in !== "header").map((part) => {
    const schema = resolve(part.schema);
    const hint = schema.default != null ? String(schema.default) : String(sampleOf(schema));
    const input = el("input", { name: part.name, placeholder: hint, required: part.required || false, spellcheck: "false" });
    return { part, input, label: el("label", {}, part.name, input) };
  });
  const body = operation.body && el("textarea", { spellcheck: "false", "aria-label": "Body" });
  if (body) body.value = JSON.stringify(sampleOf(operation.body), null, 2);
  const result = el("div", { "aria-live": "polite" });
  const form = el("form", {}, inputs.map((each) => each.label), body && el("label", {}, "Body", body),
    el("div", {}, el("button", { type: "submit", class: "main" }, "Send")), result);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    result.replaceChildren(el("p", { class: "quiet" }, "Waiting for the answer …"));
    result.replaceChildren(...await send(operation, inputs, body));
  });
  return form;
}

async function send(operation, inputs, body) {
  let path = operation.path;
  const query = new URLSearchParams();
  for (const { part, input } of inputs) {
    if (part.in === "path") path = path.replace(`{${part.name}}`, encodeURIComponent(input.value));
    else if (input.value) for (const one of listed(part, input.value)) query.append(part.name, one);
  }
  const headers = {};
  const token = sessionStorage.getItem("token");
  if (token && operation.secured) headers.Authorization = `Bearer ${token}`;
  if (body) headers["Content-Type"] = "application/json";
  if (operation.parts.some((part) => part.name === "Idempotency-Key")) headers["Idempotency-Key"] = randomKey();
  const started = performance.now();
  try {
    const target = query.size ? `${path}?${query}` : path;
    const answer = await fetch(target, { method: operation.method.toUpperCase(), headers, body: body && body.value });
    const text = await answer.text();
    const took = Math.round(performance.now() - started);
    const verdict = el("p", { class: answer.ok ? "verdict" : "verdict bad" },
      el("strong", {}, `${answer.status} ${answer.statusText}`), el("span", {}, `${took} ms`),
      el("span", { class: "mono" }, answer.headers.get("x-request-id") || ""));
    return [verdict, shown(text)];
  } catch (error) {
    return [el("p", { class: "verdict bad" }, el("strong", {}, "No answer"), el("span", {}, String(error.message)))];
  }
}

const listed = (part, text) => (resolve(part.schema).type === "array" ? text.split(",").map((one) => one.trim()) : [text]);
const randomKey = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");

function shown(text) {
  try { return coloured(JSON.parse(text)); } catch { return el("pre", { tabindex: "0" }, text); }
}

// ---- the page

const ENVELOPE = `{
  "success": true,
  "data": {},
  "meta": {
    "timestamp": "2026-12-01T19:00:00.000Z", "requestId": "5f0c1b7a9e3d2468-1",
    "page": { "page": 1, "perPage": 20, "total": 214, "pages": 11 }
  }
}`;
const FAILURE = `{
  "success": false,
  "error": {
    "code": "request.invalid", "message": "perPage: Expected \`int\` <= 100",
    "details": { "fields": [{ "path": "perPage", "reason": "Expected \`int\` <= 100" }] }
  },
  "meta": { "timestamp": "2026-12-01T19:00:00.000Z", "requestId": "5f0c1b7a9e3d2468-2" }
}`;

function opening() {
  const { title, description } = api.info;
  return el("section", { class: "opening", id: "start" },
    el("h1", {}, `${title} API`),
    description && prose(description),
    el("p", {}, "Every JSON answer has the same envelope. Lists tell in ", el("code", {}, "meta.page"),
      " where they stand; an error has a stable code for programs, and a message for people that says what to do next."),
    coloured(ENVELOPE), coloured(FAILURE),
    el("ul", {},
      el("li", {}, "Amounts are decimal strings in the smallest unit of the chain's coin. Times are RFC 3339 in UTC."),
      el("li", {}, "A read carries an ", el("code", {}, "ETag"), "; send it back as ", el("code", {}, "If-None-Match"), " and get 304 while it holds."),
      el("li", {}, "Send an ", el("code", {}, "Idempotency-Key"), " with a POST that offers it: sent again, it has its effect once and the first answer."),
      el("li", {}, el("code", {}, "X-Request-Id"), " names a request in our logs; it comes back with every answer."),
      el("li", {}, "For code generators: ", el("a", { href: DOCUMENT }, "the OpenAPI 3.1 document"), ".")));
}

function draw() {
  const operations = readOperations();
  const tags = [...new Set(operations.map((each) => each.tag))];
  document.title = `${api.info.title} API reference`;
  find("#title").textContent = api.info.title;
  find("#version").textContent = api.info.version;
  const side = find("#side");
  const main = find("#content");
  main.replaceChildren(opening());
  for (const tag of tags) {
    const own = operations.filter((each) => each.tag === tag);
    side.append(el("h2", { "data-tag": tag }, tag), el("ul", { "data-tag": tag }, own.map((each) => el("li", {},
      el("a", { href: `#${each.id}`, "data-id": each.id, title: `${each.method.toUpperCase()} ${each.path}` },
        el("span", { class: `verb ${each.method}` }, each.method === "delete" ? "del" : each.method), el("span", {}, each.summary))))));
    main.append(el("section", { "data-tag": tag }, el("h2", { class: "tag" }, tag), own.map(drawOperation)));
  }
  main.append(el("p", { class: "nothing quiet", hidden: true }, "No operation matches this search."));
  prepareSearch(operations);
  prepareSpy();
  if (location.hash.length > 1) document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView({ behavior: "instant" });
}

function prepareSearch(operations) {
  const input = find("#search");
  const texts = new Map(operations.map((each) => [each.id, `${each.method} ${each.path} ${each.summary} ${each.tag}`.toLowerCase()]));
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    const fits = (id) => words.every((word) => texts.get(id).includes(word));
    for (const article of document.querySelectorAll(".operation")) article.hidden = !fits(article.id);
    for (const link of document.querySelectorAll(".side a")) link.parentElement.hidden = !fits(link.dataset.id);
    for (const group of document.querySelectorAll("[data-tag]")) {
      const own = operations.filter((each) => each.tag === group.dataset.tag);
      group.hidden = !own.some((each) => fits(each.id));
    }
    find("#start").hidden = words.length > 0;
    find(".nothing").hidden = operations.some((each) => fits(each.id));
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !/^(INPUT|TEXTAREA)$/.test(document.activeElement.tagName)) {
      event.preventDefault();
      input.focus();
    }
  });
}

function prepareSpy() {
  const links = new Map([...document.querySelectorAll(".side a")].map((link) => [link.dataset.id, link]));
  const spy = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      for (const link of links.values()) link.removeAttribute("aria-current");
      links.get(entry.target.id)?.setAttribute("aria-current", "true");
    }
  }, { rootMargin: "-15% 0px -75% 0px" });
  for (const article of document.querySelectorAll(".operation")) spy.observe(article);
}

function prepareBar() {
  const menu = find("#menu");
  const side = find("#side");
  const open = (state) => { side.classList.toggle("open", state); menu.setAttribute("aria-expanded", String(state)); };
  menu.addEventListener("click", () => open(!side.classList.contains("open")));
  side.addEventListener("click", (event) => { if (event.target.closest("a")) open(false); });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") open(false); });
  const root = document.documentElement;
  const kept = localStorage.getItem("theme");
  if (kept) root.dataset.theme = kept;
  find("#theme").addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    localStorage.setItem("theme", root.dataset.theme);
  });
  prepareCredentials();
}

function prepareCredentials() {
  const button = find("#credentials");
  const dialog = find("#sign-in");
  const input = find("#token");
  const show = () => { button.textContent = sessionStorage.getItem("token") ? "Signed in" : "Sign in"; };
  button.addEventListener("click", () => { input.value = sessionStorage.getItem("token") || ""; dialog.showModal(); });
  dialog.addEventListener("close", () => {
    if (dialog.returnValue === "save" && input.value) sessionStorage.setItem("token", input.value.trim());
    if (dialog.returnValue === "clear") sessionStorage.removeItem("token");
    input.value = "";
    show();
  });
  show();
}

prepareBar();
try {
  const answer = await fetch(DOCUMENT);
  if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
  api = await answer.json();
  draw();
} catch (error) {
  find("#content").replaceChildren(el("p", {}, `The description of the API could not be read: ${error.message}. `,
    el("a", { href: "/docs" }, "Try again")));
}
