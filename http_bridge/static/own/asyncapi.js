// Shows /asyncapi.json: one section for each operation, with its message, reply and errors.
"use strict";

function element(name, text, ...children) {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  made.append(...children);
  return made;
}

function resolve(told, value) {
  while (value && value.$ref) {
    value = value.$ref.slice(2).split("/").reduce((at, step) => at[step.replace("~1", "/")], told);
  }
  return value;
}

function kind(told, schema) {
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.anyOf) return schema.anyOf.map((one) => kind(told, one)).join(" | ");
  if (schema.type === "array") return schema.items && schema.items !== true ? `${kind(told, schema.items)}[]` : "list";
  if ("const" in schema) return JSON.stringify(schema.const);
  return schema.enum ? schema.enum.join(" | ") : schema.type || "any";
}

function fields(told, schema) {
  const whole = resolve(told, schema);
  const parts = whole.allOf ? whole.allOf.map((one) => resolve(told, one)) : [whole];
  const table = element("table");
  for (const part of parts) {
    for (const [name, one] of Object.entries(part.properties || {})) {
      if (!one.description || one.description.startsWith("Other spelling")) continue;
      const needed = (part.required || []).includes(name) ? "" : " (optional)";
      const first = element("td", "", element("code", name), document.createTextNode(needed));
      table.append(element("tr", "", first, element("td", kind(told, one)), element("td", one.description)));
    }
  }
  return table;
}

function message(told, title, reference) {
  const one = resolve(told, reference);
  const box = element("details", "", element("summary", title));
  if (one.description) box.append(element("pre", one.description));
  if (one.headers) box.append(element("p", "Headers"), fields(told, one.headers));
  box.append(element("p", "Body"), fields(told, one.payload));
  for (const example of one.examples || []) {
    box.append(element("pre", JSON.stringify(example.payload, null, 2)));
  }
  return box;
}

function operation(told, name, one) {
  const channel = resolve(told, one.channel);
  const section = element("section", "", element("h2", one.summary), element("pre", channel.address));
  section.id = name;
  section.append(element("p", channel.description));
  const sent = one.action === "send" ? "Message" : "Request";
  for (const reference of one.messages) section.append(message(told, sent, reference));
  const answers = one.reply ? one.reply.messages : [];
  for (const reference of answers) {
    section.append(message(told, reference.$ref.endsWith(".error") ? "Errors" : "Reply", reference));
  }
  return section;
}

async function show() {
  const told = await (await fetch("/asyncapi.json")).json();
  document.getElementById("about").textContent = told.info.description.replaceAll("\n", " ");
  const sections = Object.entries(told.operations).map(([name, one]) => operation(told, name, one));
  document.getElementById("operations").append(...sections);
}

show();
