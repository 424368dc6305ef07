// The panel of `ImageCleaner`: cards, keys and dialogs. It decides nothing for good: it tells the kernel what was pressed,
// shows at once what that will look like, and takes over what the kernel answers.
const MARKS = { "": "· undecided", keep: "✓ kept", exclude: "✕ excluded", relabel: "→ relabelled" };
const HELP = [
  ["← → ↑ ↓", "the picture beside, above, below"], ["Home End", "first and last picture of the page"],
  ["k", "keep: it is right as it is"], ["x", "exclude"], ["Enter or m", "accept the model's answer"],
  ["1 … 9", "label with this class"], ["t or /", "search a label or tag, to add or remove it"], ["c", "clear the decision"],
  ["Shift K", "keep all that are left on this page"], ["Shift A", "accept for all that are left on this page"],
  ["Space", "select"], ["Shift ← → ↑ ↓", "select a range"], ["a", "select all on this page, or none"],
  ["n or Page Down", "next page"], ["p or Page Up", "previous page"], ["u", "undo"], ["Shift U or r", "redo"],
  ["z", "large view, and back"], ["w", "in it: where the model looked"], ["Esc", "close, unselect, leave"], ["?", "this help"],
];
const REVIEW_HELP = [
  ["y or Enter", "yes, it is there"], ["n or k", "no, it is not there"], ["Shift N or Shift K", "no to all that are left on this page"],
  ["x", "exclude: nobody could tell, or there is no picture"], ["c", "clear the answer"], ["← → ↑ ↓ Home End", "another picture"],
  ["Space, a", "select, select all: the next key is for all of them"], ["Page Down Page Up", "next and previous page"],
  ["u", "undo"], ["Shift U or r", "redo"], ["z", "large view, and back"], ["Esc", "close, unselect, leave"], ["?", "this help"],
];
const FIND_HELP = [["l", "more like these: look for what is like the selected pictures"]];
const LARGEST = 30e6; // bytes of a picture that is brought in
const MENUS = { mode: "Show", label: "Tag", reason: "Reason", part: "Split", marked: "Decided" };
const KEPT = 800; // pictures that the browser keeps
const SLOW = 1500, SILENT = 8000, IDLE = 15000, SHEET = 1200; // milliseconds
const SAYS = { // what the panel says of itself while nothing can be decided
  loading: "Loading the pictures …",
  late: "Still waiting for the kernel: it is busy with another cell, or gone. If it is gone, run this cell again.",
  slow: "Waiting for the kernel; what you pressed is not lost …",
  silent: "The kernel does not answer. Is it busy with another cell, it goes on by itself; was it restarted, run this cell again.",
  gone: "The kernel has gone. Run this cell again to go on.",
};

function make(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value === true) node.setAttribute(key, "");
    else if (value !== false && value != null) node.setAttribute(key, value);
  }
  node.append(...children);
  return node;
}

function put(node, text) { if (node.textContent !== text) node.textContent = text; }

class Card {
  constructor(panel, index) {
    const button = (css, act) => make("button", { type: "button", class: css, tabindex: -1, onclick: (e) => { e.stopPropagation(); panel.focusOn(index); act(e); } });
    this.select = button("mt-select", (e) => panel.select(index, e.shiftKey));
    this.zoom = button("mt-zoom-in", () => panel.zoom());
    this.image = make("img", { alt: "", decoding: "sync", draggable: "false" });
    this.trouble = make("div", { class: "mt-none" });
    this.picture = make("div", { class: "mt-picture", onclick: (e) => panel.click(index, e), ondblclick: () => panel.asks || panel.zoom() }, this.image, this.trouble, this.select, this.zoom);
    this.lines = Object.fromEntries(["reason", "label", "says", "item", "mark"].map((name) => [name, make("div", { class: `mt-${name}` })]));
    this.keep = button("mt-for-keep", () => panel.toggle("keep"));
    this.exclude = button("mt-for-exclude", () => panel.toggle("exclude"));
    this.accept = button("mt-for-relabel", () => (panel.here()[index]?.yes_is ? panel.toggle("relabel") : panel.accept()));
    this.change = button("", () => panel.search());
    this.buttons = [this.select, this.zoom, this.keep, this.exclude, this.accept, this.change];
    this.node = make("div", { class: "mt-card", role: "gridcell", tabindex: -1, onfocus: () => panel.focused(index) }, this.picture,
      make("div", { class: "mt-text" }, ...Object.values(this.lines)),
      this.answers = make("div", { class: "mt-row" }, this.keep, this.accept),
      make("div", { class: "mt-row mt-apart" }, this.change, this.exclude));
    this.row = make("div", { role: "row", class: "mt-line" }, this.node);
  }

