// Operations, live: the server sends a section again when it has changed.  A section in which somebody types waits.
"use strict";

const live = document.getElementById("live");
let wait = 1000;

function listen() {
  const source = new EventSource("/ops/live");
  source.onopen = () => { wait = 1000; live.textContent = "Live."; };
  source.addEventListener("section", (event) => {
    const { name, html } = JSON.parse(event.data);
    const section = document.getElementById(name);
    if (section && !section.contains(document.activeElement)) section.innerHTML = html;
  });
  source.onerror = () => {
    source.close();
    live.textContent = "Not connected; trying again.";
    setTimeout(listen, wait = Math.min(wait * 2, 30000));
  };
}
listen();
