// Lines from the JSON beside each canvas: gaps stay gaps, limits are dashed, events upright, dragging makes an address.
(() => {
  const libraries = document.currentScript.dataset.libraries.split(" ").filter(Boolean);
  const drawn = new Map(); // canvas -> {chart, text}
  let loaded = null;

  const unitOf = window.dbadminUnits;

  // A canvas understands no light-dark(): each colour is read from an element that wears it.
  function colour(panel, css) {
    const probe = panel.appendChild(document.createElement("i"));
    probe.className = css;
    const found = getComputedStyle(probe).color;
    probe.remove();
    return found;
  }

  const load = () => (loaded ||= libraries.reduce((before, src) => before.then(() => new Promise((done, failed) => {
    document.head.append(Object.assign(document.createElement("script"), { src, onload: done, onerror: failed }));
  })), Promise.resolve()));

  function address(panel, from, to, shift) {
    const url = new URL(location.href);
    ["range", "page"].forEach((name) => url.searchParams.delete(name));
    url.searchParams.set("from", `${new Date(from - shift).toISOString().slice(0, 19)}Z`);
    url.searchParams.set("to", `${new Date(to - shift).toISOString().slice(0, 19)}Z`);
    location.assign(url);
  }

  function draw(box) {
    const canvas = box.querySelector("canvas");
    const text = document.getElementById(box.dataset.chart).textContent;
    if (drawn.get(canvas)?.text === text) return;
    drawn.get(canvas)?.chart.destroy();
    const data = window.dbadminChart(text);
    const shift = (data.offset + new Date(data.to).getTimezoneOffset()) * 60000; // to the page's zone
    const [ink, hair, line] = ["muted", "hair", "surface"].map((css) => colour(box, `c-${css}`));
    const show = unitOf(data.unit);
    const annotations = {};
    data.limits.forEach((limit, n) => {
      const paint = colour(box, `c-${limit.state}`);
      annotations[`limit${n}`] = { type: "line", yMin: limit.value, yMax: limit.value, borderColor: paint, borderWidth: 1, borderDash: [4, 3],
        label: { display: true, content: limit.word, position: "end", yAdjust: -8, color: paint, backgroundColor: "transparent", font: { size: 11, weight: "normal" }, padding: 2 } };
    });
    data.marks.forEach((mark, n) => {
      annotations[`mark${n}`] = { type: "line", xMin: mark.at + shift, xMax: mark.at + shift, borderColor: colour(box, "c-control"), borderWidth: 1, borderDash: [2, 3] };
    });
    const datasets = data.lines.map((one, n) => ({
      label: one.label, data: one.points.map(([x, y]) => ({ x: x + shift, y })), borderColor: colour(box, `s${Math.min(n + 1, 7)}`),
      backgroundColor: "transparent", borderWidth: 1.5, pointRadius: one.points.map(([, y], i) => (y !== null && (one.points[i - 1]?.[1] ?? null) === null && (one.points[i + 1]?.[1] ?? null) === null ? 1.5 : 0)),
      pointHitRadius: 6, tension: 0, spanGaps: false,
    }));
    // Bytes step by powers of two, so that the axis reads 1 GiB, 2 GiB and not 954 MiB, 1.86 GiB.
    const top = Math.max(0, ...data.limits.map((limit) => limit.value), ...data.lines.flatMap((one) => one.points.map(([, y]) => y ?? 0)));
    const stepSize = data.unit.startsWith("bytes") && top > 0 ? 2 ** Math.ceil(Math.log2(top / 5)) : undefined;
    const font = { size: 11, family: getComputedStyle(document.body).fontFamily };
    const ticks = { color: ink, font, maxRotation: 0, autoSkipPadding: 24 };
    const options = {
      animation: false, parsing: false, normalized: true, responsive: true, maintainAspectRatio: false, interaction: { mode: "index", intersect: false },
      scales: {
        x: { type: "time", min: data.from + shift, max: data.to + shift, ticks, grid: { display: false }, border: { color: hair },
          time: { tooltipFormat: "yyyy-MM-dd HH:mm:ss", displayFormats: { second: "HH:mm:ss", minute: "HH:mm", hour: "HH:mm", day: "MMM d", week: "MMM d", month: "MMM yyyy" } } },
        y: { beginAtZero: data.unit !== "ratio", max: data.unit === "ratio" && top > 0.5 && top <= 1 ? 1 : undefined, ticks: { ...ticks, maxTicksLimit: 8, stepSize, callback: show }, grid: { color: hair }, border: { display: false }, grace: "5%" },
      },
      plugins: {
        legend: { display: false }, annotation: { annotations },
        tooltip: { backgroundColor: line, titleColor: ink, bodyColor: colour(box, "c-text"), borderColor: ink, borderWidth: 1, titleFont: font, bodyFont: font, callbacks: { label: (item) => ` ${item.dataset.label}: ${show(item.parsed.y)}` } },
        zoom: { zoom: { mode: "x", drag: { enabled: true, backgroundColor: "rgb(110 150 220 / 0.25)", threshold: 8 }, onZoomComplete: ({ chart }) => address(box, chart.scales.x.min, chart.scales.x.max, shift) } },
      },
    };
    drawn.set(canvas, { text, chart: new Chart(canvas, { type: "line", data: { datasets }, options }) });
  }

  function all() {
    for (const [canvas, { chart }] of drawn) if (!canvas.isConnected) { chart.destroy(); drawn.delete(canvas); }
    const boxes = document.querySelectorAll("[data-chart]");
    if (boxes.length) load().then(() => boxes.forEach((box) => { box.querySelector(".canvas").hidden = false; draw(box); }));
  }

  const again = () => { drawn.forEach((one) => { one.text = ""; }); all(); };
  document.addEventListener("DOMContentLoaded", all);
  document.addEventListener("htmx:after:swap", all);
  document.addEventListener("themechange", again);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
})();
