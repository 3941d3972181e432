"use strict";
// The page of a run. All text is set as text, never as markup; the data are computed in Python and only drawn here.
(() => {
  let data = JSON.parse(document.getElementById("data").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const ALL = "\u0000all";
  const ROWS = 100; // of the table, until more are asked for
  const STEPS = 200; // of a slider
  const state = { device: null, scale: null, limits: {}, open: [], opener: null, rows: ROWS, time: "evaluations" };

  // ---- small tools ---------------------------------------------------------------------------------------------
  const $ = (id) => document.getElementById(id);
  function h(tag, attrs, ...children) {
    const node = document.createElement(tag);
    for (const [key, value] of Object.entries(attrs || {})) {
      if (key === "on") for (const [name, f] of Object.entries(value)) node.addEventListener(name, f);
      else if (key === "class") node.className = value;
      else if (value === true) node.setAttribute(key, "");
      else if (value !== false && value !== null && value !== undefined) node.setAttribute(key, value);
    }
    node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
    return node;
  }
  function svg(tag, attrs, ...children) {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [key, value] of Object.entries(attrs)) node.setAttribute(key, value);
    node.append(...children);
    return node;
  }
  const esc = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;"); // plotly reads tags
  const short = (text, n = 40) => ([...String(text)].length > n ? [...String(text)].slice(0, n - 1).join("") + "\u2026" : String(text));
  const say = (text) => { $("status").textContent = text; };

  // ---- numbers, written as in the terminal ---------------------------------------------------------------------
  function ms(value) {
    if (value >= 999.5) return value.toFixed(0);
    if (value === 0) return "0";
    const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(Number(value.toPrecision(3))))));
    return value.toFixed(digits);
  }
  const percent = (value, digits = 2) => `${(value * 100).toFixed(digits)} %`;
  function count(value) {
    for (const [step, unit] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
      if (value >= step) return `${value / step < 999.5 ? Number((value / step).toPrecision(3)) : (value / step).toFixed(0)} ${unit}`;
    }
    return String(value);
  }
  const size = (bytes) => (bytes === null || bytes === undefined ? "not known" : bytes >= 1000 ? `${count(bytes)}B` : `${bytes} B`);
  const energy = (value) => (value === null || value === undefined ? "not known" : `${ms(value)} mJ`);
  const plural = (n, word) => `${n.toLocaleString("en")} ${word}${n === 1 ? "" : "s"}`;

  // ---- what is looked at ---------------------------------------------------------------------------------------
  let byId = new Map();
  const devices = () => (state.device === ALL ? data.devices : data.devices.filter((d) => d.name === state.device));
  const device = () => devices()[0];
  const latencyOf = (model, name) => model.latency[name || device().name];
  const remarksOf = (id, d) => (d || device()).remarks[id] || [];
  const isDominated = (id, d) => (d || device()).dominated.includes(id);

  const LIMITS = [
    { key: "latency", label: "latency", unit: " ms", most: true, log: true, of: (m) => latencyOf(m).best, show: (v) => `\u2264 ${ms(v)} ms` },
    { key: "size", label: "size", most: true, log: true, of: (m) => m.size_bytes, show: (v) => `\u2264 ${size(Math.round(v))}` },
    { key: "energy", label: "energy", most: true, log: true, of: (m) => m.energy_mj[device().name], show: (v) => `\u2264 ${energy(v)}` },
    { key: "accuracy", label: "accuracy", most: false, log: false, of: (m) => m.accuracy.value, show: (v) => `\u2265 ${percent(v, 1)}` },
  ];
  function rangeOf(limit) {
    let values = data.models.map(limit.of);
    if (limit.key === "latency" && !data.models.length) values = device().searched.latency_ms;
    if (limit.key === "accuracy" && !data.models.length) values = device().searched.accuracy;
    values = values.filter((v) => typeof v === "number" && Number.isFinite(v));
    if (!values.length) return null;
    let low = Infinity, high = -Infinity;
    for (const v of values) { low = Math.min(low, v); high = Math.max(high, v); }
    return limit.log ? [low * 0.98, high * 1.02] : [Math.max(0, low - 0.002), Math.min(1, high + 0.002)];
  }
  function atStep(limit, step) {
    const [low, high] = rangeOf(limit);
    const share = step / STEPS;
    return limit.log ? low * (high / low) ** share : low + (high - low) * share;
  }
  function limitOf(limit) { // the value that is asked for; null: none
    const step = state.limits[limit.key];
    if (step === undefined || !rangeOf(limit)) return null;
    return limit.most ? (step >= STEPS ? null : atStep(limit, step)) : step <= 0 ? null : atStep(limit, step);
  }
  function isOutside(model) {
    return LIMITS.some((limit) => {
      const wanted = limitOf(limit), value = limit.of(model);
      if (wanted === null) return false;
      if (typeof value !== "number") return true; // not known: not promised
      return limit.most ? value > wanted : value < wanted;
    });
  }

  // ---- header --------------------------------------------------------------------------------------------------
  function header() {
    const names = data.devices.map((d) => d.name).join(", ");
    $("title").textContent = `${data.task} on ${names}`;
    const searched = data.devices[0].searched.id.length;
    $("summary").textContent = [
      plural(data.models.length + data.left_out, "model"), searched ? `${plural(searched, "candidate")} searched` : null,
      `space ${data.space}`, `seed ${data.seed}`, data.run,
    ].filter(Boolean).join(" \u00b7 ");
    const box = $("suggestion"), chosen = device().pick;
    box.hidden = !chosen;
    if (!chosen) return;
    const model = byId.get(chosen.id), seen = latencyOf(model);
    box.replaceChildren(
      h("div", { class: "facts" }, h("span", {}, "Take ", h("code", {}, short(model.id))),
        h("span", {}, `${ms(seen.best)} ms ${seen.measured ? "measured" : "predicted"}`), h("span", {}, percent(model.accuracy.value)),
        h("span", {}, size(model.size_bytes))),
      h("p", { class: "why" }, `${chosen.why[0].toUpperCase()}${chosen.why.slice(1)}.`),
      h("button", { type: "button", class: "main", id: "take", on: { click: (e) => open(chosen.id, e.currentTarget) } }, "Look at it"),
    );
  }
  function notices() {
    const list = [];
    const add = (strong, text) => list.push(h("p", {}, h("strong", {}, strong), " ", text));
    for (const d of devices()) {
      const out = data.models.filter((m) => !m.latency[d.name].in_domain).length;
      if (out) add(`${out} of ${data.models.length} predictions on ${short(d.name, 60)} are out of domain.`,
        "The predictor was not fitted on such networks: the true latency may lie outside the interval.");
    }
    const ignoring = data.models.filter((m) => m.graphs.some((g) => g.ignored && devices().some((d) => d.runtime_here === g.runtime)));
    if (ignoring.length) add(`${ignoring.length} of ${data.models.length} models compute in fp32 where their files are smaller, on the machine that exported them.`,
      `The runtime there stores a precision that it does not compute in, for some layers or for all; another device may. `
        + `${ignoring.slice(0, 3).map((m) => short(m.id)).join(", ")}${ignoring.length > 3 ? " and others" : ""} say how many under "In the runtime".`);
    if (data.left_out) add(`${plural(data.left_out, "model")} are not shown.`, `A page holds ${data.models.length}; \`hwnas front\` lists all of them.`);
    if (!data.models.length) add("No model is finished yet.", data.devices[0].searched.id.length
      ? "Dots are searched candidates: their accuracy is the supernet's, their latency is predicted."
      : "Nothing was evaluated so far.");
    $("notices").replaceChildren(...list);
  }

  // ---- controls ------------------------------------------------------------------------------------------------
  function choice(legend, name, options, value, change) {
    return h("fieldset", {}, h("legend", {}, legend), h("div", { class: "switch" }, options.map(([key, label], i) => h("label", {},
      h("input", { type: "radio", name, value: i, checked: key === value, on: { change: () => change(key) } }),
      h("span", { title: [...label].length > 40 ? label : null }, short(label))))));
  }
  function controls() {
    const several = data.devices.length > 1;
    const list = [];
    if (several) list.push(choice("device", "device", [...data.devices.map((d) => [d.name, d.name]), [ALL, "all, overlaid"]], state.device, (key) => {
      state.device = key; state.scale = isLog() ? "log" : "linear"; state.limits = {}; refresh();
    }));
    list.push(choice("latency axis", "scale", [["linear", "linear"], ["log", "log"]], state.scale, (key) => { state.scale = key; chart(); }));
    list.push(h("div", { class: "sliders", role: "group", "aria-label": "Limits; what is outside is greyed out" }, LIMITS.map(slider),
      h("button", { type: "button", id: "reset", on: { click: () => { state.limits = {}; controls(); limited(); say("no limits"); $("reset").focus(); } } }, "Reset")));
    $("controls").replaceChildren(...list);
  }
  function slider(limit) {
    const range = rangeOf(limit), id = `limit-${limit.key}`, whole = limit.most ? STEPS : 0;
    const words = () => { const v = limitOf(limit); return !range ? "not known" : v === null ? "any" : limit.show(v); };
    const output = h("output", { for: id }, words());
    const input = h("input", { type: "range", id, min: 0, max: STEPS, step: 1, value: state.limits[limit.key] ?? whole, disabled: !range, "aria-valuetext": words() });
    input.addEventListener("input", () => {
      state.limits[limit.key] = Number(input.value);
      output.textContent = words(); input.setAttribute("aria-valuetext", words());
      input.parentElement.classList.toggle("off", limitOf(limit) === null);
      limited();
    });
    return h("div", { class: limitOf(limit) === null ? "slider off" : "slider" }, h("label", { for: id }, `${limit.most ? "most" : "least"} ${limit.label}`, output), input);
  }
  let waiting = false, dimmed = false;
  function limited() { // the limits moved: at most once a frame
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; greyOut(); });
  }
  function greyOut() {
    const outside = new Set(data.models.filter(isOutside).map((m) => m.id));
    for (const row of document.querySelectorAll("#models tr[data-id]")) {
      const is = outside.has(row.dataset.id);
      row.classList.toggle("outside", is);
      row.querySelector(".hidden").textContent = is ? " (outside the limits)" : "";
    }
    const any = LIMITS.some((limit) => limitOf(limit) !== null);
    $("kept").textContent = any ? `${data.models.length - outside.size} of ${data.models.length} within the limits` : "";
    if (any) say($("kept").textContent);
    if (any || dimmed) dim(outside);
    dimmed = any;
  }

  // ---- chart ---------------------------------------------------------------------------------------------------
  // Okabe and Ito's colours, told apart with any kind of colour blindness; symbols say the same again.
  const COLOURS = {
    light: { model: "#0067a8", out: "#c04a00", line: "#00825d", faint: "#7b838d", search: "#5f6770", ink: "#16191d", soft: "#545d68", grid: "#e3e6ea", ground: "#ffffff", veil: "rgba(246,247,249,.78)", a: "#0067a8", b: "#8a4a00" },
    dark: { model: "#6cbcf0", out: "#f5a623", line: "#3fc79a", faint: "#79828d", search: "#a3acb7", ink: "#e8eaed", soft: "#a7b0bb", grid: "#2c323a", ground: "#1a1e24", veil: "rgba(17,20,24,.78)", a: "#6cbcf0", b: "#f5b04d" },
  };
  const OVERLAY = { light: ["#0067a8", "#c04a00", "#00825d", "#a3408a", "#6b5d00", "#16191d"], dark: ["#6cbcf0", "#f5a623", "#3fc79a", "#e08ac4", "#e6d94c", "#e8eaed"] };
  const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "pentagon", "star"];
  const colours = () => COLOURS[dark.matches ? "dark" : "light"];
  const isLog = () => devices().some((d) => d.log) || (state.device === ALL && (() => {
    const each = data.devices.map((d) => data.models.map((m) => m.latency[d.name].best)).flat();
    return each.length > 0 && Math.max(...each) > 10 * Math.min(...each);
  })());

  function hover(model, d) {
    const seen = latencyOf(model, d.name), remarks = remarksOf(model.id, d);
    return [
      `<b>${esc(short(model.id))}</b>${state.device === ALL ? ` on ${esc(short(d.name))}` : ""}${remarks.length ? ` (${esc(remarks.join(", "))})` : ""}`,
      `accuracy ${percent(model.accuracy.value)} (${esc(short(model.accuracy.split, 20))}, n = ${model.accuracy.n})`,
      seen.measured ? `${ms(seen.measured.value)} ms measured` : null,
      `${ms(seen.predicted)} ms predicted, ${ms(seen.low)} to ${ms(seen.high)}${seen.in_domain ? "" : ", out of domain"}`,
      `${esc(model.precision)}, ${count(model.macs)} MACs, ${size(model.size_bytes)}`,
    ].filter(Boolean).join("<br>");
  }
  function searchedTraces(d) {
    const c = colours(), { latency_ms: x, accuracy: y, id, out, front } = d.searched;
    if (!x.length) return [];
    const best = new Set(front), odd = new Set(out);
    const text = (i) => `searched: ${esc(short(id[i]))}<br>accuracy ${percent(y[i])} (before finishing, validation)<br>${ms(x[i])} ms predicted${odd.has(i) ? ", out of domain" : ""}`;
    const part = (name, keep, marker) => {
      const at = x.map((_, i) => i).filter(keep);
      return { type: "scatter", mode: "markers", name, x: at.map((i) => x[i]), y: at.map((i) => y[i]), hovertext: at.map(text), hoverinfo: "text",
        customdata: at.map((i) => ["searched", i]), marker: { line: { width: 0 }, ...marker } };
    };
    return [
      part("searched, dominated", (i) => !best.has(i), { color: c.faint, size: 5, opacity: 0.3 }),
      part("searched, not dominated", (i) => best.has(i), { color: c.search, size: 7, opacity: 0.85, symbol: "diamond" }),
    ];
  }
  const step = (points) => [...points].sort((p, q) => p[0] - q[0]);
  function modelTraces(d, colour, symbol) {
    const c = colours(), list = [], models = data.models;
    const label = state.device === ALL ? `${short(d.name)}: ` : "";
    const front = step(models.filter((m) => !isDominated(m.id, d)).map((m) => [latencyOf(m, d.name).best, m.accuracy.value]));
    const front2 = models.length ? front : step(d.searched.front.map((i) => [d.searched.latency_ms[i], d.searched.accuracy[i]]));
    if (front2.length) list.push({ type: "scatter", mode: "lines", name: `${label}front`, x: front2.map((p) => p[0]), y: front2.map((p) => p[1]),
      line: { color: state.device === ALL ? colour : c.line, width: 1.6, shape: "hv", dash: models.length ? "solid" : "dot" }, hoverinfo: "skip" });
    const part = (name, keep, x, marker) => {
      const kept = models.filter(keep);
      if (!kept.length) return;
      list.push({ type: "scatter", mode: "markers", name: label + name, x: kept.map(x), y: kept.map((m) => m.accuracy.value), hovertext: kept.map((m) => hover(m, d)), hoverinfo: "text",
        customdata: kept.map((m) => ["model", m.id, d.name]), marker: { ...marker, opacity: kept.map((m) => opacityOf(m, d)) } });
    };
    part("predicted", (m) => latencyOf(m, d.name).in_domain, (m) => latencyOf(m, d.name).predicted, { color: c.ground, size: 11, symbol, line: { width: 2, color: colour } });
    part("predicted, out of domain", (m) => !latencyOf(m, d.name).in_domain, (m) => latencyOf(m, d.name).predicted,
      { color: state.device === ALL ? colour : c.out, size: 11, symbol: "x-open", line: { width: 2, color: state.device === ALL ? colour : c.out } });
    part("measured", (m) => latencyOf(m, d.name).measured, (m) => latencyOf(m, d.name).measured.value, { color: colour, size: 10, symbol });
    return list;
  }
  const opacityOf = (m, d) => (isOutside(m) ? 0.2 : isDominated(m.id, d) ? 0.4 : 1);

  function shapes(outside) { // whiskers, and a veil over what the limits exclude
    const c = colours(), list = [];
    devices().forEach((d, i) => {
      const overlaid = state.device === ALL, own = overlaid ? OVERLAY[dark.matches ? "dark" : "light"][i % 6] : null;
      for (const m of data.models) {
        const seen = latencyOf(m, d.name), low = Math.max(seen.low, 1e-9);
        list.push({ type: "path", name: "whisker", layer: "below", path: `M${low},-4V4M${low},0H${seen.high}M${seen.high},-4V4`, ysizemode: "pixel", yanchor: m.accuracy.value,
          opacity: outside.has(m.id) ? 0.08 : isDominated(m.id, d) ? 0.25 : 0.65, line: { color: own || (seen.in_domain ? c.model : c.out), width: 1.8, dash: seen.in_domain ? "solid" : "dot" } });
      }
    });
    if (state.device === ALL) return list;
    const most = limitOf(LIMITS[0]), least = limitOf(LIMITS[3]), line = { color: c.soft, width: 1.5, dash: "dash" };
    if (most !== null) {
      list.push({ type: "rect", name: "veil", layer: "above", x0: most, x1: Math.max(most, view.high) * 1e3, yref: "paper", y0: 0, y1: 1, fillcolor: c.veil, line: { width: 0 } });
      list.push({ type: "line", name: "limit", x0: most, x1: most, yref: "paper", y0: 0, y1: 1, line });
    }
    if (least !== null) {
      list.push({ type: "rect", name: "veil", layer: "above", xref: "paper", x0: 0, x1: 1, y0: -1, y1: least, fillcolor: c.veil, line: { width: 0 } });
      list.push({ type: "line", name: "limit", xref: "paper", x0: 0, x1: 1, y0: least, y1: least, line });
    }
    return list;
  }
  const onAxis = (x) => (state.scale === "log" ? Math.log10(x) : x);
  function annotations() {
    const c = colours(), list = [];
    if (state.device === ALL) return list;
    const d = device();
    const note = (id, text, colour, ax, ay) => {
      const m = byId.get(id);
      list.push({ x: onAxis(latencyOf(m, d.name).best), y: m.accuracy.value, text, showarrow: true, arrowhead: 0, arrowwidth: 1.3, arrowcolor: colour, standoff: 8, ax, ay,
        font: { color: colour, size: 13 }, bgcolor: c.ground, borderpad: 2, captureevents: false });
    };
    if (d.pick) note(d.pick.id, d.pick.knee ? "knee" : "suggested", c.ink, 30, 34);
    state.open.filter((key) => byId.has(key)).forEach((id, i) => note(id, `<b>${"AB"[i]}</b>`, i ? c.b : c.a, -24, -26));
    return list;
  }
  let view = { low: 0, high: 1 };
  function ranges() {
    let low = Infinity, high = -Infinity, floor = Infinity, roof = -Infinity;
    const take = (x, y) => { low = Math.min(low, x); high = Math.max(high, x); floor = Math.min(floor, y); roof = Math.max(roof, y); };
    for (const d of devices()) {
      for (const m of data.models) {
        const seen = latencyOf(m, d.name);
        take(seen.best, m.accuracy.value); take(seen.predicted, m.accuracy.value);
        // Whiskers of a factor of ten would leave no room for the points: they may double the picture, and no more.
        high = Math.max(high, Math.min(seen.high, seen.best * 1.6)); low = Math.min(low, Math.max(seen.low, seen.best / 1.6));
      }
      if (state.device !== ALL || !data.models.length) d.searched.latency_ms.forEach((x, i) => take(x, d.searched.accuracy[i]));
    }
    if (!(low < Infinity)) return { x: null, y: [0, 1] };
    view = { low, high };
    const room = Math.max((roof - floor) * 0.07, 0.004);
    const y = [floor - room, Math.min(roof + room, 1 + room)];
    if (state.scale === "log") return { x: [Math.log10(low) - 0.04, Math.log10(high) + 0.04 + (low === high ? 0.3 : 0)], y };
    const pad = (high - low || high) * 0.04;
    return { x: [Math.max(low - pad, low > pad ? 0 : -pad), high + pad], y };
  }
  function layout(d) {
    const c = colours(), range = ranges(), narrow = innerWidth < 700;
    const axis = { gridcolor: c.grid, linecolor: c.grid, zeroline: false, ticks: "outside", tickcolor: c.grid, automargin: true, fixedrange: matchMedia("(pointer: coarse)").matches };
    return {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: c.ink, family: "system-ui, sans-serif", size: narrow ? 12 : 13 },
      margin: { l: narrow ? 50 : 64, r: 10, t: narrow ? 8 : 32, b: 46 }, showlegend: false, hovermode: "closest", dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
      hoverlabel: { bgcolor: c.ground, bordercolor: c.soft, font: { color: c.ink, size: 13 }, align: "left" },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: c.soft, activecolor: c.ink },
      xaxis: { ...axis, title: { text: esc(state.device === ALL ? "latency in ms" : short(d.measure, 60)), standoff: 6 }, type: state.scale, range: range.x || undefined, ...(state.scale === "log" ? { dtick: narrow || range.x && range.x[1] - range.x[0] > 1.5 ? "D2" : "D1", ticklabeloverflow: "hide past domain" } : {}) },
      yaxis: { ...axis, title: { text: "accuracy", standoff: 8 }, tickformat: ".1~%", range: range.y },
      shapes: shapes(new Set(data.models.filter(isOutside).map((m) => m.id))), annotations: annotations(), uirevision: `${state.device} ${state.scale}`,
    };
  }
  // The buttons stand above the picture, never over a point; a narrow screen has no room for them.
  const config = { displayModeBar: innerWidth < 700 ? false : "hover", responsive: true, displaylogo: false, modeBarButtons: [["zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d", "toImage"]] };
  function chart(withSearched = true) {
    const list = devices(), theme = dark.matches ? "dark" : "light", overlaid = state.device === ALL;
    const made = layout(list[0]); // it also finds out what the picture holds
    const traces = list.flatMap((d, i) => [...(!withSearched || (overlaid && data.models.length) ? [] : searchedTraces(d)),
      ...modelTraces(d, overlaid ? OVERLAY[theme][i % 6] : colours().model, overlaid ? SYMBOLS[i % 6] : "circle")]);
    $("chart-title").textContent = overlaid ? "Latency against accuracy, all devices" : `Latency against accuracy on ${device().name}`;
    const chosen = device().pick;
    $("chart").setAttribute("aria-label", `Latency against accuracy${overlaid ? "" : ` on ${device().name}`}: ${plural(data.models.length, "model")}, ` +
      `${plural(device().searched.id.length, "searched candidate")}${chosen ? `; suggested: ${chosen.id}` : ""}. The table below holds the same numbers, and opens each model.`);
    legend(list);
    const gd = $("chart");
    Plotly.react(gd, traces, made, config);
    if (!gd.dataset.ready) {
      gd.dataset.ready = "yes";
      gd.on("plotly_click", (event) => {
        const [kind, key] = event.points[0].customdata || [];
        if (kind === "model") open(key, null, event.event && event.event.shiftKey);
        if (kind === "searched") openSearched(key);
      });
    }
  }
  function dim(outside) {
    // Set where plotly keeps it, and on the points themselves: its own restyle would lay thousands of points out anew.
    const gd = $("chart");
    gd.data.forEach((trace, i) => {
      if (!trace.customdata || !trace.customdata.length || trace.customdata[0][0] !== "model") return;
      trace.marker.opacity = trace.customdata.map(([, id, name]) => (outside.has(id) ? 0.2 : isDominated(id, data.devices.find((d) => d.name === name)) ? 0.4 : 1));
      (gd.calcdata[i] || []).forEach((point) => { if (point.i in trace.marker.opacity) point.mo = trace.marker.opacity[point.i]; });
      const full = gd._fullData[i];
      for (const path of gd.querySelectorAll(`.scatterlayer .trace${full.uid} .points path`)) path.style.opacity = trace.marker.opacity[path.__data__.i];
    });
    if (gd.data.length) Plotly.relayout(gd, { shapes: shapes(outside) });
  }
  function mark(kind, colour) {
    const at = { fill: "none", stroke: colour, "stroke-width": 2 };
    const box = (...children) => svg("svg", { width: 22, height: 14, viewBox: "0 0 22 14", "aria-hidden": "true" }, ...children);
    if (kind === "measured") return box(svg("circle", { cx: 11, cy: 7, r: 5, fill: colour }));
    if (kind === "predicted") return box(svg("path", { d: "M0 7H22", ...at, "stroke-width": 1.6, opacity: 0.7 }), svg("circle", { cx: 11, cy: 7, r: 4.5, ...at, fill: colours().ground }));
    if (kind === "out") return box(svg("path", { d: "M0 7H22", ...at, "stroke-width": 1.6, "stroke-dasharray": "2 2" }), svg("path", { d: "M7 3l8 8M15 3l-8 8", ...at, "stroke-width": 2.4 }));
    if (kind === "front") return box(svg("path", { d: "M1 12H11V3H21", ...at }));
    if (kind === "open") return box(svg("path", { d: "M1 12H11V3H21", ...at, "stroke-dasharray": "2 2" }));
    if (kind === "diamond") return box(svg("path", { d: "M11 3l4 4-4 4-4-4z", fill: colour }));
    if (kind === "square") return box(svg("rect", { x: 6.5, y: 2.5, width: 9, height: 9, fill: colour }));
    return box(svg("circle", { cx: 11, cy: 7, r: 2.6, fill: colour, opacity: 0.6 }));
  }
  function legend(list) {
    const c = colours(), items = [], add = (kind, colour, text) => items.push(h("li", {}, mark(kind, colour), h("span", {}, text)));
    if (state.device === ALL) {
      const theme = dark.matches ? "dark" : "light";
      list.forEach((d, i) => add(["measured", "square", "diamond"][i] || "measured", OVERLAY[theme][i % 6], short(d.name, 60)));
      items.push(h("li", { class: "soft" }, "solid: measured \u00b7 hollow: predicted \u00b7 cross: out of domain"));
    } else {
      const d = device(), seen = data.models.map((m) => latencyOf(m));
      if (seen.some((s) => s.measured)) add("measured", c.model, "measured on the device");
      if (seen.some((s) => s.in_domain)) add("predicted", c.model, "predicted, 90 % interval");
      if (seen.some((s) => !s.in_domain)) add("out", c.out, "predicted, out of domain");
      if (data.models.length) add("front", c.line, "front");
      else if (d.searched.id.length) add("open", c.line, "front so far");
      if (d.searched.id.length) { add("diamond", c.search, "searched, not dominated"); add("dot", c.faint, "searched, dominated"); }
    }
    $("legend").replaceChildren(...items);
    const cut = state.device !== ALL && data.models.some((m) => latencyOf(m).high > view.high * 1.05);
    $("reading").textContent = data.models.length
      ? `Choose a point to see the model${data.models.length > 1 ? "; with Shift, to compare it with the open one" : ""}.${cut ? " Whiskers that leave the picture go on to the end of their interval." : ""}`
      : "";
  }

  // ---- table ---------------------------------------------------------------------------------------------------
  function table() {
    const d = device(), home = $("models");
    const rows = d.order.map((id) => byId.get(id));
    const withEnergy = rows.some((m) => m.energy_mj[d.name] !== null);
    const columns = ["model", "accuracy", "predicted ms", "measured ms", ...(withEnergy ? ["energy mJ"] : []), "size", "MACs", "parameters"];
    const body = rows.slice(0, state.rows).map((m) => row(m, d, withEnergy));
    home.replaceChildren(
      h("h2", { id: "models-title" }, `Models on ${d.name}`), h("p", { id: "kept", class: "soft" }, ""),
      rows.length ? h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Table of models" },
        h("table", {}, h("caption", {}, `Fastest first; ${d.measure}.`),
          h("thead", {}, h("tr", {}, columns.map((name) => h("th", { scope: "col" }, name)))), h("tbody", {}, body))) : h("p", { class: "soft" }, "None is finished yet."),
      rows.length > state.rows ? h("button", { type: "button", id: "more", on: { click: () => { state.rows += 5 * ROWS; table(); greyOut(); } } }, `Show ${Math.min(rows.length - state.rows, 5 * ROWS)} more of ${rows.length}`) : "",
    );
  }
  function row(m, d, withEnergy) {
    const seen = latencyOf(m, d.name), at = state.open.indexOf(m.id);
    const remarks = remarksOf(m.id, d).map((word) => h("small", { class: ["out of domain", "unstable"].includes(word) ? "warn" : "" }, word));
    return h("tr", { "data-id": m.id, class: at < 0 ? "" : at ? "chosen b" : "chosen" },
      h("th", { scope: "row" }, h("button", { type: "button", class: "plain mono", on: { click: (e) => open(m.id, e.currentTarget, e.shiftKey) } }, short(m.id, 60)), h("span", { class: "hidden" }, ""),
        h("small", {}, [m.precision, ...remarksOf(m.id, d).filter((w) => w !== "out of domain" && w !== "unstable")].join(" \u00b7 "))),
      h("td", {}, percent(m.accuracy.value), h("small", {}, `${short(m.accuracy.split, 20)}, n = ${m.accuracy.n}`)),
      h("td", {}, ms(seen.predicted), h("small", {}, `${ms(seen.low)} to ${ms(seen.high)}`), remarks.filter((node) => node.textContent === "out of domain")),
      h("td", {}, seen.measured ? ms(seen.measured.value) : "not measured", seen.measured ? h("small", {}, `${short(seen.measured.statistic, 24)}; ${signed(seen.measured.gap)}`) : null,
        remarks.filter((node) => node.textContent === "unstable")),
      withEnergy ? h("td", {}, m.energy_mj[d.name] === null ? "not known" : ms(m.energy_mj[d.name])) : null,
      h("td", {}, size(m.size_bytes)), h("td", {}, count(m.macs)), h("td", {}, count(m.params)));
  }
  const signed = (gap) => `${gap >= 0 ? "+" : "\u2212"}${Math.abs(gap * 100).toFixed(1)} % of predicted`;

  // ---- panels --------------------------------------------------------------------------------------------------
  function open(id, opener, beside) {
    if (opener) state.opener = opener.id ? `#${opener.id}` : `tr[data-id="${CSS.escape(id)}"] button`;
    if (state.open.includes(id) && !beside) { /* it is there already */ }
    else if (state.open.length && (beside || state.open.length > 1) && byId.has(state.open[0])) state.open = [state.open[0], id];
    else state.open = [id];
    panels();
    const at = Math.max(0, state.open.indexOf(id));
    const heading = document.querySelectorAll(".panel h2")[at];
    if (heading) { heading.focus({ preventScroll: innerWidth >= 1180 }); if (innerWidth < 1180) heading.scrollIntoView({ block: "start" }); }
    say(`model ${short(id)} is open${state.open.length > 1 ? " beside the other" : ""}`);
  }
  function openSearched(index) {
    state.open = [`searched ${index}`];
    panels();
    const heading = document.querySelector(".panel h2");
    if (heading) heading.focus({ preventScroll: innerWidth >= 1180 });
  }
  function close(at) {
    state.open.splice(at, 1);
    panels();
    const back = state.open.length ? document.querySelector(".panel h2") : state.opener && document.querySelector(state.opener);
    (back || $("models")).focus({ preventScroll: true });
    say("closed");
  }
  let drawn = ""; // the models that the chart marks as open
  function panels() {
    const list = state.open.map((key, i) => (byId.has(key) ? panel(byId.get(key), i) : searchedPanel(Number(key.split(" ")[1]))));
    if (state.open.length > 1) list.unshift(comparison(...state.open.map((id) => byId.get(id))));
    $("panels").replaceChildren(...list);
    $("board").className = ["", "one", "two"][state.open.length];
    for (const tr of document.querySelectorAll("#models tr[data-id]")) {
      const at = state.open.indexOf(tr.dataset.id);
      tr.classList.toggle("chosen", at >= 0); tr.classList.toggle("b", at === 1);
    }
    const key = state.open.join(" ");
    if (key === drawn) return;
    drawn = key;
    requestAnimationFrame(() => setTimeout(() => { // the panel is painted first; then the chart takes what is left
      const gd = $("chart");
      if (!gd.data.length) return; // plotly lays nothing out where there is nothing to draw
      Plotly.relayout(gd, { annotations: annotations() });
      if (Math.abs(gd.clientWidth - gd._fullLayout.width) > 1) Plotly.Plots.resize(gd);
    }));
  }
  const fact = (name, value, ...more) => h("div", {}, h("dt", {}, name), h("dd", {}, value, more.filter(Boolean).map((text) => h("small", {}, text))));
  function searchedPanel(i) {
    const s = device().searched, id = s.id[i];
    return h("section", { class: "panel", "aria-labelledby": "panel-0" }, h("header", {}, h("h2", { id: "panel-0", tabindex: -1 }, "Searched candidate ", h("code", {}, short(id))),
      h("div", { class: "tools" }, h("button", { type: "button", on: { click: () => close(0) } }, "Close"))),
    h("dl", { class: "facts" }, fact("accuracy", percent(s.accuracy[i]), "validation split, before finishing"), fact("latency", `${ms(s.latency_ms[i])} ms`, s.out.includes(i) ? "predicted, out of domain" : "predicted")),
    h("p", { class: "soft" }, s.front.includes(i) ? "No searched candidate is faster and more accurate." : "Another searched candidate is as fast and more accurate.", " It was not finished: there is no file of it."));
  }
  function panel(m, at) {
    const d = device(), seen = latencyOf(m), id = `panel-${at}`;
    const order = d.order, place = order.indexOf(m.id);
    const go = (to) => { state.open[at] = order[to]; panels(); document.querySelectorAll(".panel h2")[at].focus({ preventScroll: true }); };
    const others = order.filter((other) => !state.open.includes(other));
    const against = at === 0 && others.length ? h("label", { class: "against" }, "compare with",
      h("select", { on: { change: (e) => e.target.value && open(order[Number(e.target.value)], null, true) } }, h("option", { value: "" }, "choose a model"),
        others.map((other) => h("option", { value: order.indexOf(other) }, `${short(other, 16)}, ${ms(latencyOf(byId.get(other)).best)} ms, ${percent(byId.get(other).accuracy.value, 1)}`)))) : null;
    const chips = [h("span", { class: "chip" }, m.precision), ...remarksOf(m.id).map((w) => h("span", { class: ["out of domain", "unstable"].includes(w) ? "chip warn" : w === "knee" ? "chip good" : "chip" }, w))];
    return h("section", { class: at ? "panel b" : "panel", "aria-labelledby": id, "data-model": m.id },
      h("header", {}, h("h2", { id, tabindex: -1 }, state.open.length > 1 ? h("span", { class: "slot" }, "AB"[at]) : null, h("code", {}, m.id)),
        h("div", { class: "tools" },
          h("button", { type: "button", disabled: place <= 0, "aria-label": "faster model", title: "faster model", on: { click: () => go(place - 1) } }, "\u2190 faster"),
          h("button", { type: "button", disabled: place >= order.length - 1, "aria-label": "slower model", title: "slower model", on: { click: () => go(place + 1) } }, "slower \u2192"),
          h("button", { type: "button", on: { click: () => close(at) } }, "Close")), against),
      h("div", { class: "chips" }, chips), facts(m, seen, d), why(m, d), architecture(m, d, id), operationTable(m, d), classes(m), compression(m, d), graphs(m), files(m), commands(m, d));
  }
  function facts(m, seen, d) {
    const seenM = seen.measured;
    return h("dl", { class: "facts" },
      fact("accuracy", percent(m.accuracy.value), `${short(m.accuracy.split, 20)}, n = ${m.accuracy.n}`, m.accuracy.source),
      fact("predicted", `${ms(seen.predicted)} ms`, `90 %: ${ms(seen.low)} to ${ms(seen.high)}`, seen.in_domain ? null : "out of domain"),
      seenM ? fact("measured", `${ms(seenM.value)} ms`, `${short(seenM.statistic, 24)}; p50 ${ms(seenM.p50)}, p95 ${ms(seenM.p95)}`, `${signed(seenM.gap)}${seenM.stable === false ? "; unstable" : ""}`) : fact("measured", "not measured"),
      fact("size", size(m.size_bytes)), fact("energy", energy(m.energy_mj[d.name])), fact("work", `${count(m.macs)} MACs`, `${count(m.params)} parameters`));
  }
  function why(m, d) {
    const lines = [];
    if (d.pick && d.pick.id === m.id) lines.push(`Why this one: ${d.pick.why}.`);
    if (isDominated(m.id, d)) lines.push("Another model is as fast and more accurate; accuracies on the test split may differ by chance.");
    if (data.devices.length > 1) lines.push(data.devices.map((o) => { const s = m.latency[o.name]; return `${short(o.name)}: ${ms(s.best)} ms ${s.measured ? "measured" : "predicted"}`; }).join("; "));
    return lines.length ? h("div", { class: "soft" }, lines.map((text) => h("p", {}, text))) : null;
  }
  function share(value, whole) {
    return h("div", { class: "share" }, h("div", { class: "bar" }, barOf(value / whole)), h("span", {}, ms(value)));
  }
  function barOf(part) { const i = h("i"); i.style.width = `${Math.min(100, Math.max(0, part * 100)).toFixed(1)}%`; return i; }
  function architecture(m, d) {
    const net = m.network, times = net.ms && net.ms[d.name];
    const missing = net.missing && (net.missing[""] || null);
    const head = h("h3", {}, "Architecture");
    const choices = h("details", {}, h("summary", {}, `${Object.keys(m.architecture).length} choices`), h("div", { class: "rows" },
      Object.entries(m.architecture).flatMap(([key, value]) => [h("code", {}, key), h("span", {}), h("span", { class: "num" }, String(value))])));
    if (missing || !net.stages || !net.stages.length) return h("div", {}, head, h("p", { class: "soft" }, `Not drawn: ${missing || "its operations are not known"}.`), choices);
    const sum = (ops) => ops.reduce((total, i) => total + times[i], 0);
    const longest = times ? Math.max(...net.stages.flatMap((s) => s.blocks.map((parts) => sum(parts.flatMap((p) => p[2]))))) : 0;
    return h("div", {}, head, net.stages.map((s) => h("div", { class: "stage" },
      h("div", { class: "name" }, s.name, h("small", {}, s.output.join(" \u00d7 ")), s.pruned ? h("small", {}, `${percent(s.pruned, 0)} cut`) : null),
      h("div", {}, s.blocks.map((parts) => h("div", { class: "block" },
        h("ul", { class: "flow" }, parts.map(([text, kind]) => h("li", { class: `part ${kind}` }, text))),
        times ? share(sum(parts.flatMap((p) => p[2])), longest) : h("span", {}))))) ),
    times ? h("p", { class: "soft" }, "Bars: predicted ms of each block.") : h("p", { class: "soft" }, `Milliseconds are not known: ${(net.missing && net.missing[d.name]) || "no predictor"}.`), choices);
  }
  function operationTable(m, d) {
    const net = m.network, times = net.ms && net.ms[d.name];
    const head = h("h3", {}, "Milliseconds per operation");
    if (!times) return h("div", {}, head, h("p", { class: "soft" }, `Not known: ${(net.missing && (net.missing[d.name] || net.missing[""])) || "no predictor"}.`));
    const seen = latencyOf(m), whole = net.network_ms[d.name], total = seen.predicted;
    const ranked = times.map((value, i) => [value, i]).filter(([value]) => value > 0).sort((p, q) => q[0] - p[0]);
    const top = ranked.slice(0, 5), rest = ranked.slice(5).reduce((s, [v]) => s + v, 0);
    const line = (name, value) => [h("span", {}, name), h("div", { class: "bar" }, barOf(value / total)), h("span", { class: "num" }, `${ms(value)} ms \u00b7 ${percent(value / total, 0)}`)];
    return h("div", {}, head,
      h("div", { class: "rows" }, top.flatMap(([value, i]) => line(`${net.operations[i][0]} at ${net.operations[i][1].join("\u00d7")}`, value)),
        rest ? line(`${ranked.length - top.length} others`, rest) : [], line("whole network", whole)),
      h("p", { class: "soft" }, `Predicted; they add up to ${ms(total)} ms. ${seen.measured ? `Measured is the whole: ${ms(seen.measured.value)} ms.` : "The whole was not measured."}`),
      h("details", {}, h("summary", {}, `All ${net.operations.length} operations`), h("div", { class: "scroll tall", tabindex: 0, role: "region", "aria-label": "All operations" },
        h("table", { class: "small" }, h("thead", {}, h("tr", {}, ["operation", "output", "MACs", "parameters", "ms"].map((t) => h("th", { scope: "col" }, t)))),
          h("tbody", {}, net.operations.map(([name, out, macs, params], i) => h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, out.join("\u00d7")), h("td", {}, macs ? count(macs) : ""), h("td", {}, params ? count(params) : ""), h("td", {}, times[i] ? ms(times[i]) : "0"))))))));
  }
  function classes(m) {
    const head = h("h3", {}, "Accuracy by class");
    if (!m.classes) return h("div", {}, head, h("p", { class: "soft" }, "Not known: this run did not count it."));
    const worst = Math.min(...m.classes.map(([, right, n]) => (n ? right / n : 1)));
    const many = m.classes.length > 20, list = many ? [...m.classes].sort((p, q) => p[1] / p[2] - q[1] / q[2]).slice(0, 20) : m.classes;
    return h("div", {}, head, h("div", { class: "rows" }, list.flatMap(([name, right, n]) => [h("span", {}, short(name, 60)),
      h("div", { class: n && right / n === worst ? "bar low" : "bar" }, barOf(n ? right / n : 0)), h("span", { class: "num" }, n ? `${percent(right / n, 1)} of ${n}` : "no sample")])),
    h("p", { class: "soft" }, `Test split, from the file.${many ? ` The 20 worst of ${m.classes.length}.` : ""}`));
  }
  const ratio = (before, after) => String(Number((before / after).toPrecision(3)));
  const times = (before, after) => `${ratio(before, after)}\u00d7`;
  const points = (a) => `${a.after >= a.before ? "+" : "\u2212"}${Math.abs((a.after - a.before) * 100).toFixed(2)} points`;
  const uncompressed = (b) => (b.against === "original" ? "the network it was made of" : "the same architecture at fp32, uncut");
  function compression(m, d) {
    const cut = Object.entries(m.prune), b = m.bought;
    const box = h("div", {}, h("h3", {}, "Compression"), h("p", {}, `${m.precision}; `, cut.length ? `channels cut: ${cut.map(([stage, part]) => `${stage} ${percent(part, 0)}`).join(", ")}` : "no channels cut", "."));
    if (!b) return box;
    const at = b.latency[d.name], w = b.weights, a = b.accuracy;
    box.append(h("p", {}, `Beside ${uncompressed(b)}: `, [
      at.before === null ? "speed not known" : `${ratio(at.before, at.after)} times as fast (${ms(at.before)} to ${ms(at.after)} ms, both predicted)`,
      w.before === null ? "size not known" : `weights ${ratio(w.before, w.after)} times smaller (${size(w.before)} to ${size(w.after)}, counted)`,
      a ? `accuracy ${points(a)} (${percent(a.before)} to ${percent(a.after)}; ${a.read})` : "what it costs in accuracy is not known: that network was not evaluated",
    ].join("; "), "."));
    if (b.missing) box.append(h("p", { class: "soft" }, `Not known: ${b.missing}.`));
    const whole = b.choices.find((c) => c.precision === "fp32" && !c.cut);
    if (b.choices.length > 1) box.append(h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "What each choice buys" }, h("table", { class: "small" },
      h("caption", {}, "What each choice buys, of this architecture"),
      h("thead", {}, h("tr", {}, ["choice", "predicted ms", "speed", "weights, counted", "MACs"].map((t) => h("th", { scope: "col" }, t)))),
      h("tbody", {}, b.choices.map((c) => { const value = c.latency[d.name]; return h("tr", { class: c.mine ? "mine" : "" },
        h("th", { scope: "row" }, `${c.precision}${c.cut ? ", cut" : ""}`, c.mine ? h("small", {}, "this model") : null),
        h("td", {}, value === null ? "not known" : ms(value)), h("td", {}, value === null || !whole || whole.latency[d.name] === null ? "" : times(whole.latency[d.name], value)),
        h("td", {}, size(c.weights)), h("td", {}, count(c.macs))); })))));
    return box;
  }
  function graphs(m) {
    const head = h("h3", {}, "In the runtime"), sum = (counts) => Object.values(counts).reduce((s, n) => s + n, 0);
    if (!m.graphs.length) return h("div", {}, head, h("p", { class: "soft" }, "What becomes of the file is not recorded: an older version exported it."));
    const list = (counts) => Object.entries(counts).map(([name, n]) => `${name} ${n}`).join(", ");
    const fp32 = m.in_fp32.length ? h("p", {}, `${plural(m.in_fp32.length, "layer")} in fp32, where int8 lost too much accuracy: `, m.in_fp32.map((name, at) => [at ? ", " : "", h("code", {}, name)]), ".") : null;
    return h("div", {}, head, fp32, m.graphs.map((g) => h("div", { class: "graph" },
      h("p", {}, h("strong", {}, g.runtime), ": ", g.before ? `${plural(sum(g.before), "operation")} in the file, ` : "the file's operations are not known, ",
        g.after ? `${sum(g.after)} run` : "what runs is not known", g.precisions ? `; what computes: ${Object.entries(g.precisions).map(([p, n]) => `${n} in ${p}`).join(", ")}` : "", "."),
      g.notes.map((note) => h("p", { class: "warn" }, `${note[0].toUpperCase()}${note.slice(1)}.`)),
      g.fused && Object.keys(g.fused).length ? h("ul", { class: "flow", "aria-label": "Fused or folded" }, Object.entries(g.fused).map(([words, n]) => h("li", { class: "part" }, `${words} \u00d7 ${n}`))) : null,
      g.before || g.after ? h("details", {}, h("summary", {}, "Operations before and after"), g.before ? h("p", { class: "soft" }, `In the file: ${list(g.before)}.`) : null, g.after ? h("p", { class: "soft" }, `That run: ${list(g.after)}.`) : null) : null)));
  }
  function files(m) {
    return h("div", {}, h("h3", {}, "Files"), h("ul", { class: "files" }, m.files.length ? m.files.map((f) => h("li", {}, h("code", {}, f.path), ` ${f.format}, `,
      f.size_bytes === null ? h("span", { class: "warn" }, "not there") : size(f.size_bytes), f.sha256 ? [h("br"), "sha256 ", h("code", {}, f.sha256)] : null)) : h("li", {}, "no file")));
  }
  function commands(m, d) {
    return h("div", {}, h("h3", {}, "Commands"), command("Export this model", m.export), command(`Measure the front again on ${short(d.name)}${d.reached ? "" : " (with --host USER@BOARD behind it, where ssh reaches one)"}`, d.verify));
  }
  function command(label, text) {
    return h("div", { class: "command" }, h("span", {}, label), h("pre", {}, text),
      h("button", { type: "button", "aria-label": `Copy: ${label}`, on: { click: (e) => copy(text, e.currentTarget) } }, "Copy"));
  }
  async function copy(text, button) {
    let done = true;
    try { await navigator.clipboard.writeText(text); } catch { done = copyOld(text); }
    button.textContent = done ? "Copied" : "Select it";
    say(done ? "copied" : "the browser does not allow copying; select the text");
    button.focus();
    setTimeout(() => { button.textContent = "Copy"; }, 1600);
  }
  function copyOld(text) { // where a page from a file may not use the clipboard
    const area = h("textarea", { class: "hidden" });
    area.value = text; document.body.append(area); area.select();
    try { return document.execCommand("copy"); } catch { return false; } finally { area.remove(); }
  }
  function comparison(a, b) {
    const d = device(), sa = latencyOf(a), sb = latencyOf(b);
    const rows = [];
    const add = (name, va, vb, show, better, delta, unknown = "not known") => {
      const known = typeof va === "number" && typeof vb === "number", near = known && !delta && Math.abs(vb - va) < 5e-4 * Math.abs(va);
      const diff = known ? vb - va : null, text = diff === null ? "" : delta ? delta(diff) : near ? "same" : va ? `${diff >= 0 ? "+" : "\u2212"}${Math.abs((diff / va) * 100).toFixed(1)} %` : "";
      rows.push(h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, typeof va === "number" ? show(va) : unknown), h("td", {}, typeof vb === "number" ? show(vb) : unknown),
        h("td", { class: diff !== null && better && !near && diff * better > 0 ? "better" : "" }, text, diff !== null && better && !near && diff * better > 0 ? h("span", { class: "hidden" }, " (B is better)") : null)));
    };
    add("accuracy", a.accuracy.value, b.accuracy.value, percent, 1, (x) => `${x >= 0 ? "+" : "\u2212"}${Math.abs(x * 100).toFixed(2)} points`);
    add("predicted ms", sa.predicted, sb.predicted, ms, -1);
    add("measured ms", sa.measured && sa.measured.value, sb.measured && sb.measured.value, ms, -1, null, "not measured");
    add("energy mJ", a.energy_mj[d.name], b.energy_mj[d.name], ms, -1);
    add("size", a.size_bytes, b.size_bytes, size, -1);
    add("MACs", a.macs, b.macs, count, -1);
    add("parameters", a.params, b.params, count, -1);
    rows.push(h("tr", {}, h("th", { scope: "row" }, "precision"), h("td", {}, a.precision), h("td", {}, b.precision), h("td", {}, a.precision === b.precision ? "same" : "")));
    const keys = [...new Set([...Object.keys(a.architecture), ...Object.keys(b.architecture)])].filter((k) => a.architecture[k] !== b.architecture[k]);
    const chance = Math.sqrt(a.accuracy.value * (1 - a.accuracy.value) / a.accuracy.n + b.accuracy.value * (1 - b.accuracy.value) / b.accuracy.n);
    return h("section", { id: "comparison", "aria-labelledby": "comparison-title" }, h("h2", { id: "comparison-title" }, "A beside B"),
      h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Comparison" }, h("table", {}, h("thead", {}, h("tr", {}, h("td", {}), h("th", { scope: "col" }, `A: ${short(a.id, 12)}`), h("th", { scope: "col" }, `B: ${short(b.id, 12)}`), h("th", { scope: "col" }, "B against A"))), h("tbody", {}, rows))),
      h("p", { class: "soft" }, Math.abs(a.accuracy.value - b.accuracy.value) < 1.645 * chance ? "Their accuracies differ by no more than chance would on so many samples. " : "", `${keys.length} of ${Object.keys(a.architecture).length} choices differ.`));
  }

  // ---- compression ---------------------------------------------------------------------------------------------
  const DASHES = ["solid", "dash", "dot", "dashdot"], DASHED = { solid: "", dash: "6 3", dot: "2 2", dashdot: "6 2 2 2" };
  function bought() {
    const d = device(), home = $("compression"), list = d.order.map((id) => byId.get(id)).filter((m) => m.bought), s = data.sensitivity;
    home.hidden = !list.length && !s;
    if (home.hidden) { home.replaceChildren(); return; }
    const first = list.length ? uncompressed(list[0].bought) : "";
    const cuts = (m) => Object.entries(m.prune).map(([stage, part]) => `${stage} ${percent(part, 0)}`).join(", ");
    home.replaceChildren(h("h2", { id: "compression-title" }, list.length ? `What compression bought on ${d.name}` : "What compression costs"),
      list.length ? h("p", { class: "soft" }, `Each beside ${first}; both latencies are predicted by the same predictors, weights are counted.`) : "",
      list.length ? h("div", { class: "scroll tall", tabindex: 0, role: "region", "aria-label": "What compression bought" }, h("table", {},
        h("thead", {}, h("tr", {}, ["model", "predicted ms", "speed", "weights", "smaller", "accuracy"].map((t) => h("th", { scope: "col" }, t)))),
        h("tbody", {}, list.map((m) => { const at = m.bought.latency[d.name], w = m.bought.weights, a = m.bought.accuracy; return h("tr", {},
          h("th", { scope: "row" }, h("button", { type: "button", class: "plain mono", on: { click: (e) => open(m.id, e.currentTarget, e.shiftKey) } }, short(m.id, 60)), h("small", { class: "cuts" }, [m.precision, short(cuts(m), 48)].filter(Boolean).join(" \u00b7 "))),
          h("td", {}, ms(at.after), h("small", {}, at.before === null ? "before: not known" : `from ${ms(at.before)}`)),
          h("td", {}, at.before === null ? "not known" : times(at.before, at.after)),
          h("td", {}, w.before === null ? "not known" : size(w.after), w.before === null ? null : h("small", {}, `from ${size(w.before)}`)),
          h("td", {}, w.before === null ? "not known" : times(w.before, w.after)),
          h("td", {}, a ? points(a) : "not known", h("small", {}, a ? a.read : "uncompressed, it was not evaluated"))); })))) : "",
      s ? h("div", {}, h("h3", {}, "Accuracy without a part of each stage"),
        h("p", { class: "soft" }, `Validation split, n = ${s.n}, ${s.precision}, before fine-tuning; the other stages stay whole. ${counted(s)}The ${s.of_largest ? "largest network of the space" : "whole network"}: ${percent(s.accuracy)}; guessing: ${percent(s.guessing)}. Hollow points were not searched: they cost too much.`),
        h("ul", { class: "lines", "aria-label": "Stages" }), h("div", { id: "sensitivity-chart", role: "img", "aria-label": "Accuracy against the share that each stage loses; the table below holds the numbers." }),
        h("details", {}, h("summary", {}, `Numbers of ${plural(s.stages.length, "stage")}`), h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Accuracy by stage and share" },
          h("table", { class: "small" }, h("thead", {}, h("tr", {}, ["stage", "share lost: accuracy", "searched up to"].map((t) => h("th", { scope: "col", class: "left" }, t)))),
            h("tbody", {}, s.stages.map((one) => h("tr", {}, h("th", { scope: "row" }, short(one.stage, 60)), h("td", { class: "left" }, one.points.map(([r, a]) => `${percent(r, 0)}: ${percent(a, 1)}`).join(", ")), h("td", { class: "left" }, percent(one.searched, 0))))))))) : "");
    if (s) sensitivityChart(s, home);
  }
  function counted(s) {
    const found = [["blocks.", "blocks of a sequence"], ["heads.", "heads of an attention"]].filter(([start]) => s.stages.some((one) => one.stage.startsWith(start)));
    return found.map(([start, what]) => `What begins with ${start} are ${what}, left out whole. `).join("");
  }
  function sensitivityChart(s, home) {
    const c = colours(), theme = OVERLAY[dark.matches ? "dark" : "light"];
    const style = (i) => ({ color: theme[i % theme.length], dash: DASHES[Math.floor(i / theme.length) % DASHES.length] });
    home.querySelector(".lines").replaceChildren(...s.stages.map((one, i) => h("li", {}, svg("svg", { width: 26, height: 10, viewBox: "0 0 26 10", "aria-hidden": "true" },
      svg("path", { d: "M0 5H26", stroke: style(i).color, "stroke-width": 2.4, "stroke-dasharray": DASHED[style(i).dash] })), h("span", {}, short(one.stage)))));
    const axis = { gridcolor: c.grid, linecolor: c.grid, zeroline: false, ticks: "outside", tickcolor: c.grid, automargin: true, fixedrange: true };
    Plotly.newPlot("sensitivity-chart", s.stages.map((one, i) => ({ type: "scatter", mode: "lines+markers", name: esc(short(one.stage)), x: [0, ...one.points.map((p) => p[0])], y: [s.accuracy, ...one.points.map((p) => p[1])],
      line: { ...style(i), width: 2 }, marker: { size: 7, color: [0, ...one.points.map((p) => p[0])].map((r) => (r <= one.searched + 1e-9 ? style(i).color : c.ground)), line: { width: 1.6, color: style(i).color } },
      hovertemplate: `${esc(short(one.stage))}: %{y:.2%} without %{x:.0%}<extra></extra>` })),
    { paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: c.ink, family: "system-ui, sans-serif", size: 12 }, margin: { l: 56, r: 10, t: 8, b: 40 }, showlegend: false, dragmode: false, hovermode: "closest",
      hoverlabel: { bgcolor: c.ground, bordercolor: c.soft, font: { color: c.ink } }, shapes: [{ type: "line", xref: "paper", x0: 0, x1: 1, y0: s.guessing, y1: s.guessing, line: { color: c.soft, width: 1.2, dash: "dot" } }],
      xaxis: { ...axis, title: { text: "share of the stage that is cut", standoff: 4 }, tickformat: ".0%", rangemode: "tozero" }, yaxis: { ...axis, title: { text: "accuracy", standoff: 6 }, tickformat: ".0%" } }, { responsive: true, displayModeBar: false });
  }

  // ---- hypervolume ---------------------------------------------------------------------------------------------
  function courseChart() {
    const d = device(), home = $("course"), c = colours();
    home.hidden = d.course.evaluations.length < 2;
    if (home.hidden) return;
    const timed = d.course.seconds.every((s) => s !== null), byTime = timed && state.time === "time";
    const switcher = timed ? choice("over", "time", [["evaluations", "evaluations"], ["time", "time"]], state.time, (key) => { state.time = key; courseChart(); const on = document.querySelector('input[name="time"]:checked'); if (on) on.focus(); }) : null;
    const last = d.course.hypervolume[d.course.hypervolume.length - 1], all = d.course.evaluations[d.course.evaluations.length - 1];
    const grew = d.course.evaluations.filter((_, i) => i === 0 || d.course.hypervolume[i] > d.course.hypervolume[i - 1]).pop();
    home.replaceChildren(h("div", { class: "bar-head" }, h("h2", { id: "course-title" }, `Hypervolume of the search on ${d.name}`), switcher),
      h("p", { class: "soft" }, `${Number(last.toPrecision(4))} after ${plural(all, "evaluation")}, last raised at number ${grew}; from the corner ${ms(d.reference[0])} ms, error ${percent(d.reference[1], 0)}, by predicted latency and the accuracy before finishing.`,
        data.models.length ? ` The finished front has ${Number(d.hypervolume.toPrecision(4))}.` : ""),
      h("div", { id: "course-chart", role: "img", "aria-label": `Hypervolume over ${byTime ? "time" : "evaluations"}: from ${Number(d.course.hypervolume[0].toPrecision(4))} to ${Number(last.toPrecision(4))}` }));
    const unit = byTime && d.course.seconds[d.course.seconds.length - 1] > 600 ? [60, "minutes"] : [1, "seconds"];
    const axis = { gridcolor: c.grid, linecolor: c.grid, zeroline: false, ticks: "outside", tickcolor: c.grid, automargin: true, fixedrange: true };
    Plotly.newPlot("course-chart", [{ type: "scatter", mode: "lines+markers", x: byTime ? d.course.seconds.map((s) => s / unit[0]) : d.course.evaluations, y: d.course.hypervolume,
      line: { shape: "hv", color: c.line, width: 2 }, marker: { size: 5, color: c.line }, hovertemplate: `%{y:.4~g} at %{x:.4~g}<extra></extra>` }],
    { paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: c.ink, family: "system-ui, sans-serif", size: 12 }, margin: { l: 56, r: 10, t: 8, b: 40 }, showlegend: false, dragmode: false,
      hoverlabel: { bgcolor: c.ground, bordercolor: c.soft, font: { color: c.ink } },
      xaxis: { ...axis, title: { text: byTime ? `${unit[1]} since the first evaluation` : "evaluations", standoff: 4 }, rangemode: "tozero" }, yaxis: { ...axis, rangemode: "tozero" } }, { responsive: true, displayModeBar: false });
  }

  // ---- a search that is running --------------------------------------------------------------------------------
  function progress(p) {
    const box = $("progress");
    box.hidden = !p;
    if (!p) return;
    box.className = p.running === false ? "stopped" : "";
    const done = p.total ? `${p.done} of ${p.total}` : `${p.done} steps`;
    const log = (title, lines) => (lines && lines.length ? h("div", {}, h("h3", {}, title), h("ul", { tabindex: 0, "aria-label": title }, lines.slice(-8).reverse().map((line) => h("li", {}, line)))) : null);
    const bar = h("progress", { "aria-label": `${p.phase || "search"}`, max: p.total || 1 });
    if (p.total) bar.value = Math.min(p.done, p.total);
    box.replaceChildren(h("div", { class: "now" }, h("strong", {}, p.running === false ? "No process searches here just now" : "Searching"),
      p.phase ? h("span", {}, `${p.phase}: ${done}`) : null, p.figures ? h("span", { class: "soft" }, p.figures) : null, h("span", {}, `${plural(p.evaluated, "candidate")} evaluated`),
      p.workers !== null && p.workers !== undefined ? h("span", {}, plural(p.workers, "evaluation") + " under way elsewhere") : null, p.updated ? h("span", { class: "soft" }, `as of ${p.updated}`) : null),
    p.running === false ? null : bar,
    data.live ? null : h("p", { class: "soft" }, "This page does not refresh itself: `hwnas watch` shows the run as it goes."),
    h("div", { class: "logs" }, log("Last errors", p.errors), log("Notes", p.notes)));
  }
  async function look() {
    try {
      const answer = await fetch("state.json", { cache: "no-store" });
      const now = await answer.json();
      progress(now.progress);
      if (now.version !== data.version) {
        data = await (await fetch("data.json", { cache: "no-store" })).json();
        begin();
      }
    } catch { say("the server is away; trying again"); $("progress").classList.add("stopped"); }
    setTimeout(look, 2000);
  }

  // ---- all of it -----------------------------------------------------------------------------------------------
  function refresh(withSearched = true) { header(); notices(); controls(); table(); chart(withSearched); panels(); greyOut(); bought(); courseChart(); progress(data.progress); }
  function begin(withSearched = true) {
    byId = new Map(data.models.map((m) => [m.id, m]));
    if (!state.device || (state.device !== ALL && !data.devices.some((d) => d.name === state.device))) state.device = data.devices[0].name;
    state.open = state.open.filter((id) => byId.has(id));
    if (state.scale === null) state.scale = isLog() ? "log" : "linear";
    refresh(withSearched);
  }
  document.addEventListener("keydown", (e) => { if (e.key === "Escape" && state.open.length) close(state.open.length - 1); });
  dark.addEventListener("change", () => { chart(); greyOut(); bought(); courseChart(); });
  begin(!data.models.length); // the front is the first picture; thousands of candidates follow behind it
  requestAnimationFrame(() => setTimeout(() => {
    performance.mark("front");
    if (data.models.length && devices().some((d) => d.searched.id.length)) chart();
    document.documentElement.dataset.ready = "yes";
    performance.mark("ready");
  }));
  if (data.live) setTimeout(look, 2000);
})();
