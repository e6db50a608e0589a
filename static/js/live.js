// One timer for all live panels: wake those that are due, while someone looks, and say so when one falls behind.
// Panels of one address are asked for together: a page that people watch costs one request, not one for each panel.
(() => {
  const asked = new Map(); // panel id -> when it was last asked; not kept on the element, which is replaced
  const answered = new Map();
  const together = new Map(); // the panel that asks -> those that it asks for, itself the first

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

  // An address names its panel in ?panel=; what it says besides must be the same for all that are asked for together.
  function besides(panel) {
    const address = new URL(panel.getAttribute("hx-get"), location.href);
    if (!address.searchParams.has("panel") || panel.hasAttribute("hx-select")) return panel.id;
    address.searchParams.delete("panel");
    return address.href;
  }

  function refresh(panels) {
    const groups = new Map();
    for (const panel of panels) {
      asked.set(panel.id, Date.now());
      groups.set(besides(panel), [...(groups.get(besides(panel)) || []), panel.id]);
    }
    for (const ids of groups.values()) {
      together.set(ids[0], ids);
      htmx.trigger(document.getElementById(ids[0]), "live");
    }
  }

  function tick() {
    if (document.hidden) return;
    const due = [];
    for (const panel of document.querySelectorAll("[data-live][id]")) {
      if (!asked.has(panel.id)) { asked.set(panel.id, Date.now()); answered.set(panel.id, Date.now()); continue; }
      const busy = panel.contains(document.activeElement) && panel.querySelector(":popover-open, details[open] form");
      if (!busy && Date.now() - asked.get(panel.id) >= panel.dataset.live * 1000) due.push(panel);
    }
    refresh(due);
  }

  const isPanel = (event) => event.target.matches?.("[data-live][id]");
  const fellBehind = (ids) => ids.map((id) => document.getElementById(id)).filter(Boolean).forEach((panel) =>
    say(panel, `Not refreshed since ${clock(answered.get(panel.id))}; it is tried again by itself.`));

  document.addEventListener("htmx:config:request", (event) => {
    const { ctx } = event.detail;
    ctx.panels = isPanel(event) && together.get(event.target.id);
    if (!ctx.panels || ctx.panels.length < 2) return;
    const [first, ...others] = ctx.panels;
    ctx.request.action += others.map((id) => `&panel=${id}`).join("");
    ctx.select = `#${first}`;
    ctx.selectOOB = others.map((id) => `#${id}:outerMorph`).join();
  });
  // An error page must not replace the last good rows: they stay, and the panel says since when.
  document.addEventListener("htmx:before:response", (event) => {
    const { panels, response } = event.detail.ctx;
    if (!panels || (response.status < 400 && !response.raw?.redirected)) return;
    event.preventDefault();
    fellBehind(panels);
  });
  document.addEventListener("htmx:before:swap", (event) => {
    const { ctx, tasks } = event.detail;
    if (!ctx.panels) return;
    const come = tasks.map((task) => task.target?.id);
    come.forEach((id) => answered.set(id, Date.now()));
    fellBehind(ctx.panels.filter((id) => !come.includes(id)));
  });
  document.addEventListener("htmx:error", (event) => fellBehind(event.detail.ctx?.panels || []));
  document.addEventListener("visibilitychange", tick);
  document.addEventListener("refresh", () => {
    const panels = document.querySelectorAll("[data-live][id]");
    if (panels.length) refresh(panels);
    else location.reload();
  });
  setInterval(tick, 1000);
})();
