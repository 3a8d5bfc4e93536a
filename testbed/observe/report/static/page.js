// Evidence is drawn when somebody opens it: elements with data-bundle and data-key, inside or being <details>.
function showEvidence(place) {
  if (place.dataset.shown) return;
  place.dataset.shown = "yes";
  unpack(place.dataset.bundle).then((bundle) => evidenceView(place, bundle[place.dataset.key])).catch((error) => {
    make(place, "p", {class: "note"}, `This browser cannot unpack the evidence: ${error.message}`);
    throw error;
  });
}

document.addEventListener("toggle", (event) => {
  if (event.target.open) event.target.querySelectorAll(":scope > .evidence[data-bundle]").forEach(showEvidence);
}, true);

// Filters: a form[data-filters] whose fields are named after data-NAME of the elements with [data-filtered].
for (const form of document.querySelectorAll("form[data-filters]")) {
  const all = [...document.querySelectorAll("[data-filtered]")];
  const apply = () => {
    const wanted = new FormData(form);
    for (const one of all) {
      const hidden = [...new Set(wanted.keys())].some((name) => {
        const values = wanted.getAll(name).filter(Boolean), has = one.dataset[name] || "";
        if (!values.length) return false;
        if (name === "text") return !values[0].toLowerCase().split(/\s+/).every((word) => has.includes(word));
        return !values.some((value) => has.split("|").includes(value));
      });
      one.classList.toggle("hidden", hidden);
    }
    for (const group of document.querySelectorAll("[data-group]")) {
      group.classList.toggle("hidden", !group.querySelector("[data-filtered]:not(.hidden)"));
    }
    const shown = new Set(all.filter((one) => !one.classList.contains("hidden")).map((one) => one.dataset.filtered));
    for (const one of document.querySelectorAll("[data-count]")) one.textContent = `${shown.size} of ${one.dataset.count}`;
    document.querySelectorAll("[data-none]").forEach((one) => { one.hidden = shown.size > 0; });
  };
  form.addEventListener("input", apply);
  form.addEventListener("reset", () => setTimeout(apply));
  form.addEventListener("submit", (event) => event.preventDefault());
  apply();
}

// A link to a row opens it, and what it is inside of.
function openTarget() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  for (let one = target; one; one = one.parentElement) if (one.tagName === "DETAILS") one.open = true;
  if (target) target.scrollIntoView();
}
addEventListener("hashchange", openTarget);
openTarget();
