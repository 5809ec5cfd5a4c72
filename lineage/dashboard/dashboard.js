"use strict";
// The page comes with the newest runs; this brings the others, and draws.
(async () => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const byId = (id) => document.getElementById(id);
  const answer = await fetch("/api/overview");
  if (!answer.ok) {
    byId("no-trend").hidden = false;
    byId("no-trend").textContent = await answer.text();
    return;
  }
  const { runs, served, waiting } = await answer.json();

  const number = (value, digits) => (value === null || value === undefined ? "-" : value.toFixed(digits));
  const columns = [...document.querySelectorAll("#table th[data-metric]")].map((th) => th.dataset.metric);
  function row({ line, metrics }) {
    const made = document.createElement("tr");
    const cell = (text, style) => {
      const td = made.insertCell();
      td.textContent = text;
      if (style) td.className = style;
      return td;
    };
    const link = document.createElement("a");
    link.href = "/runs/" + encodeURIComponent(line.run_id);
    link.textContent = line.run_id;
    cell("").append(link);
    cell(line.pipeline);
    cell(new Date(line.started).toLocaleString("sv"));
    cell(line.span ?? "-", "n");
    cell(line.state + (line.failed.length ? ": " + line.failed.join(", ") : ""), line.state);
    cell(number(line.seconds, 1), "n");
    for (const name of columns) cell(number(metrics[name], 4), "n");
    cell(line.pushed_version ?? "-");
    return made;
  }
  const body = byId("table").tBodies[0];
  function show() {
    const wanted = byId("find").value.trim().toLowerCase();
    const rows = runs.map(row).filter((made) => made.textContent.toLowerCase().includes(wanted));
    body.replaceChildren(...rows);
    byId("shown").textContent = `${rows.length.toLocaleString("en")} of ${runs.length.toLocaleString("en")} runs`;
  }
  byId("find").addEventListener("input", show);
  show();

  byId("waits").textContent = waiting.length
    ? waiting.map(({ name, rows, events }) => `${name} (${rows.toLocaleString("en")} ${events})`).join(", ")
    : "none known; name the folder of closed spans with `--streaming FOLDER`";

  const measured = runs.filter(({ line, metrics }) => line.span !== null && Object.keys(metrics).length).reverse();
  const names = [...new Set(measured.flatMap(({ metrics }) => Object.keys(metrics)))];
  byId("metric").append(...names.map((name) => new Option(name.replaceAll("_", " "), name)));
  const first = columns.find((name) => names.includes(name));
  if (first) byId("metric").value = first;
  const layout = () => {
    const axis = { gridcolor: colour("--line"), zerolinecolor: colour("--line"), automargin: true };
    return {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      colorway: dark.matches ? ["#7aa7ff", "#e3a950", "#9aa5b5", "#55c58a"] : ["#1f5fd1", "#c2700b", "#8691a1", "#1a7f4b"],
      font: { color: colour("--ink"), family: "system-ui, sans-serif", size: 12 },
      margin: { l: 12, r: 12, t: 12, b: 40 }, legend: { orientation: "h", y: 1.12 },
      xaxis: { ...axis }, yaxis: { ...axis }, hovermode: "closest",
    };
  };
  const settings = { responsive: true, displaylogo: false, displayModeBar: false };
  const plain = (text) => String(text).replace(/[&<>]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[c]);
  function draw() {
    const name = byId("metric").value;
    const points = measured.filter(({ metrics }) => name in metrics);
    const pipelines = [...new Set(points.map(({ line }) => line.pipeline))];
    Plotly.react("metrics", pipelines.map((pipeline) => {
      // The newest run of each span: `points` has them oldest first.
      const bySpan = new Map(points.filter(({ line }) => line.pipeline === pipeline).map((run) => [run.line.span, run]));
      const own = [...bySpan.values()].sort((a, b) => a.line.span - b.line.span);
      return {
        name: plain(pipeline), mode: "lines+markers", x: own.map(({ line }) => line.span), y: own.map(({ metrics }) => metrics[name]),
        text: own.map(({ line }) => plain(line.run_id)), hovertemplate: "%{text}<br>span %{x}<br>%{y:.4f}<extra></extra>",
      };
    }), { ...layout(), xaxis: { ...layout().xaxis, tickformat: "d" }, showlegend: pipelines.length > 1 }, settings);
    const models = served.filter(({ hours }) => hours.length);
    byId("traffic").closest("figure").hidden = models.length === 0;
    byId("no-traffic").hidden = models.length > 0;
    if (models.length > 0) Plotly.react("traffic", models.map(({ version, hours }) => {
      const sums = new Map();
      for (const { hour, counts } of hours) sums.set(hour, (sums.get(hour) ?? 0) + Math.max(0, ...Object.values(counts)));
      return { type: "bar", name: "version " + plain(version), x: [...sums.keys()], y: [...sums.values()] };
    }), { ...layout(), barmode: "stack", showlegend: models.length > 0 && models.length < 12 }, settings);
    for (const plot of document.querySelectorAll(".plot")) plot.dataset.drawn = "yes";
  }
  byId("metric").addEventListener("change", draw);
  dark.addEventListener("change", draw);
  draw();
})();
