// Operations, live: the server sends the sections again when something changed.  One in which somebody types or marks text waits.
"use strict";

const live = document.getElementById("live");
const shown = new Map();
let wait = 1000;
let source;
let again;

const boxes = (section) => [...section.querySelectorAll(".scroll")];

/** Is somebody typing in a section, or marking text there? */
function busy(section) {
  const marked = getSelection();
  const marks = !marked.isCollapsed && section.contains(marked.anchorNode);
  return marks || Boolean(section.querySelector("form :focus"));
}

/** Draw a section again; what was moved sideways stays so, and where the keyboard was it still is. */
function draw(section, html) {
  const were = boxes(section).map((box) => [box.scrollLeft, box === document.activeElement]);
  section.innerHTML = html;
  boxes(section).forEach((box, i) => {
    const [left, focused] = were[i] ?? [0, false];
    box.scrollLeft = left;
    if (focused) box.focus({ preventScroll: true });
  });
}

function listen() {
  source = new EventSource("/ops/live");
  source.onopen = () => { wait = 1000; live.textContent = "Live."; };
  source.addEventListener("state", (event) => {
    for (const { name, html } of JSON.parse(event.data)) {
      const section = document.getElementById(name);
      if (shown.get(name) === html || busy(section)) continue;
      shown.set(name, html);
      draw(section, html);
    }
  });
  source.onerror = () => {
    const refused = source.readyState === EventSource.CLOSED; // an answer, and it was no
    source.close();
    live.textContent = refused ? "Not live: the session may have ended; load the page again." : "Not connected; trying again.";
    again = setTimeout(listen, wait = Math.min(wait * 2, 30000));
  };
}
const pause = document.getElementById("pause");
pause.hidden = false;
pause.addEventListener("click", () => {
  const paused = pause.textContent === "Pause";
  pause.textContent = paused ? "Go on" : "Pause";
  live.textContent = paused ? "Paused." : "";
  if (!paused) return listen();
  clearTimeout(again);
  return source.close();
});
listen();