  draw(face, chosen, focus, picture, single, review) {
    const { item, mark } = face, asks = Boolean(face.yes_is), tone = !asks || !mark || mark === "exclude" ? mark || "open" : mark === face.yes_is ? "yes" : "no";
    this.node.dataset.item = item;
    this.node.className = `mt-card mt-is-${tone}${face.tint ? " mt-tint" : ""}${chosen ? " mt-chosen" : ""}`;
    this.node.setAttribute("aria-selected", String(chosen));
    this.node.tabIndex = focus ? 0 : -1;
    for (const b of this.buttons) b.tabIndex = focus ? 0 : -1;
    const texts = { label: face.label, says: face.says && `model: ${face.says}`, reason: face.reason, item, mark: face.word || MARKS[mark] };
    for (const [name, line] of Object.entries(this.lines)) { put(line, texts[name] || " "); line.title = texts[name] || ""; }
    this.node.setAttribute("aria-label", [item, face.label, texts.says, face.reason, texts.mark, picture?.error && "no picture"].filter(Boolean).join(". "));
    this.image.alt = item;
    if (this.image.dataset.url !== (picture?.url ?? "")) {
      this.image.dataset.url = picture?.url ?? "";
      if (picture?.url) this.image.src = picture.url; else this.image.removeAttribute("src");
    }
    this.image.hidden = Boolean(picture?.error);
    this.trouble.hidden = !picture?.error;
    put(this.trouble, picture?.error ? `✕ no picture. ${picture.error}` : "");
    put(this.select, chosen ? "☑" : "☐");
    put(this.zoom, "⤢");
    put(this.keep, face.keep);
    put(this.exclude, mark === "exclude" ? "✕ Excluded" : asks ? "✕ Exclude picture" : "✕ Exclude");
    this.keep.classList.toggle("mt-says-no", asks && face.yes_is !== "keep");
    this.accept.classList.toggle("mt-says-no", asks && face.yes_is === "keep");
    this.answers.classList.toggle("mt-turned", asks && face.yes_is !== "keep"); // yes stands first
    put(this.accept, face.accept);
    put(this.change, single ? "Label …" : "Tag …");
    this.accept.hidden = !face.accept;
    this.change.hidden = Boolean(review);
    const tips = [[this.select, chosen ? "Unselect" : "Select"], [this.zoom, "Large view of"], [this.keep, `${face.keep}:`], [this.exclude, mark === "exclude" ? "Excluded:" : "Exclude"],
      [this.accept, asks ? `${face.accept}:` : `${face.accept}, as the model says:`], [this.change, single ? "Label … of" : "Tag … of"]];
    for (const [node, tip] of tips) { node.title = `${tip} ${item}`; node.setAttribute("aria-label", node.title); }
    this.keep.setAttribute("aria-pressed", String(mark === "keep"));
    this.exclude.setAttribute("aria-pressed", String(mark === "exclude"));
    this.accept.setAttribute("aria-pressed", String(asks && mark === "relabel"));
  }
}

class Panel {
  constructor(model, el) {
    Object.assign(this, { model, id: `mt-${Math.random().toString(36).slice(2)}`, g: -1, n: 0, page: 0, pages: 1, at: 0, anchor: null, faces: new Map(), pending: [], chosen: new Set(), pictures: new Map(),
      large: new Map(), looked: new Map(), looking: false, asked: new Set(), tags: [], cards: [], view: {}, inside: false, state: "", heard: Date.now(), clicks: "" });
    this.build(el);
    this.become("loading");
    this.patience = setTimeout(() => this.become("loading", SAYS.late), SILENT);
    this.receive = (message, buffers) => this.took(message, buffers);
    this.press = (event) => this.key(event);
    this.watch = (event) => { this.inside = event.composedPath().includes(this.root); if (this.inside) this.ask(); }; // who works elsewhere keeps the focus there
    this.left = () => this.become("gone");
    model.on("msg:custom", this.receive);
    model.on("comm_live_update", this.left); // it lives when the panel is made, so this can only be its end
    for (const what of ["pointerdown", "focusin"]) window.addEventListener(what, this.watch, true);
    window.addEventListener("keydown", this.press, true); // before Jupyter, which listens at the document
    this.send({ do: "start" });
  }

