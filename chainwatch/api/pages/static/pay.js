// The payment page, live.  The server has drawn everything already; this keeps it true while the page is open.
"use strict";

const box = document.getElementById("purchase");
const skew = Number(box.dataset.now) - Date.now();
let expires = Number(box.dataset.expires);
let over = false;

const find = (id) => document.getElementById(id);
function show(id, visible) { find(id).hidden = !visible; }

function tick() {
  const left = Math.max(0, Math.round((expires - Date.now() - skew) / 1000));
  const parts = left >= 3600 ? [Math.floor(left / 3600), Math.floor(left / 60) % 60, left % 60] : [Math.floor(left / 60), left % 60];
  find("left").textContent = left ? parts.map((n, i) => (i ? String(n).padStart(2, "0") : n)).join(":") : "over";
  find("left").classList.toggle("warn", left < 120);
}
tick();
setInterval(tick, 1000);

function step({ text, done, now }) {
  const item = document.createElement("li");
  item.textContent = text;
  item.toggleAttribute("data-done", done);
  if (now) item.setAttribute("aria-current", "step");
  return item;
}

let code = "";

function draw(page) {
  expires = page.expires_ms;
  find("missing").textContent = page.missing;
  find("fiat").textContent = page.fiat;
  show("fiat", Boolean(page.fiat));
  find("hold").textContent = page.hold;
  find("expires").dateTime = page.expires;
  find("expires").textContent = page.expires_text;
  find("wallet").href = page.uri;
  show("wallet", Boolean(page.uri));
  show("pay", page.payable);
  if (page.qr !== code) {
    code = page.qr;
    const picture = code && new DOMParser().parseFromString(code, "image/svg+xml").documentElement;
    find("code").replaceChildren(...(picture ? [document.importNode(picture, true)] : []));
  }
  show("state", page.steps.length > 0);
  const drawn = find("steps");
  while (drawn.children.length > page.steps.length) drawn.lastElementChild.remove();
  page.steps.map(step).forEach((item, i) => { // only what changed: it is read out
    const old = drawn.children[i];
    if (!old) drawn.append(item);
    else if (!old.isEqualNode(item)) old.replaceWith(item);
  });
  find("note").textContent = page.note.text;
  find("note").className = `note ${page.note.kind}`;
  show("note", Boolean(page.note.text));
  show("ticket", Boolean(page.ticket));
  if (page.ticket) {
    find("ticket-text").textContent = page.ticket.text;
    find("ticket-text").className = page.ticket.kind;
    find("ticket-link").href = page.ticket.url;
  }
  tick();
  over = page.over;
}

let wait = 1000;
function listen() {
  const source = new EventSource(box.dataset.stream);
  source.addEventListener("state", (event) => { wait = 1000; draw(JSON.parse(event.data)); });
  source.onerror = () => {
    source.close();
    if (!over) setTimeout(listen, wait = Math.min(wait * 2, 30000));
  };
}
listen();
