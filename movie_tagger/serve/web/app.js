"use strict";

const $ = (selector, inside = document) => inside.querySelector(selector);
const stills = [];          // cards on the page: {file, card, state, still, receipt, name, tags}
const steps = [];           // decisions that can be undone, the last one last: {still, tag}
const OUT = "movie-tagger-out:";
const page = {feedback: true, tags: new Map(), version: "", limits: null, asking: 0, sending: false, gone: false, counter: 0};

const wait = ms => new Promise(done => setTimeout(done, ms));
const percent = (p, digits = 0) => p > 0 && p < 0.01 ? "<1 %" : `${(100 * p).toFixed(digits)} %`;
const size = bytes => `${Math.round(bytes / 1048576)} MB`;
const say = text => { $("#say").textContent = text; };
const newKey = () => `page-${Date.now().toString(36)}-${Array.from(crypto.getRandomValues(new Uint8Array(8)), b => b.toString(16).padStart(2, "0")).join("")}`;

/* --- asking the server --- */

class Trouble extends Error { constructor(message, again, final = false) { super(message); Object.assign(this, {again, final}); } }  // again: seconds until it may help to repeat, or null; final: it never helps

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
  if (response.ok) return options.blob ? response.blob() : response.json();
  const problem = await response.json().catch(() => ({detail: `The server answered ${response.status}.`}));
  if (response.status === 401) { await askForKey(); return ask(path, options); }
  if (response.status === 429 || response.status === 503) throw new Trouble(problem.detail, Number(response.headers.get("retry-after")) || 2);
  throw new Trouble(problem.detail, null, [413, 415, 422].includes(response.status));
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
  if (waiting) parts.push(waiting === 1 ? "1 picture is waiting" : `${waiting} pictures are waiting`);
  $("#gone").hidden = !page.gone;
  if (page.gone) $("#gone").textContent = `The server cannot be reached. Nothing is lost: ${parts.join(", ") || "go on as you like"}; all is sent as soon as it is back.`;
}

/* --- pictures, which the API calls stills --- */

function add(files, folders = new Set()) {
  for (const file of files) addOne(file, folders.has(file.name));
  if (files.length) { document.body.classList.add("busy"); $("#keys").hidden = !page.feedback; }
  showWhy();
  pump();
}

function refusal(file, isFolder) {  // why a file is not even sent; the server judges the others by what is in them
  if (isFolder) return "This is a folder: open it, and drop the pictures that are in it.";
  if (file.type && !file.type.startsWith("image/") && file.type !== "application/octet-stream") return `This is no picture but ${file.type}; ${taken()}`;
  if (!file.size) return "This file is empty.";
  if (page.limits && file.size > page.limits.bytes) return `This file has ${size(file.size)}, more than the ${size(page.limits.bytes)} taken here.`;
  return "";
}

const taken = () => page.limits?.formats ? `taken are ${page.limits.formats.join(", ")}.` : "only pictures are taken.";

function addOne(file, isFolder) {
  const card = $("#card").content.cloneNode(true).firstElementChild;
  const still = {file, card, state: "waiting", name: file.name || "pasted picture", tags: new Map()};
  const heading = $("h2", card), picture = $("figure img", card);
  heading.textContent = still.name;
  heading.id = `still-${++page.counter}`;
  card.setAttribute("aria-labelledby", heading.id);
  picture.src = URL.createObjectURL(file);
  picture.alt = still.name;
  picture.onerror = () => { $(".reveal", card).hidden = true; picture.hidden = true; card.classList.add("blank"); };
  veil(still, "Not looked at yet");
  $(".reveal", card).onclick = () => { unveil(still); $("h2", card).tabIndex = -1; $("h2", card).focus(); };
  $(".again", card).onclick = () => { still.state = "waiting"; pump(); };
  $(".more", card).onclick = () => findLike(still.file, still.name);
  $(".add", card).onsubmit = event => { event.preventDefault(); addTag(still); };
  stills.unshift(still);
  $("#cards").prepend(card);
  status(still, "Waiting …");
  const why = refusal(file, isFolder);
  if (why) { fail(still, why, false); say(`${still.name}: ${why}`); }
}

function status(still, text, bad = false) {
  const line = $(".status", still.card);
  line.textContent = text;
  line.classList.toggle("bad", bad);
  still.card.classList.toggle("asking", still.state === "asking");
}

function fail(still, text, again = true) {
  still.state = "failed";
  still.card.classList.add("failed");
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
  still.card.classList.remove("failed");
  status(still, "Looking …");
  const form = new FormData();
  form.append("still", still.file, still.name);
  for (let round = 0; ; round++) {
    try {
      const answer = await ask("v1/tags?k=14&min=0.02", {method: "POST", body: form});
      if (answer.model.version !== page.version) await learn();
      return show(still, answer.stills[0]);
    }
    catch (trouble) {
      if (trouble.again === null) return fail(still, trouble.message, !trouble.final);
      status(still, page.gone ? "Waiting for the server …" : "The server is busy; trying again …");
      await wait(1000 * Math.min(15, trouble.again * (1 + round / 2)));
    }
  }
}

