// The payment page, live.  The server has drawn everything already; this keeps it true while the page is open.
"use strict";

const box = document.getElementById("purchase");
const skew = Number(box.dataset.now) - Date.now();
let expires = Number(box.dataset.expires);
let over = false;

for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = false;
  const words = button.innerHTML;
  button.addEventListener("click", async () => {
    const text = document.getElementById(button.dataset.copy).textContent.trim();
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      const range = document.createRange();
      range.selectNodeContents(document.getElementById(button.dataset.copy));
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      button.textContent = "Marked: copy it";
    }
    setTimeout(() => { button.innerHTML = words; }, 2000);
  });
}

function tick() {
  const left = Math.max(0, Math.round((expires - Date.now() - skew) / 1000));
  const parts = left >= 3600 ? [Math.floor(left / 3600), Math.floor(left / 60) % 60, left % 60] : [Math.floor(left / 60), left % 60];
  const text = parts.map((n, i) => (i ? String(n).padStart(2, "0") : n)).join(":");
  document.getElementById("left").textContent = left ? `, in ${text}` : ", which is over";
}
tick();
setInterval(tick, 1000);

function show(id, visible) { document.getElementById(id).hidden = !visible; }

function draw(page) {
  expires = page.expires_ms;
  document.getElementById("missing").textContent = page.missing;
  show("pay", page.payable);
  show("clock", page.payable);
  for (const step of page.steps) {
    const item = document.querySelector(`[data-step="${step.name}"]`);
    item.textContent = step.text;
    item.toggleAttribute("data-done", step.done);
    step.now ? item.setAttribute("aria-current", "step") : item.removeAttribute("aria-current");
  }
  const note = document.getElementById("note");
  note.textContent = page.note.text;
  note.className = `note ${page.note.kind}`;
  note.hidden = !page.note.text;
  show("ticket", Boolean(page.ticket));
  if (page.ticket) {
    document.getElementById("ticket-number").textContent = page.ticket.number;
    document.getElementById("ticket-state").textContent = page.ticket.note;
    document.getElementById("ticket-link").href = page.ticket.url;
  }
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