  end() {
    this.model.off("msg:custom", this.receive);
    this.model.off("comm_live_update", this.left);
    clearTimeout(this.patience);
    clearTimeout(this.late);
    for (const what of ["pointerdown", "focusin"]) window.removeEventListener(what, this.watch, true);
    window.removeEventListener("keydown", this.press, true);
    for (const known of [this.pictures, this.large, this.looked]) for (const { url } of known.values()) if (url) URL.revokeObjectURL(url);
  }

  get asks() { return Boolean(this.clicks); } // one question for all pictures, which a click answers

  // --- whether the kernel is there

  become(state, text = SAYS[state] ?? "") {
    this.state = state;
    this.root.dataset.state = state;
    this.root.setAttribute("aria-busy", String(state === "loading" || state === "busy"));
    this.fields.disabled = state !== "ready" && state !== "slow";
    document.documentElement.classList.toggle("mt-live", state !== "gone" && state !== "loading");
    put(this.told, text);
    if (this.fields.disabled && this.inside && !this.root.contains(document.activeElement)) this.cards[this.at]?.node.focus(); // the focus stays, or keys would go to the notebook
  }

  hear() {
    this.heard = Date.now();
    clearTimeout(this.patience);
    if (this.state !== "gone") this.become("ready");
  }

  await() { // an answer
    clearTimeout(this.patience);
    this.patience = setTimeout(() => {
      if (this.state === "busy") return;
      this.become("slow");
      this.patience = setTimeout(() => this.become("silent"), SILENT - SLOW);
    }, SLOW);
  }

  ask() { // is it still there, after a while?
    if (this.state !== "ready" || Date.now() - this.heard < IDLE) return;
    this.send({ do: "ping" });
    this.await();
  }

  // --- what is on the screen

  build(el) {
    const button = (text, tip, act) => make("button", { type: "button", title: tip, onclick: () => act() }, text);
    this.menus = make("div", { class: "mt-bar" });
    this.undo = button("↶ Undo", "Take the last decision back (u)", () => this.tell("undo"));
    this.redo = button("↷ Redo", "Do again what was undone (Shift U)", () => this.tell("redo"));
    this.keepRest = button("✓ Keep the rest", "Keep all undecided pictures of this page as they are (Shift K)", () => this.rest("keep_rest"));
    this.acceptRest = button("→ Accept the rest", "Accept the answer for all undecided pictures of this page (Shift A)", () => this.rest("accept_rest"));
    this.train = button("↻ Train again", "Train with the decisions so far, and compare", () => this.tell("train_again"));
    this.keys = button("? Keys", "All keys (?)", () => this.help());
    this.status = make("div", { class: "mt-status", role: "status", "aria-live": "polite" });
    this.told = make("div", { class: "mt-told", role: "status", "aria-live": "polite" });
    this.hints = make("div", { class: "mt-bar mt-hints", role: "group", "aria-label": "what the keys do" });
    this.alert = make("div", { class: "mt-alert", role: "alert" });
    this.bar = make("progress", { class: "mt-progress", max: 1, value: 0, "aria-label": "decided" });
    this.stop = make("div", { class: "mt-stop" });
    this.estimate = make("div", { class: "mt-estimate" });
    this.measured = make("div", { class: "mt-measured", role: "status" });
    this.question = make("div", { class: "mt-question" });
    this.grid = make("div", { class: "mt-grid", role: "grid", "aria-label": "pictures", "aria-multiselectable": "true" });
    this.back = button("‹ Previous", "The page before (p)", () => this.go(this.page - 1));
    this.next = button("Next ›", "The next page (n)", () => this.go(this.page + 1));
    this.place = make("span", { class: "mt-place" });
    this.dialog = make("dialog", { class: "mt-dialog", tabindex: -1, onclose: () => this.closed(), onclick: (e) => { if (e.target === this.dialog) this.dialog.close(); } });
    this.like = button("≈ More like these", "Look for what is like the selected pictures (l)", () => this.moreLike());
    this.said = make("input", { type: "text", "data-words": "yes", placeholder: "say it in words", "aria-label": "words to look for", autocomplete: "off" });
    this.say = button("Search", "Look for what the words say (Enter)", () => this.tell("say", { text: this.said.value }));
    this.brought = make("input", { type: "file", accept: "image/*", hidden: true, onchange: () => { this.bring(this.brought.files[0]); this.brought.value = ""; } });
    this.choose = button("Bring a picture …", "Look for what is like a picture of your own; it can be dropped here as well", () => this.brought.click());
    this.begun = make("span", { class: "mt-quiet mt-begun" });
    this.finder = make("div", { class: "mt-bar mt-finder", hidden: true, role: "group", "aria-label": "what to look for" }, this.like, this.choose, this.brought, this.said, this.say, this.begun);
    const tools = make("div", { class: "mt-bar mt-tools" }, this.undo, this.redo, this.keepRest, this.acceptRest, this.train, this.keys);
    const head = make("div", { class: "mt-head" }, this.question, this.finder, tools, make("div", { class: "mt-bar" }, this.bar, this.status), this.alert, this.hints);
    this.fields = make("fieldset", { class: "mt-fields" }, this.menus, this.stop, this.estimate, this.measured, head, this.grid, make("div", { class: "mt-bar" }, this.back, this.place, this.next));
    const over = (is) => (event) => { if (this.finds) { event.preventDefault(); event.stopPropagation(); this.root.classList.toggle("mt-over", is); } };
    const dropped = (event) => { over(false)(event); if (this.finds && this.can) this.bring(event.dataTransfer.files[0]); };
    this.root = make("div", { class: "mt-cleaner", role: "region", "aria-label": "ImageCleaner", ondragover: over(true), ondragleave: over(false), ondrop: dropped }, this.told, this.fields, this.dialog);
    el.append(this.root);
  }

