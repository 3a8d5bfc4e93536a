// A packet: the layers as a tree, and its octets when they are asked for.
function packetView(parent, packet) {
  const view = make(parent, "div", {class: "packet"});
  const tree = make(view, "div", {class: "tree"});
  const hexbox = make(view, "details", {class: "hexbox"});
  make(hexbox, "summary", {}, `${packet.size} octets`);
  let shown = null;
  const mark = (from, to) => {
    if (!hexbox.open) return;
    if (shown) shown.remove();
    shown = make(hexbox, "pre", {class: "hex", tabindex: 0});
    hexDump(shown, packet.hex, from, to);
  };
  hexbox.addEventListener("toggle", () => mark(0, 0));
  packet.layers.forEach((layer, number) => {
    const last = number >= packet.layers.length - 1;
    const box = make(tree, "details", {class: "layer"});
    box.open = layer.name.startsWith("LISP") || last;
    const title = make(box, "summary", {}, `${layer.name} `);
    make(title, "small", {}, layer.size === 1 ? "1 octet" : `${layer.size} octets`);
    fieldTree(box, layer.fields);
    for (const event of ["mouseenter", "focusin"]) box.addEventListener(event, () => mark(layer.at, layer.at + layer.size));
  });
}

function fieldTree(parent, fields) {
  const list = make(parent, "ul");
  for (const [name, value, inside] of fields) {
    const item = make(list, "li");
    if (inside) {
      make(item, "div", {class: "inside"}, `${name.replaceAll("_", " ")}${value ? ` · ${value}` : ""}`);
      fieldTree(item, inside);
    } else {
      const line = make(item, "div", {class: "field"});
      make(line, "span", {}, name.replaceAll("_", " "));
      make(line, "code", {}, value);
    }
  }
}

function hexDump(parent, hex, from, to) {
  for (let at = 0; at < hex.length / 2; at += 16) {
    parent.append(`${at.toString(16).padStart(4, "0")}  `);
    for (let one = at; one < at + 16; one++) {
      const octet = hex.slice(2 * one, 2 * one + 2) || "  ";
      if (one >= from && one < to && octet.trim()) make(parent, "mark", {}, octet);
      else parent.append(octet);
      parent.append(one % 8 === 7 ? "  " : " ");
    }
    const text = (hex.slice(2 * at, 2 * at + 32).match(/../g) || []).map((two) => {
      const code = parseInt(two, 16);
      return code > 31 && code < 127 ? String.fromCharCode(code) : "·";
    });
    parent.append(`${text.join("")}\n`);
  }
}

// What was seen of a test or a move: timeline, ladder, packets; `brief` has no timeline, and the packets folded away.
// What is no packet (it has no layers) is told in a line.
function evidenceView(parent, found, {brief} = {}) {
  if (!found.packets.length) {
    make(parent, "p", {class: "note"}, "No LISP packet was seen.");
    return;
  }
  const events = found.packets.map((one) => ({
    ...one,
    title: `${span(one.at)}, ${one.from} to ${one.to}: ${one.kind}${one.words ? ` ${one.words}` : ""}${one.count > 1 ? `, ${one.count} of them` : ""}`,
  }));
  const items = [];
  let groups = [], fold = null;
  const choose = (number) => {
    const item = items[number], packet = item.tagName === "DETAILS";
    if (fold) fold.open = true;
    if (packet) item.open = true;
    groups.forEach((group, other) => group.classList.toggle("open", other === number));
    (packet ? item.firstChild : item).focus({preventScroll: true});
    item.scrollIntoView({block: "nearest", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth"});
  };
  const times = events.map((one) => one.at);
  const to = Math.max(found.end, ...times), first = Math.min(...times);
  if (!brief) timeline(parent, events, {from: Math.min(first, Math.max(0, first - (to - first) / 8)), to, bands: found.bands, choose});
  groups = ladder(parent, found.nodes, events, {choose});
  const missing = found.left_out + found.lost;
  make(parent, "p", {class: "note"}, `${missing ? `${missing} more packets are not shown here. ` : ""}All that were kept: ${found.file}`);
  if (brief) make(fold = make(parent, "details", {class: "fold"}), "summary", {}, brief);
  const list = make(fold || parent, "ol", {class: "packets", "aria-label": "Packets"});
  events.forEach((one) => {
    const item = make(list, "li"), box = one.layers ? make(item, "details", {class: "seen"}) : make(item, "div", {class: "seen", tabindex: -1});
    items.push(box);
    const line = make(box, one.layers ? "summary" : "div", {class: "line"});
    make(line, "span", {class: "when"}, span(one.at));
    make(line, "span", {class: "ends"}, `${one.from} → ${one.to}`);
    const what = make(line, "span", {class: "what"});
    make(what, "b", {class: `k-${one.color}`}, one.kind);
    what.append(" ");
    make(what, "span", {}, one.words + (one.count > 1 ? ` and ${one.count - 1} more like it` : ""));
    if (one.layers) box.addEventListener("toggle", () => { if (box.open && box.children.length === 1) packetView(box, one); });
  });
}
