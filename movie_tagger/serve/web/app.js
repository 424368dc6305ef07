"use strict";

const $ = (selector, inside = document) => inside.querySelector(selector);
const stills = [];          // cards on the page: {file, card, state, still, receipt, name, tags}
const steps = [];           // decisions that can be undone, the last one last: {still, tag}
const OUT = "movie-tagger-out:";
const page = {feedback: true, vocabulary: [], limits: null, asking: 0, sending: false, gone: false, counter: 0};

const wait = ms => new Promise(done => setTimeout(done, ms));
const percent = p => p < 0.01 ? "<1 %" : `${Math.round(p * 100)} %`;
const size = bytes => `${Math.round(bytes / 1048576)} MB`;
const say = text => { $("#say").textContent = text; };
const newKey = () => `page-${Date.now().toString(36)}-${Array.from(crypto.getRandomValues(new Uint8Array(8)), b => b.toString(16).padStart(2, "0")).join("")}`;

/* --- asking the server --- */

class Trouble extends Error { constructor(message, again) { super(message); this.again = again; } }  // again: seconds until it may help to repeat, or null

function header() {
  const key = sessionStorage.getItem("movie-tagger-key");
  return key ? {authorization: `Bearer ${key}`} : {};
}

async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, {...options, headers: {...options.headers, ...header()}, signal: AbortSignal.timeout(60000)});
  } catch { reachable(false); throw new Trouble("The server cannot be reached.", 2); }
  if (response.status !== 503) reachable(true);
  if (response.ok) return response.json();
  const problem = await response.json().catch(() => ({detail: `The server answered ${response.status}.`}));
  if (response.status === 401) { await askForKey(); return ask(path, options); }
  if (response.status === 429 || response.status === 503) throw new Trouble(problem.detail, Number(response.headers.get("retry-after")) || 2);
  throw new Trouble(problem.detail, null);
}

let asked = null;
function askForKey() {
  asked ??= new Promise(done => {
    const dialog = $("#ask");
    if (sessionStorage.getItem("movie-tagger-key")) $("#ask-why").textContent = "That key was not accepted. Try another.";
    dialog.showModal();
    dialog.onclose = () => { sessionStorage.setItem("movie-tagger-key", $("#key").value.trim()); $("#key").value = ""; asked = null; done(); };
  });
  return asked;
}

function reachable(yes) {
  const was = page.gone;
  page.gone = !yes;
  showGone();
  if (yes && was) { say("The server is back."); pump(); send(); }
}

function showGone() {
  const kept = outbox().length, waiting = stills.filter(s => s.state === "waiting" || s.state === "asking").length;
  const parts = [];
  if (kept) parts.push(kept === 1 ? "1 decision is kept in this browser" : `${kept} decisions are kept in this browser`);
  if (waiting) parts.push(waiting === 1 ? "1 still is waiting" : `${waiting} stills are waiting`);
  $("#gone").hidden = !page.gone;
  if (page.gone) $("#gone").textContent = `The server cannot be reached. Nothing is lost: ${parts.join(", ") || "go on as you like"}; all is sent as soon as it is back.`;
}

/* --- stills --- */

function add(files) {
  const pictures = [...files].filter(f => f.type.startsWith("image/") || /\.(jpe?g|png|webp|gif|avif|hei[cf]|hif|jxl)$/i.test(f.name));
  if (files.length && !pictures.length) say("That is not a picture.");
  for (const file of pictures) addOne(file);
  if (pictures.length) { document.body.classList.add("busy"); $("#keys").hidden = false; }
  pump();
}

function addOne(file) {
  const card = $("#card").content.cloneNode(true).firstElementChild;
  const still = {file, card, state: "waiting", name: file.name || "pasted still", tags: new Map()};
  const heading = $("h2", card), picture = $("figure img", card);
  heading.textContent = still.name;
  heading.id = `still-${++page.counter}`;
  card.setAttribute("aria-labelledby", heading.id);
  picture.src = URL.createObjectURL(file);
  picture.alt = still.name;
  picture.onerror = () => { $(".reveal", card).hidden = true; picture.hidden = true; };
  veil(still, "Not looked at yet");
  $(".reveal", card).onclick = () => { unveil(still); $("h2", card).tabIndex = -1; $("h2", card).focus(); };
  $(".again", card).onclick = () => { still.state = "waiting"; pump(); };
  $(".add", card).onsubmit = event => { event.preventDefault(); addTag(still); };
  stills.unshift(still);
  $("#cards").prepend(card);
  status(still, "Waiting …");
  if (page.limits && file.size > page.limits.bytes) fail(still, `This file is larger than the ${size(page.limits.bytes)} taken here.`, false);
}

function status(still, text, bad = false) {
  const line = $(".status", still.card);
  line.textContent = text;
  line.classList.toggle("bad", bad);
  still.card.classList.toggle("asking", still.state === "asking");
}