  drawMenus(menus) {
    const choices = JSON.stringify([menus, this.view]);
    if (this.drawn === choices) return;
    const held = document.activeElement?.dataset?.menu;
    this.drawn = choices;
    this.menus.replaceChildren(...Object.entries(menus).map(([name, options]) => make("label", {}, `${name === "label" && this.single ? "Class" : MENUS[name]} `,
      make("select", { "data-menu": name, onchange: (e) => this.tell("show", { view: { [name]: e.target.value || null } }) },
        ...options.map(([text, value]) => make("option", { value, selected: value === (this.view[name] ?? "") }, text))))));
    if (held && this.root.contains(document.activeElement) === false) this.menus.querySelector(`[data-menu="${held}"]`)?.focus();
  }

  face(index) {
    const face = this.faces.get(this.page)?.[index];
    const late = face && this.pending.findLast((p) => p.items.has(face.item));
    return late ? { ...face, mark: late.mark, word: face.words?.[late.mark] ?? MARKS[late.mark] } : face;
  }

  here() { return (this.faces.get(this.page) ?? []).map((_, index) => this.face(index)); }

  paint() {
    const faces = this.here();
    while (this.cards.length < faces.length) this.cards.push(new Card(this, this.cards.length));
    this.arrange(faces);
    this.at = Math.max(0, Math.min(this.at, faces.length - 1));
    faces.forEach((face, k) => this.cards[k].draw(face, this.chosen.has(face.item), k === this.at, this.pictures.get(face.item), this.single, this.review));
    put(this.place, this.pages && (faces.length || this.page) ? `page ${this.page + 1} of ${this.pages}${this.order && ` · ${this.order}`}` : "no pictures here: choose something else above");
    this.back.disabled = this.page === 0;
    this.next.disabled = this.page + 1 >= this.pages;
    this.keepRest.disabled = this.acceptRest.disabled = !faces.some((face) => !face.mark);
    this.drawHints(faces[this.at]);
    this.want(faces);
    this.want(this.faces.get(this.page + 1) ?? []);
    if (this.dialog.open && this.dialog.dataset.what === "zoom") this.drawZoom();
  }

  arrange(faces) { // what belongs together stands together
    const shape = JSON.stringify(faces.map((face) => face.cluster ?? null));
    if (this.shape === shape && this.grid.querySelectorAll(".mt-card").length === faces.length) return;
    this.shape = shape;
    const rows = [];
    faces.forEach((face, k) => {
      const card = this.cards[k], last = rows.at(-1);
      card.row.replaceChildren(card.node);
      if (face.cluster != null && last?.cluster === face.cluster) last.nodes.push(card.node);
      else rows.push({ cluster: face.cluster, nodes: [card.node], row: card.row });
    });
    this.grid.replaceChildren(...rows.map(({ nodes, row }) => {
      row.className = nodes.length > 1 ? "mt-cluster" : "mt-line";
      row.replaceChildren(...nodes);
      return row;
    }));
  }

  drawHints(face) { // what the next key would do, in sight
    const key = (name, text, act) => make("button", { type: "button", tabindex: -1, onclick: () => { act(); this.focusOn(this.at); } }, make("kbd", {}, name), ` ${text}`);
    const hints = !face ? [] : this.review ? [["y", face.accept, "y"], ["n", face.keep, "n"], ["x", "✕ Exclude picture", "x"]]
      : [...(face.accept ? [["Enter", face.accept, "Enter"]] : []), ["k", face.keep, "k"], ["x", face.yes_is ? "✕ Exclude picture" : "✕ Exclude", "x"],
        ...(this.single ? this.tags.slice(0, 9).map((tag, k) => [String(k + 1), tag, String(k + 1)]) : [["t", "another tag", "t"]])];
    const drawn = JSON.stringify(hints);
    if (this.hinted === drawn) return;
    this.hinted = drawn;
    this.hints.replaceChildren(...hints.map(([name, text, press]) => key(name, text, () => this.action({ key: press })?.())));
  }

