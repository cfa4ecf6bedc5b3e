// Operations, live: the server sends the sections again when something changed.  One in which somebody types waits.
"use strict";

const live = document.getElementById("live");
const shown = new Map();
let wait = 1000;

function listen() {
  const source = new EventSource("/ops/live");
  source.onopen = () => { wait = 1000; live.textContent = "Live."; };
  source.addEventListener("state", (event) => {
    for (const { name, html } of JSON.parse(event.data)) {
      const section = document.getElementById(name);
      if (shown.get(name) === html || section.contains(document.activeElement)) continue;
      shown.set(name, html);
      section.innerHTML = html;
    }
  });
  source.onerror = () => {
    const refused = source.readyState === EventSource.CLOSED; // an answer, and it was no
    source.close();
    live.textContent = refused ? "Not live: the session may have ended; load the page again." : "Not connected; trying again.";
    setTimeout(listen, wait = Math.min(wait * 2, 30000));
  };
}
listen();
