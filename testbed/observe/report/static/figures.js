// Times in microseconds since the begin of what is shown.
function span(us) {
  const size = Math.abs(us);
  if (size < 1000) return `${us.toFixed(0)} µs`;
  if (size < 1e6) return `${(us / 1000).toFixed(size < 1e4 ? 2 : 1)} ms`;
  return `${(us / 1e6).toFixed(3)} s`;
}

// Round steps of an axis, about `count` of them.
function steps(from, to, count) {
  const rough = (to - from) / count || 1, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= rough);
  const found = [];
  for (let at = Math.ceil(from / step) * step; at <= to; at += step) found.push(at);
  return found;
}

// Words in the room that there is: what is too much gives way to dots.
function fit(label, room) {
  const words = label.textContent;
  for (let kept = words.length - 1; kept > 0 && label.getComputedTextLength() > room; kept--) {
    label.textContent = `${words.slice(0, kept)}…`;
  }
}

// The frame of a plot: an axis of time with its ticks, and bands shaded behind it. Returns where a time is.
function plotFrame(svg, {from, to, width, height, left = 8, right = 8, bottom = 22, bands = []}) {
  const x = (us) => left + (us - from) / (to - from || 1) * (width - left - right);
  for (const band of bands) {
    const a = x(Math.max(from, band.from)), b = x(Math.min(to, band.to));
    if (b <= a) continue;
    make(make(svg, "rect", {class: "band", x: a, y: 0, width: b - a, height: height - bottom}), "title", {}, band.why);
    if (b - a > 60) make(svg, "text", {class: "soft", x: (a + b) / 2, y: 14, "font-size": 11, "text-anchor": "middle"}, band.name);
  }
  make(svg, "line", {class: "axis", x1: left, x2: width - right, y1: height - bottom, y2: height - bottom});
  for (const at of steps(from, to, Math.max(2, Math.floor(width / 130)))) {
    make(svg, "line", {class: "axis", x1: x(at), x2: x(at), y1: height - bottom, y2: height - bottom + 4});
    const label = make(svg, "text", {class: "soft", y: height - 5, "font-size": 11, "text-anchor": "middle"}, span(at));
    const half = label.getComputedTextLength() / 2;
    label.setAttribute("x", Math.min(Math.max(x(at), half), width - half));
  }
  return x;
}

// A line for each kind, a dot for each event: {at, kind, color, title}. `choose` is called with an event's number.
function timeline(parent, events, {from, to, bands, choose}) {
  const kinds = [...new Set(events.map((one) => one.kind))], width = 960, lane = 18, name = 130;
  const height = kinds.length * lane + 30;
  const box = make(parent, "div", {class: "figure"});
  const svg = make(box, "svg", {class: "fit", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "When packets were seen"});
  svg.style.minWidth = "36rem";
  const x = plotFrame(svg, {from, to, width, height, left: name, right: 24, bands});
  kinds.forEach((kind, row) => {
    make(svg, "text", {class: "soft", x: name - 12, y: row * lane + 15, "font-size": 12, "text-anchor": "end"}, kind);
  });
  events.forEach((one, number) => {
    const dot = make(svg, "circle", {class: `k-${one.color}`, cx: x(one.at), cy: kinds.indexOf(one.kind) * lane + 11, r: 3.5, fill: "currentColor", "fill-opacity": .75});
    make(dot, "title", {}, one.title);
    dot.addEventListener("click", () => choose(number));
    dot.style.cursor = "pointer";
  });
}

// Messages between nodes, top to bottom: {at, from, to, kind, words, color, title}.
function ladder(parent, nodes, rows, {choose}) {
  const wide = Math.min(1080, parent.clientWidth || 1080), time = 84, step = 34, top = 46;
  const gap = Math.max(92, Math.min(280, (wide - time) / nodes.length));
  const width = time + gap * nodes.length, height = top + rows.length * step + 14;
  const box = make(parent, "div", {class: "figure"});
  const svg = make(box, "svg", {width, height, viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": "Messages between nodes, in the order of time"});
  const x = (name) => time + gap * (nodes.findIndex((one) => one.name === name) + .5);
  const groups = [];
  nodes.forEach((node, number) => {
    const at = time + gap * (number + .5);
    make(svg, "line", {class: "life", x1: at, x2: at, y1: top - 8, y2: height, "stroke-dasharray": node.core ? "2 4" : null});
    make(svg, "text", {x: at, y: 16, "font-size": 13, "font-weight": 600, "text-anchor": "middle"}, node.name);
    make(svg, "text", {class: "soft", x: at, y: 31, "font-size": 10.5, "text-anchor": "middle"}, node.sub);
  });
  rows.forEach((row, number) => {
    const y = top + number * step + 22, a = x(row.from), b = x(row.to), way = b >= a ? 1 : -1;
    const group = make(svg, "g", {class: `row k-${row.color}`, tabindex: 0, role: "button", "aria-label": row.title});
    groups.push(group);
    make(group, "rect", {class: "hit", x: 0, y: y - 21, width, height: step, rx: 3});
    make(group, "text", {class: "soft", x: time - 16, y: y + 1, "font-size": 11, "text-anchor": "end", "font-family": "var(--mono)"}, span(row.at));
    const times = row.count > 1 ? ` × ${row.count}` : "", words = row.kind + (row.words ? ` ${row.words}` : "");
    const alone = a === b, away = alone && a > time + (width - time) / 2 ? -1 : 1;
    // What stands beside a dot has the room to the edge; what stands on an arrow may be a bit longer than that.
    const room = alone ? (away > 0 ? width - a : a - time) - 14 : Math.min(Math.max(Math.abs(b - a), gap * 2.2), width - time);
    const letters = Math.floor(room / 5.8), half = (Math.min(words.length, letters) + times.length) * 2.9;
    if (alone) make(group, "circle", {class: "head", cx: a, cy: y - 4, r: 4});
    else {
      make(group, "line", {class: "arrow", x1: a, x2: b - way * 7, y1: y, y2: y});
      make(group, "path", {class: "head", d: `M${b} ${y}l${-way * 9} -4.5v9z`});
    }
    const place = alone ? {x: a + away * 10, y, "text-anchor": away > 0 ? "start" : "end"}
      : {x: Math.max(Math.min((a + b) / 2, width - half), time + half), y: y - 6, "text-anchor": "middle"};
    const label = make(group, "text", {...place, "font-size": 11, "paint-order": "stroke", stroke: "var(--paper)", "stroke-width": 3});
    label.textContent = (words.length > letters ? `${words.slice(0, letters - 1)}…` : words) + times;
    make(group, "title", {}, row.title);
    const open = () => choose(number);
    group.addEventListener("click", open);
    group.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); open(); }
      const next = groups[number + {ArrowDown: 1, ArrowUp: -1}[event.key]];
      if (next) { event.preventDefault(); next.focus(); }
    });
  });
  return groups;
}