  want(faces) {
    const items = faces.map((face) => face.item).filter((item) => !this.pictures.has(item) && !this.asked.has(item));
    for (const item of items) this.asked.add(item);
    if (items.length) this.send({ do: "pictures", items });
  }

  // --- what the kernel says

  took(message, buffers) {
    if (["pictures", "large", "looked"].includes(message.kind)) return this.tookPictures(message, buffers);
    if (message.kind === "here") return this.hear();
    if (message.kind === "busy") { clearTimeout(this.patience); return this.become("busy", message.text); }
    this.hear();
    if (message.n != null && message.n < this.n) this.await();
    const failed = message.kind === "error" && this.pending.find((p) => p.n === message.n && p.g === this.g);
    if (message.n != null) this.pending = this.pending.filter((p) => p.n > message.n);
    if (message.kind === "error") {
      put(this.alert, `⚠ ${message.text}`);
      if (failed && failed.page !== this.page) this.go(failed.page); else this.paint();
      this.alarm = this.n; // what was pressed before this was read does not take it away
      return;
    }
    if (message.n > (this.alarm ?? -1)) put(this.alert, "");
    if (message.g !== this.g) { this.faces.clear(); this.chosen.clear(); this.pending = []; this.g = message.g; this.page = message.page; this.at = 0; }
    for (const [page, faces] of Object.entries(message.faces)) this.faces.set(Number(page), faces);
    this.summary(message);
    clearTimeout(this.late);
    this.late = setTimeout(() => this.send({ do: "sheet" }), SHEET); // for other readers, once the hands rest
    const mine = message.n == null || message.n >= this.n; // else more has been pressed since, and the answer to that follows
    if (message.page !== this.page && mine) { this.page = message.page; this.at = 0; }
    const at = mine && message.focus != null ? this.here().findIndex((face) => face.item === message.focus) : -1;
    if (at >= 0) this.at = at;
    this.paint();
    if (this.inside && !this.dialog.open && (at >= 0 || document.activeElement === document.body)) this.focusOn(this.at);
  }

  summary(message) {
    Object.assign(this, { pages: message.pages, view: message.view, tags: message.tags ?? this.tags, single: message.single, review: message.review, order: message.order, clicks: message.click, finds: message.finds });
    this.finder.hidden = !this.finds;
    this.said.hidden = this.say.hidden = !this.finds?.words;
    put(this.begun, this.finds?.begun ? `looking for what is ${this.finds.begun}` : "");
    put(this.keepRest, message.rest.keep);
    put(this.acceptRest, message.rest.accept);
    this.keepRest.title = this.review ? "Say no to all that are left on this page (Shift N)" : "For all undecided pictures of this page (Shift K)";
    this.acceptRest.hidden = !message.rest.accept;
    this.back.title = `The page before (${this.review ? "Page Up" : "p"})`;
    this.next.title = `The next page (${this.review ? "Page Down" : "n"})`;
    if (message.menus) this.drawMenus(message.menus);
    this.undo.disabled = !message.undo;
    this.redo.disabled = !message.redo;
    this.train.hidden = !message.trains;
    this.explains = message.explains;
    put(this.question, message.question);
    put(this.status, message.status);
    put(this.stop, message.stop);
    put(this.estimate, message.estimate);
    put(this.measured, message.measured);
    this.bar.setAttribute("aria-label", this.review && !this.finds ? "films with a yes, of those that are needed" : "answered, of the questions of this view");
    Object.assign(this.bar, { max: message.total, value: message.decided });
  }

  tookPictures(message, buffers) {
    const known = this[message.kind];
    message.items.forEach((item, k) => {
      const url = message.errors[k] ? null : URL.createObjectURL(new Blob([buffers[k]], { type: "image/jpeg" }));
      if (known.get(item)?.url) URL.revokeObjectURL(known.get(item).url);
      known.set(item, { url, error: message.errors[k], tag: message.tag });
      this.asked.delete(item);
      this.asked.delete(`looked ${item}`); // what is wanted again after a label has changed is asked again
    });
    const shown = new Set([this.page, this.page + 1].flatMap((page) => this.faces.get(page) ?? []).map((face) => face.item));
    for (const [item, { url }] of known) {
      if (known.size <= KEPT) break;
      if (!shown.has(item)) { if (url) URL.revokeObjectURL(url); known.delete(item); }
    }
    this.paint();
  }

