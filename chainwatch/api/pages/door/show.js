// What people see, hear and feel.  All text goes in as text: names and codes are never markup.

const WORDS = {
  accepted: ["green", "Welcome"],
  already_redeemed: ["red", "Already inside"],
  wrong_event: ["red", "Another event's ticket"],
  not_yet: ["amber", "Doors are not open yet"],
  over: ["red", "The event is over"],
  cancelled: ["red", "Cancelled"],
  refunded: ["red", "Refunded"],
  revoked: ["red", "Not valid any more"],
  suspended: ["red", "Payment not confirmed"],
  unknown: ["red", "No such ticket"],
  bad_checksum: ["red", "Forged code"],
  old_code: ["amber", "Old code: open the ticket again"],
  door_wallet_only: ["amber", "This door takes wallets only"],
  order_limit: ["red", "No more entries by order id"],
  not_listed: ["amber", "Not on this device's list"],
  needs_network: ["amber", "An order id needs the network"],
  no_list: ["amber", "No list on this device yet"],
  device_revoked: ["red", "This device was revoked"],
  not_understood: ["red", "Not a code"],
};
const MARKS = { green: "✓", red: "✗", amber: "!" };
const TONES = { green: [[660, 0], [990, 0.12]], red: [[220, 0], [180, 0.22]], amber: [[440, 0]] };
const SHAKES = { green: [80], red: [200, 80, 200], amber: [120, 60, 120] };
const GREEN_MS = 1_500; // a green goes by itself: the next guest is there
const LATEST = 20;

