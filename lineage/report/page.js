"use strict";
// Draws each figure when it comes near the screen, in the page's own colours, and again when these change.
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const series = () => dark.matches
    ? ["#7aa7ff", "#e3a950", "#9aa5b5", "#55c58a", "#ff7b7b"]
    : ["#1f5fd1", "#c2700b", "#8691a1", "#1a7f4b", "#c22f2f"];
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const states = { complete: "--good", cached: "--cached", failed: "--bad", running: "--warn", canceled: "--soft", unknown: "--soft" };

  function draw(plot) {
    const { data, layout } = structuredClone(figures[plot.dataset.figure]);
    const small = plot.closest(".small") !== null;
    if (layout.height) plot.style.height = `${layout.height}px`;
    for (const trace of data) {
      if (trace.name in states) trace.marker = { ...trace.marker, color: colour(states[trace.name]) };
    }
    const axis = { gridcolor: colour("--line"), zerolinecolor: colour("--line"), automargin: true };
    if (small) Object.assign(axis, { nticks: 4, tickfont: { size: 10 } });
    const style = {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", colorway: series(),
      font: { color: colour("--ink"), family: "system-ui, sans-serif", size: 12 },
      margin: small ? { l: 8, r: 8, t: 6, b: 8 } : { l: 12, r: 12, t: 12, b: 40 },
      showlegend: small ? false : layout.showlegend ?? data.length > 1,
      legend: { orientation: "h", y: 1.12, x: 0 },
      hovermode: "closest", bargap: 0.3,
    };
    const axes = Object.fromEntries(["xaxis", "yaxis"].map((name) => [name, { ...axis, ...layout[name] }]));
    Plotly.react(plot, data, { ...style, ...layout, ...axes }, {
      responsive: true, displaylogo: false, displayModeBar: false, staticPlot: false, scrollZoom: false,
    });
    plot.dataset.drawn = "yes";
  }

  const plots = [...document.querySelectorAll(".plot")];
  const watcher = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (isIntersecting) { watcher.unobserve(target); draw(target); }
    }
  }, { rootMargin: "400px" });
  plots.forEach((plot) => watcher.observe(plot));
  dark.addEventListener("change", () => plots.filter((plot) => plot.dataset.drawn).forEach(draw));
  addEventListener("beforeprint", () => plots.filter((plot) => !plot.dataset.drawn).forEach(draw));
  // Kubeflow shows the page in a frame without an address, where "#x" would be a place in its own page.
  if (location.protocol === "about:") addEventListener("click", (event) => {
    const link = event.target.closest("a[href^='#']");
    if (!link) return;
    event.preventDefault();
    location.hash = link.getAttribute("href");
  });
  addEventListener("hashchange", () => document.querySelector(".panel:target")?.focus());
  addEventListener("keydown", (event) => {
    const open = document.querySelector(".panel:target");
    if (event.key === "Escape" && open) open.querySelector(".close").click();
  });
})();
