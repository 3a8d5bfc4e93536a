// The moves of a host: when what happened, what each correspondent saw, who said what to whom.

// A line for each step, a dot where its time is: {at, name, color}. Where there is little room, words stand above lines.
function waterfall(parent, list, {from, to}) {
  const width = Math.min(1080, parent.clientWidth || 1080), above = width < 640, lane = above ? 38 : 26;
  const longest = Math.max(...list.map((one) => one.name.length)) * 6.6 + 20, height = list.length * lane + 30;
  const left = above ? 8 : Math.min(width * .5, longest);
  const svg = make(parent, "svg", {viewBox: `0 0 ${width} ${height}`, role: "img",
    "aria-label": list.map((one) => `${span(one.at)}: ${one.name}`).join("; ")});
  const x = plotFrame(svg, {from, to, width, height, left, right: 74});
  list.forEach((one, row) => {
    const y = (row + 1) * lane - 9, group = make(svg, "g", {class: `k-${one.color}`});
    make(group, "title", {}, `${span(one.at)}: ${one.name}`);
    const place = above ? {x: 0, y: y - 16} : {x: left - 12, y, "text-anchor": "end"};
    fit(make(group, "text", {...place, "font-size": 12.5}, one.name), above ? width : left - 12);
    make(group, "line", {class: "stem", x1: x(from), x2: x(one.at), y1: y - 4, y2: y - 4});
    make(group, "circle", {class: "dot", cx: x(one.at), cy: y - 4, r: 5});
    make(group, "text", {class: "value soft", x: x(one.at) + 10, y, "font-size": 11.5}, span(one.at));
  });
}

// The datagrams of a correspondent, a strip for each way and IP version: {name, samples: [[at, delay or null]], gap, lost}.
function strips(parent, panel, {from, to, marks}) {
  const width = Math.min(560, parent.clientWidth || 520), strip = 58, foot = 12, top = 16;
  const left = Math.max(...panel.strips.map((one) => one.way.length)) * 5.6 + 14;
  const height = top + panel.strips.length * (strip + foot) + 22;
  const svg = make(parent, "svg", {viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": panel.words});
  const x = plotFrame(svg, {from, to, width, height, left, right: 26});
  let last = -Infinity;
  for (const mark of marks) {
    if (mark.at < from || mark.at > to) continue;
    make(svg, "line", {class: "mark", x1: x(mark.at), x2: x(mark.at), y1: 12, y2: height - 22});
    if (x(mark.at) < last + 7) continue;
    last = x(mark.at);
    make(svg, "text", {class: "soft", x: x(mark.at), y: 9, "font-size": 10, "text-anchor": "middle", "font-family": "var(--mono)"}, mark.letter);
  }
  const slowest = Math.max(1000, ...panel.strips.flatMap((one) => one.samples.map(([, delay]) => delay || 0)));
  panel.strips.forEach((one, row) => {
    const base = top + row * (strip + foot) + strip, group = make(svg, "g");
    make(group, "title", {}, one.title);
    if (one.gap) {
      const a = x(Math.max(from, one.gap.from)), b = x(Math.min(to, one.gap.to));
      make(group, "rect", {class: "blackout", x: a, y: base - strip + 6, width: Math.max(1, b - a), height: strip - 6});
    }
    make(group, "line", {class: "axis", x1: left, x2: width - 26, y1: base, y2: base});
    make(group, "text", {class: "soft", x: left - 6, y: base - strip + 26, "font-size": 10.5, "text-anchor": "end"}, one.way);
    make(group, "text", {class: "soft", x: left - 6, y: base - strip + 40, "font-size": 10.5, "text-anchor": "end"}, `IPv${one.version}`);
    const y = (delay) => base - 3 - (delay / slowest) * (strip - 16);
    const arrived = one.samples.filter(([, delay]) => delay !== null), missing = one.samples.filter(([, delay]) => delay === null);
    const path = (some, shape) => some.map(shape).join("");
    make(group, "path", {class: "samples", d: path(arrived, ([at, delay]) => `M${x(at).toFixed(1)} ${y(delay).toFixed(1)}h0`)});
    make(group, "path", {class: "lost", d: path(missing, ([at]) => `M${x(at).toFixed(1)} ${base + 2}v6`)});
    if (one.gap) {
      const a = x(Math.max(from, one.gap.from)), b = x(Math.min(to, one.gap.to)), middle = Math.min(Math.max((a + b) / 2, left + 22), width - 30);
      make(group, "text", {class: "gap", x: middle, y: base - strip + 18, "font-size": 11, "text-anchor": "middle", "paint-order": "stroke", stroke: "var(--paper)", "stroke-width": 3}, span(one.gap.to - one.gap.from));
    }
    if (!row) make(svg, "text", {class: "soft", x: width - 26, y: 9, "font-size": 10, "text-anchor": "end"}, `height: ${span(slowest)}`);
  });
}

// Where a picture of the world is wider than the screen, its host is in the middle.
for (const one of document.querySelectorAll(".world")) {
  one.parentElement.scrollLeft = one.dataset.host * one.offsetWidth - one.parentElement.clientWidth / 2;
}

unpack("mobility").then((found) => {
  const each = (name, draw) => document.querySelectorAll(`.${name}[data-move]`).forEach((place) => draw(place, found.moves[place.dataset.move]));
  each("waterfall", (place, move) => waterfall(place, move.steps, move.near));
  each("plots", (place, move) => move.panels.forEach((panel) => {
    const box = make(place, "section"), title = make(box, "h4", {}, panel.name);
    make(title, "small", {}, panel.sub);
    strips(box, panel, {...panel.window, marks: move.marks});
  }));
  each("evidence", (place, move) => evidenceView(place, move.evidence, {brief: "The same as a list, packets field by field"}));
  document.body.dataset.drawn = "yes";
  openTarget();  // where it is now, with everything drawn above it
});