  // --- what the person does

  send(message) { this.model.send(message); }
  get can() { return this.state === "ready" || this.state === "slow"; }
  tell(what, more = {}) { this.send({ do: what, n: ++this.n, ...more }); this.await(); }

  focused(index) {
    this.inside = true;
    if (this.at === index || this.dialog.dataset.what) return; // a dialog that closes gives the focus back to where it was opened
    this.at = index;
    this.paint();
  }

  focusOn(index) {
    this.at = index;
    this.inside = true;
    this.paint();
    if (!this.dialog.open) this.cards[index]?.row.isConnected && this.cards[index].node.focus({ preventScroll: false });
  }

  click(index, event) {
    if (event.ctrlKey || event.metaKey) return this.select(index);
    if (event.shiftKey) return this.select(index, true);
    this.focusOn(index);
    if (this.can && this.asks && event.detail === 1) this.toggle(this.clicks); // a click says what is rare
  }

  targets() {
    const faces = this.here();
    return this.chosen.size ? faces.filter((face) => this.chosen.has(face.item)) : faces.slice(this.at, this.at + 1);
  }

  decide(what, faces, mark, more = {}) {
    if (!faces.length) return;
    const items = faces.map((face) => face.item);
    const stays = this.asks && !this.chosen.size && more.byHand;
    delete more.byHand;
    this.tell(what, { items, ...more });
    this.pending.push({ n: this.n, g: this.g, page: this.page, items: new Set(items), mark });
    this.chosen.clear();
    if (mark && !stays) this.advance(items); else this.focusOn(this.at);
  }

  advance(items) {
    const faces = this.here(), last = faces.findLastIndex((face) => items.includes(face.item));
    const open = faces.findIndex((face, k) => k > last && !face.mark);
    if (open >= 0) this.focusOn(open);
    else if (this.page + 1 < this.pages) this.go(this.page + 1);
    else this.focusOn(Math.min(last + 1, faces.length - 1));
  }

  toggle(mark) { // the buttons and clicks: a second one takes it back
    const face = this.face(this.at);
    if (face?.mark === mark) this.decide("reset", [face], "");
    else if (face) this.decide(mark === "relabel" ? "accept" : mark, this.chosen.has(face.item) ? this.targets() : [face], mark, { byHand: true });
  }

  accept() {
    const faces = this.targets().filter((face) => face.accept);
    if (faces.length) this.decide("accept", faces, faces[0].accepts);
    else put(this.status, "The model has no other answer here.");
  }

  rest(what) {
    const faces = this.here().filter((face) => !face.mark);
    if (!faces.length) return;
    this.tell(what);
    this.pending.push({ n: this.n, g: this.g, page: this.page, items: new Set(faces.map((face) => face.item)), mark: what === "accept_rest" ? "relabel" : "keep" });
    this.advance(faces.map((face) => face.item));
  }

  moreLike() {
    const items = this.targets().map((face) => face.item);
    if (items.length) this.tell("like", { items });
  }

  bring(file) { // a picture of one's own
    if (!file) return put(this.alert, "⚠ That is no file: choose a picture that lies on this computer.");
    if (file.size > LARGEST) return put(this.alert, `⚠ ${file.name} is too large: choose a picture of less than ${LARGEST / 1e6} MB.`);
    const reader = new FileReader();
    reader.onload = () => this.tell("bring", { text: reader.result.slice(reader.result.indexOf(",") + 1) });
    reader.onerror = () => put(this.alert, `⚠ ${file.name} cannot be read.`);
    reader.readAsDataURL(file);
  }

  relabel(tag, yes) { if (tag != null) this.decide("relabel", this.targets(), "relabel", { tag, yes }); }

  go(page) {
    if (page < 0 || page >= this.pages) return put(this.status, page < 0 ? "This is the first page." : "This is the last page.");
    this.page = page;
    this.chosen.clear();
    this.tell("show", { page });
    const open = this.here().findIndex((face) => !face.mark);
    this.focusOn(Math.max(0, open));
  }

  select(index, range = false) {
    const faces = this.here(), from = range ? this.anchor ?? this.at : index;
    for (let k = Math.min(from, index); k <= Math.max(from, index); k++) {
      const { item } = faces[k];
      if (!range && this.chosen.has(item)) this.chosen.delete(item); else this.chosen.add(item);
    }
    if (!range) this.anchor = index;
    this.focusOn(index);
  }