function show(still, answer) {
  Object.assign(still, {state: "answered", still: answer.still, receipt: answer.receipt});
  $(".more", still.card).hidden = !page.finds;
  const grave = answer.sensitive.filter(v => v.action !== "show");
  const calm = grave.every(isLow);
  if (calm) unveil(still);
  else veil(still, answer.action === "hide" ? `Hidden: ${grave.filter(v => v.action === "hide").map(v => v.tag).join(", ")}` : `Look before showing: ${grave.map(v => v.tag).join(", ")}`);
  warn(still, answer, grave, calm);
  const plain = answer.suggestions.filter(s => !grave.some(v => v.tag === s.tag));
  for (const s of plain) chip(still, s.tag, s.probability, $(s.likely ? ".likely" : ".perhaps", still.card));
  $(".perhaps-box", still.card).hidden = plain.every(s => s.likely);
  $(".add", still.card).hidden = !page.feedback;
  const n = plain.filter(s => s.likely).length;
  status(still, n === 0 ? "No tag is likely." : n === 1 ? "One tag is likely." : `${n} tags are likely.`);
  say(`${still.name}: ${n} likely tags${grave.length && !calm ? "; may be sensitive" : ""}.`);
}

// Nothing is promised for the tag yet, so programs are told that a person must look; here it is enough to say so where the scores are low.
function isLow(verdict) {
  const known = page.tags.get(verdict.tag);
  if (verdict.action !== "review" || !known || known.promise) return false;
  const low = Math.min(0.2, known.threshold === null ? 0.05 : known.threshold / 2);
  return (verdict.probability ?? 0) < low && (verdict.score ?? 0) < 0.05;
}

function warn(still, answer, grave, calm) {
  const box = $(".warning", still.card), line = $(".verdict", still.card), why = document.createElement("span");
  box.hidden = !grave.length;
  box.classList.toggle("calm", calm);
  if (!grave.length) return;
  line.textContent = answer.action === "hide" ? "This must be hidden." : calm ? `Low scores for ${grave.map(v => v.tag).join(", ")}.` : "Somebody must look before this is shown.";
  why.className = "why";
  why.textContent = calm
    ? "Nothing is promised yet, so programs that ask are told that a person must look."
    : [...new Set(grave.map(v => v.reason))].join(" ");
  line.append(why);
  for (const v of grave) chip(still, v.tag, v.probability ?? v.score ?? 0, $(".grave", still.card));
}

/* --- stills that can be found --- */

let search = 0;  // the last one; what an earlier one finds is late

async function find(what, path, options) {
  const mine = ++search;
  $("#found").replaceChildren();
  $("#found-show").hidden = true;
  $("#find-says").textContent = "Looking …";
  try {
    const {stills: found, among} = await ask(path, options);
    if (mine !== search) return;
    const n = found.length === 1 ? "The still" : `The ${found.length} stills`;
    $("#find-says").textContent = `${n} nearest to ${what}, of ${among.toLocaleString("en")}; 1 would be the same.`;
    const veiled = [...page.tags.values()].some(t => t.sensitive);
    $("#found-show").hidden = !veiled;
    $("#found").append(...found.map(still => result(still, veiled)));
    const waiting = [...$("#found").children];
    await Promise.all([1, 2, 3].map(async () => { for (let item; mine === search && (item = waiting.shift());) await picture(item); }));
  } catch (trouble) { if (mine === search) $("#find-says").textContent = trouble.message; }
}

function result({still, score}, veiled) {
  const item = document.createElement("li"), figure = document.createElement("figure"), img = document.createElement("img"), name = document.createElement("p");
  img.alt = still;
  img.hidden = true;
  name.textContent = `${score.toFixed(2)} ${still}`;
  figure.classList.toggle("veiled", veiled);
  figure.append(img);
  item.append(figure, name);
  item.dataset.still = still;
  return item;
}

async function picture(item) {
  const img = $("img", item);
  try {
    img.src = URL.createObjectURL(await ask(`v1/picture?still=${encodeURIComponent(item.dataset.still)}`, {blob: true}));
    img.onload = () => { img.hidden = false; URL.revokeObjectURL(img.src); };
  } catch { /* its name stays */ }
}

function findLike(file, name) {
  const form = new FormData();
  form.append("still", file, name);
  $("#finding").scrollIntoView({block: "nearest"});
  return find(name, "v1/similar", {method: "POST", body: form});
}

function findWords() {
  const words = $("#q").value.trim();
  if (words) find(`“${words}”`, `v1/find?q=${encodeURIComponent(words)}`);
}

