// One timer for all live panels: wake each when it is due, while someone looks, and say so when one falls behind.
(() => {
  const asked = new Map(); // panel id -> when it was last asked; not kept on the element, which is replaced
  const answered = new Map();

  const clock = (moment) => new Date(moment).toLocaleTimeString("en-GB");

  function say(panel, text) {
    let note = panel.querySelector(":scope > footer [data-live-note]");
    if (!note) {
      const footer = panel.querySelector(":scope > footer") || panel.appendChild(document.createElement("footer"));
      note = footer.appendChild(document.createElement("span"));
      note.dataset.liveNote = "";
      note.setAttribute("role", "status");
      note.className = "stale";
    }
    if (note.textContent !== text) note.textContent = text;
    panel.classList.add("is-stale");
  }

  function refresh(panel) {
    asked.set(panel.id, Date.now());
    htmx.trigger(panel, "live");
  }

  function tick() {
    if (document.hidden) return;
    for (const panel of document.querySelectorAll("[data-live][id]")) {
      if (!asked.has(panel.id)) { asked.set(panel.id, Date.now()); answered.set(panel.id, Date.now()); continue; }
      const busy = panel.contains(document.activeElement) && panel.querySelector(":popover-open, details[open] form");
      if (busy || Date.now() - asked.get(panel.id) < panel.dataset.live * 1000) continue;
      refresh(panel);
    }
  }

  const panelOf = (event) => event.target.closest?.("[data-live][id]");

  function failed(event) {
    const panel = panelOf(event);
    if (panel) say(panel, `Not refreshed since ${clock(answered.get(panel.id))}; it is tried again by itself.`);
  }

  // An error page must not replace the last good rows: they stay, and the panel says since when.
  document.addEventListener("htmx:before:response", (event) => {
    const panel = panelOf(event);
    const response = event.detail.ctx?.response;
    if (!panel || !response) return;
    if (response.status < 400 && !response.raw?.redirected) { answered.set(panel.id, Date.now()); return; }
    event.preventDefault();
    failed(event);
  });
  document.addEventListener("htmx:error", failed);
  document.addEventListener("visibilitychange", tick);
  document.addEventListener("refresh", () => {
    const panels = document.querySelectorAll("[data-live][id]");
    if (panels.length) panels.forEach(refresh);
    else location.reload();
  });
  setInterval(tick, 1000);
})();
