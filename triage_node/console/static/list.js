// Keeps the reading list live. The node says that something changed; this fetches the changing part and swaps it in,
// so that scroll, focus and what the reader looks at stay where they are. Rows that moved slide to their new place.
"use strict";

const SILENT_MS = 25000; // the node speaks every 10 s
const LOST_MS = 3000; // a broken stream may come back at once

const live = document.getElementById("live");
const announce = document.getElementById("announce");
const calm = window.matchMedia("(prefers-reduced-motion: reduce)");
let heardAt = performance.now();
let brokenAt = null;
let fetching = false;
let again = false;

function places() {
  const found = new Map();
  for (const row of live.querySelectorAll("[data-key]")) found.set(row.dataset.key, row.getBoundingClientRect().top);
  return found;
}

function slide(before) {
  if (calm.matches) return;
  for (const row of live.querySelectorAll("[data-key]")) {
    const old = before.get(row.dataset.key);
    if (old === undefined) {
      row.animate([{ opacity: 0 }, { opacity: 1 }], { duration: 300 });
      continue;
    }
    const by = old - row.getBoundingClientRect().top;
    if (Math.abs(by) > 1) {
      row.animate([{ transform: `translateY(${by}px)` }, { transform: "none" }], { duration: 450, easing: "ease-out" });
    }
  }
}

function swap(html) {
  const fresh = new DOMParser().parseFromString(html, "text/html");
  const bar = fresh.querySelector("header[data-version]");
  if (bar === null) throw new Error("not the list");
  const before = places();
  const first = live.querySelector("header").dataset.first;
  const focused = live.contains(document.activeElement) ? document.activeElement.id : "";
  keepFilter(fresh);
  live.replaceChildren(...fresh.body.childNodes);
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
  slide(before);
  document.title = (bar.dataset.flagged === "0" ? "" : `(${bar.dataset.flagged}) `) + "Reading list · Triage Node";
  if (bar.dataset.first !== first) announce.textContent = `Read next: ${bar.dataset.first}`;
}

// What somebody is typing into stays the same element; only what it says about the list is new.
function keepFilter(fresh) {
  const form = live.querySelector("#filter-form");
  const details = fresh.getElementById("filter");
  if (form === null || details === null) return;
  if (!form.contains(document.activeElement)) {
    details.open = live.querySelector("#filter").open;
    return;
  }
  const sentBy = form.querySelector("#filter-ae");
  const chosen = sentBy.value;
  sentBy.replaceChildren(...fresh.getElementById("filter-ae").childNodes);
  sentBy.value = chosen; // options that move from one select to another arrive with the last one selected
  if (sentBy.selectedIndex < 0) sentBy.value = "";
  details.open = true;
  details.querySelector("form").replaceWith(form);
}

function applyFilter() {
  const told = new URLSearchParams(new FormData(document.getElementById("filter-form")));
  for (const [name, value] of [...told]) if (value.trim() === "") told.delete(name);
  const search = told.size ? `?${told}` : "";
  if (search === location.search) return;
  history.replaceState(null, "", `/${search}`);
  rememberList();
  refresh();
}

// the way back from a study leads to the list as it was narrowed
function rememberList() {
  sessionStorage.setItem("triage-list", location.search);
}

let typing = 0;
document.addEventListener("input", (event) => {
  if (event.target.form?.id !== "filter-form") return;
  clearTimeout(typing);
  typing = setTimeout(applyFilter, event.target.type === "search" ? 250 : 0);
});
document.addEventListener("submit", (event) => {
  if (event.target.id !== "filter-form") return;
  event.preventDefault();
  applyFilter();
});
rememberList();

function step(by) {
  const rows = [...live.querySelectorAll("a.reason")];
  const at = rows.indexOf(document.activeElement);
  const to = at < 0 ? (by > 0 ? 0 : rows.length - 1) : Math.min(Math.max(at + by, 0), rows.length - 1);
  rows[to]?.focus();
  rows[to]?.scrollIntoView({ block: "nearest" });
}

addKey("j", "next study", () => step(1));
addKey("k", "study before", () => step(-1));
addKey("Enter", "open the study that is marked", () => {
  if (document.activeElement === document.body) live.querySelector("a.reason")?.click();
});
addKey("/", "filter", () => {
  document.getElementById("filter").open = true;
  document.getElementById("filter-q").select();
  document.getElementById("filter-q").focus();
});

async function refresh() {
  if (fetching) {
    again = true;
    return;
  }
  fetching = true;
  try {
    do {
      again = false;
      const answer = await fetch(`/fragments/list${location.search}`, { cache: "no-store" });
      if (answer.status === 401) {
        location.assign(`/login?next=${encodeURIComponent(location.pathname + location.search)}`);
        return;
      }
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      swap(await answer.text());
      heardAt = performance.now();
      brokenAt = null;
    } while (again);
  } catch {
    brokenAt ??= performance.now();
  } finally {
    fetching = false;
    judge();
  }
}

// A list that stands still must not look like a list on which nothing happens.
function judge() {
  const now = performance.now();
  const lost = now - heardAt > SILENT_MS || (brokenAt !== null && now - brokenAt > LOST_MS);
  document.body.classList.toggle("cut-off", lost);
  document.getElementById("cut-off").hidden = !lost;
  const pulse = live.querySelector(".pulse");
  const stale = lost || live.querySelector("header").dataset.current === "no";
  pulse.dataset.stale = stale ? "yes" : "no";
  if (lost) document.getElementById("pulse-words").textContent = "Not current";
}

let stream = null;

function listen() {
  stream = new EventSource("/events");
  for (const name of ["hello", "list", "tick"]) stream.addEventListener(name, refresh);
  stream.addEventListener("error", () => {
    brokenAt ??= performance.now();
    // a refusal closes the stream for good; a broken one comes back by itself
    if (stream.readyState === EventSource.CLOSED) {
      setTimeout(listen, 5000);
      refresh(); // a login that ended is told there
    }
  });
}

listen();
window.addEventListener("pagehide", () => stream.close());
window.addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});
setInterval(judge, 1000);
