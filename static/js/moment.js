// A slider that writes its moment into a field: data-moment is the field's id, data-offset the page's zone in minutes.
(() => {
  const slider = document.querySelector("input[type=range][data-moment]");
  if (!slider) return;
  const field = document.getElementById(slider.dataset.moment);
  const offset = Number(slider.dataset.offset) * 60;
  const pad = (number) => String(Math.floor(number)).padStart(2, "0");
  const size = Math.abs(offset);
  // Said with it: clocks may have changed since the slider's first moment.
  const zone = `${offset < 0 ? "-" : "+"}${pad(size / 3600)}:${pad((size % 3600) / 60)}`;
  const written = (seconds) =>
    new Date((seconds + offset) * 1000).toISOString().slice(0, 19).replace("T", " ") + zone;
  const read = (text) => Date.parse(text.trim().replace(" ", "T") + (/[+-]\d\d:\d\d$/.test(text.trim()) ? "" : zone)) / 1000;

  slider.addEventListener("input", () => {
    field.value = written(Number(slider.value));
    slider.setAttribute("aria-valuetext", field.value);
  });
  field.addEventListener("change", () => {
    const seconds = read(field.value);
    if (!Number.isNaN(seconds)) slider.value = String(seconds);
  });
  slider.setAttribute("aria-valuetext", field.value);
  slider.closest("[hidden]")?.removeAttribute("hidden");
})();