const find = (id) => document.getElementById(id);
const clock = (ms) => new Date(ms).toLocaleTimeString("en-GB");
const moment = (ms) => new Date(ms).toLocaleString("en-GB", { weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const sameDay = (a, b) => new Date(a).toDateString() === new Date(b).toDateString();
const WRONG_MS = 120_000;

/** Say how far the device's clock is off, where that is worth a word. */
function off(skewMs) {
  if (Math.abs(skewMs) < WRONG_MS) return "";
  const minutes = Math.round(Math.abs(skewMs) / 60_000);
  const far = minutes < 120 ? `${minutes} min` : `${Math.round(minutes / 60)} h`;
  return ` · this device's clock is ${far} ${skewMs > 0 ? "slow" : "fast"}, and corrected`;
}

export class Show {
  #sound = null;
  #before = null; // what had the keyboard when a result came
  #timer = 0;

  get covered() {
    return !find("result").hidden;
  }

  /** Bind what people do.  The first touch also opens the sound: browsers want that. */
  on(acts) {
    const submit = (form, input, act) =>
      find(form).addEventListener("submit", (event) => {
        event.preventDefault();
        const text = find(input).value;
        if (form === "manual") find(input).value = "";
        act(text);
      });
    submit("enrol-form", "enrol-key", acts.enrol);
    submit("manual", "manual-code", acts.scan);
    submit("gate-form", "gate", acts.gate);
    find("camera-start").addEventListener("click", acts.camera);
    find("enrol-scan").addEventListener("click", acts.camera);
    find("sync").addEventListener("click", acts.sync);
    find("forget").addEventListener("click", acts.forget);
    find("torch").addEventListener("click", () => {
      const on = find("torch").getAttribute("aria-pressed") !== "true";
      find("torch").setAttribute("aria-pressed", String(on));
      acts.torch(on);
    });
    find("result").addEventListener("click", () => this.#dismiss(acts.dismissed));
    find("result").addEventListener("keydown", ({ key, ctrlKey, metaKey }) => {
      if (key.length !== 1 || key === " " || ctrlKey || metaKey) return;
      this.#before = find("manual-code"); // a hand scanner types: its next code goes where it belongs
      this.#dismiss(acts.dismissed);
    });
    this.dismissed = acts.dismissed;
    addEventListener("pointerdown", () => (this.#sound ??= new AudioContext()), { once: true });
  }

  enrol() {
    find("door").hidden = true;
    find("enrol").hidden = false;
  }

  /** Why setting up did not work: said where the person looks. */
  problem(text) {
    find("enrol-problem").textContent = text;
    if (find("enrol").hidden) this.alarm(text);
  }

  door(me, gate) {
    find("enrol").hidden = true;
    find("door").hidden = false;
    find("event-title").textContent = me.title;
    find("gate").value = gate;
    find("about").textContent = `Device “${me.device}”, event ${me.event}`;
    document.title = `${gate || me.device} · ${me.title}`;
  }

  alarm(text) {
    find("alarm").textContent = text;
  }

  camera(on, torch, problem = "") {
    find("viewer").hidden = !on;
    find("camera-start").hidden = on;
    find("camera-off").textContent = problem || (on ? "" : "The camera is off.");
    find("torch").hidden = !torch;
  }

  status({ online, open, checked, listMs, known, skewMs }) {
    const net = online ? "Online" : "Offline: this device decides alone";
    const sent = open ? ` · ${open} ${open === 1 ? "scan waits" : "scans wait"} to be sent` : "";
    const seal = checked ? "signature checked" : "signature not checked: this browser knows no Ed25519";
    const list = listMs ? ` · ${known} tickets, ${seal}, as of ${clock(listMs)}` : " · no list yet";
    find("status").textContent = net + sent + list + off(skewMs);
    document.body.dataset.online = online ? "yes" : "no";
    document.body.dataset.waiting = String(open);
    document.body.dataset.list = listMs ? String(known) : "none";
  }

  /** The whole screen, a sound and a shake. */
  result({ state, number, first, at, offline, opens }) {
    const [colour, word] = WORDS[state] ?? ["red", state];
    const place = first?.gate ? `, ${first.gate}` : "";
    let more = "";
    if (first && state !== "accepted") more = `First entry ${sameDay(first.at, at) ? clock(first.at) : moment(first.at)}${place}`;
    else if (state === "not_yet" && opens) more = `They open ${sameDay(opens, at) ? clock(opens) : moment(opens)}`;
    const box = find("result");
    box.dataset.colour = colour;
    box.dataset.state = state;
    find("result-mark").textContent = MARKS[colour];
    find("result-word").textContent = word;
    find("result-number").textContent = number ? `Ticket ${number}` : "";
    find("result-more").textContent = more;
    find("result-offline").textContent = offline ? "Decided without the network" : "";
    if (box.hidden) this.#before = document.activeElement;
    box.hidden = false;
    box.focus({ preventScroll: true });
    this.#tell(colour);
    this.#note(`${clock(at)} ${MARKS[colour]} ${word}${number ? `, ticket ${number}` : ""}${offline ? " (offline)" : ""}`);
    clearTimeout(this.#timer);
    if (colour === "green") this.#timer = setTimeout(() => this.#dismiss(this.dismissed), GREEN_MS);
  }

  /** A conflict came in: felt, and listed. */
  warn() {
    navigator.vibrate?.(SHAKES.amber);
  }

  conflicts(list) {
    find("conflicts").hidden = list.length === 0;
    find("conflict-list").replaceChildren(
      ...list.map((c) => {
        const item = document.createElement("li");
        const went = c.passages.map((p) => `${clock(Date.parse(p.at))} at ${p.gate || p.device}`).join(" · ");
        const why = c.state === "conflict" ? "went in more than once" : (WORDS[c.state]?.[1] ?? c.state).toLowerCase();
        item.textContent = `${c.number ? `Ticket ${c.number}` : "A code without a ticket"}: ${why}: ${went}`;
        return item;
      }),
    );
  }

  #dismiss(then) {
    clearTimeout(this.#timer);
    find("result").hidden = true;
    this.#before?.focus({ preventScroll: true });
    then();
  }

  #note(text) {
    const item = document.createElement("li");
    item.textContent = text;
    find("latest").prepend(item);
    while (find("latest").children.length > LATEST) find("latest").lastChild.remove();
  }

  #tell(colour) {
    navigator.vibrate?.(SHAKES[colour]);
    const sound = this.#sound;
    if (!sound) return;
    for (const [frequency, after] of TONES[colour]) {
      const tone = new OscillatorNode(sound, { frequency, type: colour === "green" ? "sine" : "square" });
      const volume = new GainNode(sound, { gain: 0.25 });
      tone.connect(volume).connect(sound.destination);
      tone.start(sound.currentTime + after);
      tone.stop(sound.currentTime + after + 0.14);
    }
  }
}