function fail(still, text, again = true) {
  still.state = "failed";
  status(still, text, true);
  $(".veil-why", still.card).textContent = "Not looked at";
  $(".again", still.card).hidden = !again;
}

function veil(still, why) {
  $("figure", still.card).classList.add("veiled");
  $(".veil", still.card).hidden = false;
  $(".veil-why", still.card).textContent = why;
}

function unveil(still) {
  $("figure", still.card).classList.remove("veiled");
  $(".veil", still.card).hidden = true;
}

function pump() {
  while (page.asking < 2) {
    const next = stills.findLast(s => s.state === "waiting");
    if (!next) return;
    page.asking++;
    look(next).finally(() => { page.asking--; pump(); });
  }
}

async function look(still) {
  still.state = "asking";
  $(".again", still.card).hidden = true;
  status(still, "Looking …");
  const form = new FormData();
  form.append("still", still.file, still.name);
  for (let round = 0; ; round++) {
    try { return show(still, (await ask("v1/tags?k=14&min=0.02", {method: "POST", body: form})).stills[0]); }
    catch (trouble) {
      if (trouble.again === null) return fail(still, trouble.message);
      status(still, page.gone ? "Waiting for the server …" : "The server is busy; trying again …");
      await wait(1000 * Math.min(15, trouble.again * (1 + round / 2)));
    }
  }
}

function show(still, answer) {
  Object.assign(still, {state: "answered", still: answer.still, receipt: answer.receipt});
  const grave = answer.sensitive.filter(v => v.action !== "show");
  if (answer.action === "show") unveil(still);
  else veil(still, answer.action === "hide" ? `Hidden: ${grave.filter(v => v.action === "hide").map(v => v.tag).join(", ")}` : `Look before showing: ${grave.map(v => v.tag).join(", ")}`);
  warn(still, answer, grave);
  const plain = answer.suggestions.filter(s => !grave.some(v => v.tag === s.tag));
  for (const s of plain) chip(still, s.tag, s.probability, $(s.likely ? ".likely" : ".perhaps", still.card));
  $(".perhaps-box", still.card).hidden = plain.every(s => s.likely);
  $(".add", still.card).hidden = !page.feedback;
  const n = plain.filter(s => s.likely).length;
  status(still, n === 0 ? "Nothing is certain here." : n === 1 ? "One tag is likely." : `${n} tags are likely.`);
  say(`${still.name}: ${n} likely tags${grave.length ? "; may be sensitive" : ""}.`);
}

function warn(still, answer, grave) {
  $(".warning", still.card).hidden = !grave.length;
  if (!grave.length) return;
  const line = $(".verdict", still.card);
  line.textContent = answer.action === "hide" ? "This must be hidden." : "Somebody must look before this is shown.";
  const why = document.createElement("span");
  why.className = "why";
  why.textContent = [...new Set(grave.map(v => v.reason))].join(" ");
  line.append(why);
  for (const v of grave) chip(still, v.tag, v.probability ?? v.score ?? 0, $(".grave", still.card));
}

/* --- chips --- */

function chip(still, tag, probability, list) {
  const item = document.createElement("li"), yes = document.createElement("button"), no = document.createElement("button");
  const name = document.createElement("span"), strength = document.createElement("span");
  item.className = "chip";
  yes.type = no.type = "button";
  yes.className = "yes";
  no.className = "no";
  name.className = "name";
  name.textContent = tag;
  strength.className = "strength";
  if (probability !== null) { strength.textContent = percent(probability); yes.style.setProperty("--p", probability); }
  yes.append(name, strength);
  no.textContent = "✕";
  no.setAttribute("aria-label", `Reject ${tag}`);
  yes.disabled = no.disabled = !page.feedback;
  yes.onclick = () => decide(still, tag, "accept");
  no.onclick = () => decide(still, tag, "reject");
  item.append(yes, no);
  list.append(item);
  still.tags.set(tag, {item, yes, no, probability, made: []});   // made: decisions in force, the last one last
  paint(still, tag);
}

function paint(still, tag) {
  const {item, yes, no, probability, made} = still.tags.get(tag), now = made.at(-1);
  item.classList.toggle("accepted", now?.state === true);
  item.classList.toggle("rejected", now?.state === false);
  item.classList.toggle("unsent", made.some(d => localStorage.getItem(OUT + d.key)));
  yes.setAttribute("aria-pressed", String(now?.state === true));
  no.setAttribute("aria-pressed", String(now?.state === false));
  yes.setAttribute("aria-label", `Accept ${tag}` + (probability === null ? "" : `, ${percent(probability)}`));
}

function decide(still, tag, action) {
  if (!page.feedback) return;
  const entry = still.tags.get(tag), state = action !== "reject";
  if (entry.made.at(-1)?.state === state) return undo(still, tag);
  const key = newKey();
  entry.made.push({key, state});
  steps.push({still, tag});
  post({key, events: [{still: still.still, receipt: still.receipt, tag, action}]});
  paint(still, tag);
  tell(`${tag} ${state ? "accepted" : "rejected"}`);
}