  selectAll() {
    const faces = this.here(), all = faces.every((face) => this.chosen.has(face.item));
    this.chosen = new Set(all ? [] : faces.map((face) => face.item));
    this.paint();
  }

  step(by, range) {
    const to = this.at + by, faces = this.here();
    if (!range && to >= faces.length && by === 1) return this.go(this.page + 1);
    if (to < 0 || to >= faces.length) return;
    if (range) { if (!this.chosen.size) this.anchor = this.at; this.select(to, true); } else this.focusOn(to);
  }

  columns() {
    const tops = this.cards.slice(0, this.here().length).map((card) => card.node.offsetTop);
    return Math.max(1, tops.filter((top) => top === tops[0]).length);
  }

  // --- keys: only while the panel has the focus, and none with Ctrl, Alt or Cmd, which belong to Jupyter and the browser

  key(event) {
    if (!event.composedPath().includes(this.root) || event.ctrlKey || event.metaKey || event.altKey) return;
    const target = event.composedPath()[0], name = event.key;
    if (name === "Tab" || (name === "Escape" && !this.dialog.open && !this.chosen.size)) return;
    event.stopImmediatePropagation();
    if (target.dataset?.search) return this.searchKey(event);
    if (target.dataset?.words) { if (name === "Enter") this.say.click(); return; }
    if (target.tagName === "SELECT" || (target.tagName === "BUTTON" && (name === "Enter" || name === " "))) return;
    const act = this.action(event);
    if (!act) return;
    event.preventDefault();
    if (!this.can && name !== "Escape") return;
    if (!event.repeat || /^Arrow|^Page/.test(name)) act();
  }

  action({ key, shiftKey: shift }) {
    const help = this.dialog.open && this.dialog.dataset.what === "help", columns = () => this.columns();
    if (help) return key === "Escape" || key === "?" ? () => this.dialog.close() : null;
    const acts = {
      ArrowLeft: () => this.step(-1, shift), ArrowRight: () => this.step(1, shift), ArrowUp: () => this.step(-columns(), shift), ArrowDown: () => this.step(columns(), shift),
      Home: () => this.focusOn(0), End: () => this.focusOn(this.here().length - 1), PageDown: () => this.go(this.page + 1), PageUp: () => this.go(this.page - 1),
      k: () => this.decide("keep", this.targets(), "keep"), x: () => this.decide("exclude", this.targets(), "exclude"), c: () => this.decide("reset", this.targets(), ""),
      m: () => this.accept(), Enter: () => this.accept(), K: () => this.rest("keep_rest"), A: () => this.rest("accept_rest"), t: () => this.search(), "/": () => this.search(),
      " ": () => this.select(this.at), a: () => this.selectAll(), n: () => this.go(this.page + 1), p: () => this.go(this.page - 1),
      u: () => this.tell("undo"), U: () => this.tell("redo"), r: () => this.tell("redo"), z: () => this.zoom(), w: () => this.where(), "?": () => this.help(),
      Escape: () => (this.dialog.open ? this.dialog.close() : (this.chosen.clear(), this.paint())),
    };
    if (this.review) {
      Object.assign(acts, { y: acts.Enter, n: acts.k, N: acts.K });
      for (const blind of ["m", "A", "t", "/", "p"]) delete acts[blind];
      if (this.finds) acts.l = () => this.moreLike();
    }
    if (/^[1-9]$/.test(key) && this.single) return () => this.relabel(this.tags[Number(key) - 1], true);
    return acts[key];
  }

  // --- dialogs

  open(what, label, ...children) {
    this.dialog.dataset.what = what;
    this.dialog.setAttribute("aria-label", label);
    this.dialog.replaceChildren(...children);
    if (!this.dialog.open) this.dialog.showModal();
  }

  closed() { this.dialog.replaceChildren(); this.dialog.dataset.what = ""; this.focusOn(this.at); }

  help() {
    const classes = this.single ? this.tags.slice(0, 9).map((tag, k) => [String(k + 1), tag]) : [];
    const rows = [...(this.review ? [...(this.finds ? FIND_HELP : []), ...REVIEW_HELP] : HELP).filter(([keys]) => (this.single || keys !== "1 … 9") && (this.explains || keys !== "w")), ...classes].map(([keys, what]) => make("tr", {}, make("th", { scope: "row" }, keys), make("td", {}, what)));
    this.open("help", "Keys", make("h3", {}, "Keys"), make("table", {}, make("tbody", {}, ...rows)), make("button", { type: "button", onclick: () => this.dialog.close() }, "Close"));
  }

