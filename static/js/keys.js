// Keys only add: never while typing, never with a modifier, never the only way, and they can be turned off.
(() => {
  const typing = (element) => element.closest("input, select, textarea, [contenteditable]");
  const enabled = () => localStorage.getItem("keys") !== "off";
  const dialog = () => document.getElementById("keys");
  let going = 0; // when g was pressed; a letter within a second follows

  // A room has the key that the page names, else the first letter of its title that is still free.
  const rooms = new Map();
  for (const link of document.querySelectorAll(".rooms a[data-key]")) rooms.set(link.dataset.key, link);
  for (const link of document.querySelectorAll(".rooms a:not([data-key])")) {
    const free = [...link.firstChild.textContent.trim().toLowerCase()].find((letter) => /[a-z]/.test(letter) && !rooms.has(letter));
    if (free) rooms.set(free, link);
  }

  const actions = {
    "/": () => document.querySelector("main input[type=search], .topbar input[type=search]")?.focus(),
    "?": () => dialog()?.showModal(),
    r: () => document.dispatchEvent(new Event("refresh")),
    g: () => { going = Date.now(); },
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (event.key === "Escape" && typing(event.target)) { event.target.blur(); return; }
    if (typing(event.target) || document.querySelector("dialog[open]") || !enabled()) return;
    if (Date.now() - going < 1000 && /^[a-z]$/.test(event.key)) { going = 0; rooms.get(event.key)?.click(); return; }
    if (!Object.hasOwn(actions, event.key)) return;
    event.preventDefault();
    actions[event.key]();
  });

  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-open-keys]")) dialog()?.showModal();
    const copy = event.target.closest("[data-copy]");
    if (!copy) return;
    navigator.clipboard?.writeText(document.getElementById(copy.dataset.copy).textContent.trim()).then(() => {
      copy.textContent = "Copied";
    });
  });

  document.addEventListener("change", (event) => {
    if (event.target.id === "keys-on") localStorage.setItem("keys", event.target.checked ? "on" : "off");
    if (event.target.closest("form[data-submit-on-change]")) event.target.form.requestSubmit();
  });

  // A form is sent once: a second click while it is on its way does nothing.
  const sent = new Set();
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.method !== "post" || event.defaultPrevented) return;
    if (sent.has(form)) event.preventDefault();
    sent.add(form);
    setTimeout(() => sent.delete(form), 10000); // what is downloaded may be asked for again
  });
  addEventListener("pageshow", () => sent.clear());

  // Paper shows statements in full.
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll(".opens details:not([open])")];
    opened.forEach((details) => { details.open = true; });
  });
  addEventListener("afterprint", () => opened.forEach((details) => { details.open = false; }));

  document.addEventListener("DOMContentLoaded", () => {
    // Not by scrollIntoView: Tab would begin behind it, and never reach the link that skips the navigation.
    const here = document.querySelector(".rooms [aria-current]");
    const frame = here?.closest(".rooms");
    if (here) frame.scrollTop += Math.max(0, here.getBoundingClientRect().bottom - frame.getBoundingClientRect().bottom);
    const box = document.getElementById("keys-on");
    if (box) box.checked = enabled();
    document.querySelectorAll("[data-needs-script]").forEach((element) => { element.hidden = false; });
    const list = document.getElementById("keys-rooms");
    for (const [letter, link] of list ? rooms : []) {
      const term = document.createElement("dt");
      const word = document.createElement("dd");
      term.innerHTML = "<kbd>g</kbd> <kbd></kbd>";
      term.lastElementChild.textContent = letter;
      word.textContent = link.firstChild.textContent.trim();
      list.append(term, word);
    }
  });
})();
