// The numbers below a chart, written when somebody opens them: newest first, at most two hundred moments.
(() => {
  function write(details) {
    const box = details.closest("[data-chart]");
    const data = window.dbadminChart(document.getElementById(box.dataset.chart).textContent);
    const show = window.dbadminUnits(data.unit);
    const moments = [...new Set(data.lines.flatMap((one) => one.points.map(([at]) => at)))].sort((a, b) => b - a);
    const step = Math.max(1, Math.ceil(moments.length / 200));
    const known = data.lines.map((one) => new Map(one.points));
    const rows = moments.filter((_, n) => n % step === 0).map((at) => {
      const row = document.createElement("tr");
      const cell = (css, text) => { const made = row.appendChild(document.createElement("td")); made.className = css; made.textContent = text; };
      cell("when", new Date(at + data.offset * 60000).toISOString().slice(0, 19).replace("T", " "));
      known.forEach((values) => cell("number", (values.get(at) ?? null) === null ? "–" : show(values.get(at))));
      return row;
    });
    details.querySelector("tbody").replaceChildren(...rows);
  }

  document.addEventListener("toggle", (event) => { if (event.target.matches("details[data-numbers][open]")) write(event.target); }, true);

  const all = () => document.querySelectorAll("details[data-numbers][open]").forEach(write);
  document.addEventListener("DOMContentLoaded", all);
  document.addEventListener("htmx:after:swap", all);
})();
