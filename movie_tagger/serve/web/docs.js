"use strict";

function make(kind, text = "", ...inside) {
  const node = document.createElement(kind);
  node.textContent = text;
  node.append(...inside);
  return node;
}

function row(...cells) { return make("tr", "", ...cells.map(c => c instanceof Node ? make("td", "", c) : make("td", c))); }

function schemaName(schema) {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.anyOf) return schema.anyOf.map(schemaName).join(" or ");
  if (schema.type === "array") return `list of ${schemaName(schema.items)}`;
  return schema.format === "binary" ? "file" : schema.enum?.join(", ") ?? schema.const ?? schema.type ?? "any";
}

function bounds(schema) {
  const found = [];
  if (schema.default !== undefined) found.push(`${schema.default} by default`);
  if (schema.minimum !== undefined) found.push(`${schema.minimum} to ${schema.maximum}`);
  return found.length ? `; ${found.join(", ")}` : "";
}

function route(path, method, what) {
  const title = make("summary", "", Object.assign(make("span", method.toUpperCase()), {className: "method"}), make("code", path));
  const table = make("table");
  for (const p of what.parameters ?? []) table.append(row(make("code", p.name), `${schemaName(p.schema)}${bounds(p.schema)}`, p.description ?? ""));
  for (const [type, body] of Object.entries(what.requestBody?.content ?? {})) table.append(row("body", make("code", type), schemaName(body.schema)));
  for (const [status, answer] of Object.entries(what.responses)) {
    const [type, body] = Object.entries(answer.content ?? {})[0] ?? ["", {}];
    table.append(row(make("code", status), make("code", type), schemaName(body.schema)));
  }
  return Object.assign(make("details", "", title, make("p", what.description ?? what.summary ?? ""), table), {className: "route"});
}

function schema(name, what) {
  const table = make("table");
  for (const [field, s] of Object.entries(what.properties ?? {})) table.append(row(make("code", field), schemaName(s), s.description ?? ""));
  return Object.assign(make("details", "", make("summary", "", make("code", name)), table), {className: "route"});
}

// The examples name the place that this page came from, whatever its port, its name or the path before it.
function nameThisPlace() {
  const here = new URL(".", location.href).href.replace(/\/$/, "");
  for (const code of document.querySelectorAll("pre code")) code.textContent = code.textContent.replaceAll("http://127.0.0.1:8000", here);
}

async function begin() {
  nameThisPlace();
  const api = await (await fetch("openapi.json")).json();
  document.querySelector("#promise").textContent = api.info.description.replaceAll("**", "");
  const routes = document.querySelector("#routes");
  for (const [path, methods] of Object.entries(api.paths)) for (const [method, what] of Object.entries(methods)) routes.append(route(path, method, what));
  routes.after(make("h2", "What goes in and out"), ...Object.entries(api.components.schemas).map(([name, what]) => schema(name, what)));
  for (const [kind, p] of Object.entries(api.components.schemas.ProblemDetails["x-problems"]))
    document.querySelector("#problems").append(Object.assign(row(make("code", `/docs#${kind}`), String(p.status), p.title), {id: kind}));
  document.getElementById(location.hash.slice(1))?.scrollIntoView();
}

begin();
