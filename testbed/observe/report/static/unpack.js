"use strict";
// Elements and packed values. Text becomes text and never markup: nothing here sets innerHTML.
const SVG = "http://www.w3.org/2000/svg";

function make(parent, name, attributes, text) {
  const inside = parent instanceof SVGElement && parent.namespaceURI === SVG;
  const one = inside || name === "svg" ? document.createElementNS(SVG, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value !== null && value !== undefined) one.setAttribute(key, value);
  }
  if (text !== undefined) one.textContent = text;
  parent.appendChild(one);
  return one;
}

const unpacked = new Map();

function unpack(name) {
  if (!unpacked.has(name)) unpacked.set(name, (async () => {
    const text = document.getElementById(name).textContent;
    const octets = Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
    const stream = new Blob([octets]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Response(stream).json();
  })());
  return unpacked.get(name);
}
