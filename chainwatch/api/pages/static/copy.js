// Buttons that copy: what they did is said to those who do not see it, too.
"use strict";

for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = false;
  const words = button.innerHTML;
  button.addEventListener("click", async () => {
    const text = document.getElementById(button.dataset.copy);
    let said = "Copied";
    try {
      await navigator.clipboard.writeText(text.textContent.trim());
    } catch {
      getSelection().selectAllChildren(text);
      said = "Marked: copy it";
    }
    button.textContent = said;
    document.getElementById("copied").textContent = said;
    setTimeout(() => {
      button.innerHTML = words;
      document.getElementById("copied").textContent = "";
    }, 2000);
  });
}