function undo(still, tag) {
  if (!still) {
    const step = steps.at(-1);
    if (!step) return;
    ({still, tag} = step);
  }
  const decision = still.tags.get(tag).made.pop();
  steps.splice(steps.findLastIndex(s => s.still === still && s.tag === tag), 1);
  post({key: newKey(), undo: decision.key});
  paint(still, tag);
  still.tags.get(tag).yes.focus();
  tell(`${tag} undone`);
}

function addTag(still) {
  const input = $(".add input", still.card), tag = input.value.trim(), problem = $(".add-problem", still.card);
  problem.textContent = "";
  if (!tag) return;
  if (!page.vocabulary.includes(tag)) { problem.textContent = `The model does not know the tag “${tag}”.`; return; }
  if (!still.tags.has(tag)) chip(still, tag, null, $(".likely", still.card));
  if (still.tags.get(tag).made.at(-1)?.state !== true) decide(still, tag, "add");
  input.value = "";
}

function tell(text) {
  $("#bar").hidden = false;
  $("#last").textContent = text;
  $("#undo").disabled = !steps.length;
  say(text);
}

/* --- decisions on their way: kept in the browser until the server has them --- */

function outbox() { return Object.keys(localStorage).filter(k => k.startsWith(OUT)).map(k => JSON.parse(localStorage.getItem(k))).sort((a, b) => a.at - b.at || a.n - b.n); }

function post(body) {
  localStorage.setItem(OUT + body.key, JSON.stringify({at: Date.now(), n: ++page.counter, body}));
  send();
}

async function send() {
  showSaved();
  if (page.sending) return;
  page.sending = true;
  try {
    for (let next; (next = outbox()[0]);) {
      try { await ask("v1/feedback", {method: "POST", headers: {"content-type": "application/json"}, body: JSON.stringify(next.body)}); }
      catch (trouble) {
        if (trouble.again !== null) { await wait(1000 * trouble.again); continue; }
        if (!next.body.undo) tell(trouble.message);
      }
      localStorage.removeItem(OUT + next.body.key);
      showSaved();
    }
  } finally { page.sending = false; }
}

function showSaved() {
  const kept = outbox().length;
  $("#saved").textContent = kept ? `${kept} not sent yet` : "saved";
  for (const still of stills) for (const tag of still.tags.keys()) paint(still, tag);
  showGone();
}

/* --- the page --- */

function keyboard(event) {
  const typing = event.target.matches("input, dialog *");
  if (!typing && (event.key === "u" || event.key === "U" || ((event.ctrlKey || event.metaKey) && event.key === "z"))) { event.preventDefault(); return undo(); }
  const item = event.target.closest?.(".chip");
  if (!item || event.ctrlKey || event.metaKey || event.altKey) return;
  const all = [...document.querySelectorAll(".chip")], at = all.indexOf(item);
  const go = to => { event.preventDefault(); $("button", all[Math.max(0, Math.min(all.length - 1, to))]).focus(); };
  const click = which => { event.preventDefault(); $(which, item).click(); };
  switch (event.key) {
    case "ArrowRight": case "ArrowDown": return go(at + 1);
    case "ArrowLeft": case "ArrowUp": return go(at - 1);
    case "a": case "A": case "y": return click(".yes");
    case "r": case "R": case "n": case "Delete": case "Backspace": return click(".no");
  }
}

async function begin() {
  for (;;) {
    try {
      const model = await ask("v1/model");
      page.feedback = model.feedback;
      page.limits = model.limits;
      $("#model").textContent = `${model.name}, ${model.tags} tags`;
      $("#promise").textContent = (model.limits.keeps ? "A picture is kept when you decide about it" : "Pictures are looked at and forgotten") +
        (model.feedback ? "; your answers help the next model." : ".");
      page.vocabulary = (await ask("v1/vocabulary")).map(t => t.tag);
      $("#vocabulary").replaceChildren(...page.vocabulary.map(t => Object.assign(document.createElement("option"), {value: t})));
      break;
    } catch (trouble) { await wait(1000 * (trouble.again ?? 5)); }
  }
  send();
}

$("#files").onchange = event => { add(event.target.files); event.target.value = ""; };
$("#undo").onclick = () => undo();
document.onkeydown = keyboard;
document.onpaste = event => { if (event.clipboardData.files.length) add(event.clipboardData.files); };
document.ondragover = event => { event.preventDefault(); $("#drop").classList.add("over"); };
document.ondragleave = event => { if (!event.relatedTarget) $("#drop").classList.remove("over"); };
document.ondrop = event => { event.preventDefault(); $("#drop").classList.remove("over"); add(event.dataTransfer.files); };
begin();
