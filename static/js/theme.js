// The theme is put on <html> before the first paint, so that a dark page never flashes white.
(() => {
  const root = document.documentElement;
  const choices = ["system", "light", "dark"];
  const chosen = () => localStorage.getItem("theme") || "system";

  function show(button) {
    const theme = chosen();
    if (theme === "system") root.removeAttribute("data-theme");
    else root.dataset.theme = theme;
    if (!button) return;
    const label = `Theme: ${theme}`;
    button.setAttribute("aria-label", label);
    button.title = label;
    button.dataset.shows = theme;
  }

  show(null);
  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    if (!button) return;
    button.hidden = false;
    show(button);
    button.addEventListener("click", () => {
      const next = choices[(choices.indexOf(chosen()) + 1) % choices.length];
      localStorage.setItem("theme", next);
      show(button);
      document.dispatchEvent(new Event("themechange"));
    });
  });
})();