  zoom() {
    if (this.dialog.open) return this.dialog.close();
    this.open("zoom", "Large view", make("img", { class: "mt-large", alt: "" }), make("div", { class: "mt-caption" }),
      ...(this.explains ? [make("button", { type: "button", class: "mt-where", "aria-pressed": String(this.looking), title: "The picture with what spoke for the tag, and what against (w)", onclick: () => this.where() }, "Where the model looked"), " "] : []),
      make("button", { type: "button", onclick: () => this.dialog.close() }, "Close"));
    this.dialog.focus(); // and not its button: Enter accepts
    this.drawZoom();
  }

  where() {
    if (!this.explains || this.dialog.dataset.what !== "zoom") return;
    this.looking = !this.looking;
    for (const { url } of this.looked.values()) if (url) URL.revokeObjectURL(url);
    this.looked.clear(); // the doubt may be about another tag by now
    this.dialog.querySelector(".mt-where").setAttribute("aria-pressed", String(this.looking));
    this.drawZoom();
  }

  drawZoom() {
    const face = this.face(this.at), [image, caption] = this.dialog.children;
    if (!face) return;
    const { item } = face, large = this.large.get(item), looked = this.looking && this.looked.get(item), url = (looked && looked.url) || (large?.url ?? this.pictures.get(item)?.url);
    if (!large && !this.asked.has(`large ${item}`)) { this.asked.add(`large ${item}`); this.send({ do: "large", item }); }
    if (this.looking && !looked && !this.asked.has(`looked ${item}`)) { this.asked.add(`looked ${item}`); this.send({ do: "looked", item }); }
    const where = looked && (looked.error || `yellow spoke for ${looked.tag}, blue against it`);
    if (url && image.src !== url) image.src = url;
    image.alt = item;
    put(caption, [where, face.label, face.says && `model: ${face.says}`, face.reason, (face.word || MARKS[face.mark]).replace("· ", ""), item].filter(Boolean).join("  ·  "));
  }

  search() {
    const faces = this.targets();
    if (!faces.length) return;
    this.found = [];
    this.input = make("input", { type: "text", "data-search": "yes", role: "combobox", "aria-expanded": "true", "aria-controls": this.id, "aria-label": "label or tag",
      placeholder: this.single ? "label" : "tag to add or remove", autocomplete: "off", oninput: () => this.drawSearch(0) });
    this.list = make("ul", { id: this.id, role: "listbox", "aria-label": "labels" });
    const hint = this.single ? "Enter chooses" : "Enter adds, or removes what is there · Shift Enter says no";
    this.open("search", "Change the label", make("div", { class: "mt-quiet" }, faces.length === 1 ? faces[0].item : `${faces.length} pictures`), this.input, this.list, make("div", { class: "mt-quiet" }, hint));
    this.drawSearch(0);
    this.input.focus();
  }

  drawSearch(at) {
    const text = this.input.value.trim().toLowerCase(), yes = new Set(this.targets()[0]?.yes);
    const rank = (tag) => (tag.toLowerCase().startsWith(text) ? 0 : tag.toLowerCase().includes(text) ? 1 : 2);
    this.found = this.tags.map((tag, k) => ({ tag, k, yes: yes.has(k), rank: rank(tag) })).filter((t) => t.rank < 2).sort((a, b) => a.rank - b.rank || a.k - b.k).slice(0, 200);
    this.row = Math.max(0, Math.min(at, this.found.length - 1));
    this.list.replaceChildren(...this.found.map(({ tag, yes: has }, k) => make("li", { role: "option", id: `${this.id}-${k}`, "aria-selected": String(k === this.row), onclick: (e) => this.pick(k, e.shiftKey) },
      `${has ? "✓" : " "} ${tag}`)));
    this.input.setAttribute("aria-activedescendant", `${this.id}-${this.row}`);
    this.list.children[this.row]?.scrollIntoView({ block: "nearest" });
  }

  searchKey(event) {
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (by) this.drawSearch(this.row + by);
    else if (event.key === "Enter") this.pick(this.row, event.shiftKey);
    else if (event.key === "Escape") this.dialog.close();
    else return;
    event.preventDefault();
  }

  pick(k, no) {
    const found = this.found[k];
    if (!found) return;
    this.dialog.close();
    this.relabel(found.tag, this.single || !(no || found.yes));
  }
}

export default {
  render({ model, el }) {
    const panel = new Panel(model, el);
    return () => panel.end();
  },
};
