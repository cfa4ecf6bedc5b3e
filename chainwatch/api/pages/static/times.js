// Times are written in UTC; whoever is elsewhere reads their own beside it.
"use strict";

const SHORT = { weekday: "short", hour: "2-digit", minute: "2-digit" };
for (const time of document.querySelectorAll("time[datetime]:not(#expires)")) {
  const when = new Date(time.dateTime);
  if (!when.getTimezoneOffset()) continue;
  time.append(` (${when.toLocaleString("en-GB", SHORT)} here)`);
}