function showFinding(finds) {
  $("#finding").hidden = !finds;
  $("#words").hidden = $("#find-go").hidden = !finds?.words;
  for (const still of stills) $(".more", still.card).hidden = !finds || still.state !== "answered";
}

/* --- chips --- */

// A probability beside the threshold from which on this tag is likely, in words.
function beside(probability, threshold, enough) {
  const digits = [0, 1, 2].find(d => percent(probability, d) !== percent(threshold, d)) ?? 2;
  return `${percent(probability, digits)}, ${enough ? `${percent(threshold, digits)} is enough` : `it takes ${percent(threshold, digits)}`}`;
}

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
  if (probability !== null) {
    const threshold = page.tags.get(tag)?.threshold ?? null, enough = list.classList.contains("likely");
    strength.textContent = threshold === null || list.classList.contains("grave") ? percent(probability) : beside(probability, threshold, enough);
    yes.style.setProperty("--p", probability);
    if (threshold !== null) yes.style.setProperty("--t", threshold);
  }
  yes.append(Object.assign(document.createElement("span"), {className: "unseen", textContent: "Accept "}), name, " ", strength);
  no.textContent = "✕";
  no.setAttribute("aria-label", `Reject ${tag}`);
  yes.disabled = !page.feedback;
  yes.onclick = () => decide(still, tag, "accept");
  no.onclick = () => decide(still, tag, "reject");
  item.append(yes, ...(page.feedback ? [no] : []));
  list.append(item);
  still.tags.set(tag, {item, yes, no, made: []});   // made: decisions in force, the last one last
  paint(still, tag);
}

function paint(still, tag) {
  const {item, yes, no, made} = still.tags.get(tag), now = made.at(-1);
  item.classList.toggle("accepted", now?.state === true);
  item.classList.toggle("rejected", now?.state === false);
  item.classList.toggle("unsent", made.some(d => localStorage.getItem(OUT + d.key)));
  yes.setAttribute("aria-pressed", String(now?.state === true));
  no.setAttribute("aria-pressed", String(now?.state === false));
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
  if (!page.tags.has(tag)) { problem.textContent = `The model does not know the tag “${tag}”.`; return; }
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

// What the model that answers now knows: its tags, from where on each is likely, what is promised.
async function learn() {
  const model = await ask("v1/model"), tags = await ask("v1/vocabulary");
  Object.assign(page, {feedback: model.feedback, limits: model.limits, finds: model.finds, version: model.version, tags: new Map(tags.map(t => [t.tag, t]))});
  showFinding(model.finds);
  $("#model").textContent = `${model.name}, ${model.tags} tags`;
  $("#promise").textContent = (model.limits.keeps ? "A picture is kept when you decide about it" : "Pictures are looked at and forgotten") +
    (model.feedback ? "; your answers help the next model." : ".");
  $("#no-feedback").hidden = model.feedback;
  $("#vocabulary").replaceChildren(...tags.map(t => Object.assign(document.createElement("option"), {value: t.tag})));
  showWhy();
}

function showWhy() {
  const own = [...page.tags.values()].some(t => t.threshold !== null);
  $("#why").hidden = !stills.length || !page.tags.size;
  $("#why").textContent = own
    ? "Each tag has its own threshold, found on pictures kept aside: a rare one is likely from a low probability on, a common one only from a high one. The line in a tag's bar is its threshold."
    : "Each picture has one tag: the most probable one is likely, whatever its number.";
}

async function begin() {
  for (;;) {
    try { await learn(); break; }
    catch (trouble) { await wait(1000 * (trouble.again ?? 5)); }
  }
  send();
}

$("#found-show").onclick = event => {
  event.target.hidden = true;
  for (const figure of document.querySelectorAll("#found figure")) figure.classList.remove("veiled");
};

$("#files").onchange = event => { add(event.target.files); event.target.value = ""; };
$("#find").onsubmit = event => { event.preventDefault(); findWords(); };
$("#like").onchange = event => { const [file] = event.target.files; if (file) findLike(file, file.name); event.target.value = ""; };
$("#undo").onclick = () => undo();
document.onkeydown = keyboard;
document.onpaste = event => { if (event.clipboardData.files.length) add(event.clipboardData.files); };
document.ondragover = event => { event.preventDefault(); $("#drop").classList.add("over"); };
document.ondragleave = event => { if (!event.relatedTarget) $("#drop").classList.remove("over"); };
document.ondrop = event => {
  event.preventDefault();
  $("#drop").classList.remove("over");
  const entries = [...event.dataTransfer.items].map(item => item.webkitGetAsEntry?.()).filter(Boolean);
  add(event.dataTransfer.files, new Set(entries.filter(e => e.isDirectory).map(e => e.name)));
};
begin();
