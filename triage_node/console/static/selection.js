// A folder is sent file by file, without names; what comes of it appears by itself, and is erased when the page is left.
"use strict";

const byId = (id) => document.getElementById(id);
const drop = byId("drop");
const chooser = byId("folder");
const MB = 1 << 20;
const AT_ONCE = 3;
const EVERY_MS = 1000;
const LIMITS = {
  files: Number(drop.dataset.files),
  file: Number(drop.dataset.fileMb) * MB,
  total: Number(drop.dataset.totalMb) * MB,
};

let run = null; // { name, stop }: the folder at hand

class Refused extends Error {}

function show(id, on) {
  byId(id).hidden = !on;
}

function say(words) {
  byId("said").textContent = words;
}

function wrong(words) {
  byId("went-wrong").firstElementChild.textContent = words;
  show("went-wrong", words !== "");
}

function busy(on) {
  chooser.disabled = on;
  drop.toggleAttribute("data-busy", on);
  show("sending", on);
}

function tooMuch(files) {
  const large = files.find((file) => file.size > LIMITS.file);
  const total = files.reduce((sum, file) => sum + file.size, 0);
  if (!files.length) return "There is no file in that folder. Choose the folder that holds the DICOM files.";
  if (files.length > LIMITS.files) return `The folder holds ${files.length.toLocaleString("en")} files; at most ${LIMITS.files.toLocaleString("en")} are taken. Choose a folder with fewer.`;
  if (large) return `A file is larger than ${LIMITS.file / MB} MB, the most that is taken.`;
  if (total > LIMITS.total) return `The folder holds ${Math.ceil(total / MB).toLocaleString("en")} MB; at most ${(LIMITS.total / MB).toLocaleString("en")} MB are taken. Choose a folder with fewer studies.`;
  return "";
}

async function ask(address, signal, body) {
  const headers = body === undefined ? {} : { "content-type": "application/octet-stream" };
  let answer;
  try {
    answer = await fetch(address, { method: "POST", credentials: "same-origin", headers, body, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused("The node does not answer, or a file cannot be read. Choose the folder again.");
  }
  const told = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(told.error ?? "The node did not take it. Log in again, or choose the folder again.");
  return told;
}

async function send(files, mine) {
  const bar = byId("progress");
  const total = files.reduce((sum, file) => sum + file.size, 0);
  let next = 0;
  let sent = 0;
  let done = 0;
  const worker = async () => {
    while (next < files.length) {
      const file = files[next++];
      await ask(`/selection/${mine.name}/files`, mine.stop.signal, file);
      sent += file.size;
      done += 1;
      bar.value = total ? sent / total : 1;
      byId("progress-words").textContent = `Sent ${done.toLocaleString("en")} of ${files.length.toLocaleString("en")} files`;
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

async function follow(mine) {
  for (;;) {
    const answer = await fetch(`/fragments/selection/${mine.name}`, { credentials: "same-origin", signal: mine.stop.signal }).catch((error) => {
      if (error.name === "AbortError") throw error;
      return null; // the node restarts: ask again
    });
    if (answer !== null && !answer.ok) {
      const told = await answer.json().catch(() => ({}));
      throw new Refused(told.error ?? "The node did not answer. Log in again.");
    }
    if (answer !== null) {
      const outcome = byId("outcome");
      const words = await answer.text();
      if (run !== mine) return;
      outcome.innerHTML = words;
      if (outcome.querySelector("[data-open-trial]") === null) return;
    }
    await new Promise((go) => setTimeout(go, EVERY_MS));
  }
}

async function erase() {
  const mine = run;
  if (mine === null) return;
  run = null;
  mine.stop.abort();
  if (mine.name) await fetch(`/selection/${mine.name}/left`, { method: "POST", credentials: "same-origin" }).catch(() => null);
}

async function attempt(files) {
  await erase();
  byId("outcome").replaceChildren();
  wrong(tooMuch(files));
  if (!byId("went-wrong").hidden) return;
  const mine = { name: "", stop: new AbortController() };
  run = mine;
  busy(true);
  byId("progress").value = 0;
  byId("progress-words").textContent = "Sending";
  try {
    mine.name = (await ask("/selection", mine.stop.signal)).name;
    await send(files, mine);
    byId("progress-words").textContent = `Sent ${files.length.toLocaleString("en")} files`;
    await ask(`/selection/${mine.name}/judge`, mine.stop.signal);
    await follow(mine);
    const headings = [...byId("outcome").querySelectorAll("h2")].map((heading) => heading.textContent);
    if (run === mine) say(headings.join(". "));
  } catch (error) {
    if (error.name !== "AbortError") {
      wrong(error instanceof Refused ? error.message : "A file of the folder cannot be read.");
      await erase();
    }
  } finally {
    busy(false);
  }
}

// every file below what was dropped; a folder gives its entries in portions
async function filesIn(entry) {
  if (entry.isFile) return [await new Promise((take, fail) => entry.file(take, fail))];
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const portion = await new Promise((take, fail) => reader.readEntries(take, fail));
    if (!portion.length || found.length > LIMITS.files) return found;
    for (const inner of portion) found.push(...(await filesIn(inner)));
  }
}

drop.addEventListener("dragover", (event) => {
  event.preventDefault();
  drop.toggleAttribute("data-over", !chooser.disabled);
});
drop.addEventListener("dragleave", () => drop.removeAttribute("data-over"));
drop.addEventListener("drop", async (event) => {
  event.preventDefault();
  drop.removeAttribute("data-over");
  if (chooser.disabled) return;
  const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry()).filter(Boolean);
  try {
    const files = [];
    for (const entry of entries) files.push(...(await filesIn(entry)));
    await attempt(files);
  } catch {
    wrong("That folder cannot be read. Choose it with the button instead.");
  }
});
chooser.addEventListener("change", () => {
  const files = [...chooser.files];
  chooser.value = ""; // the same folder can be chosen again
  if (files.length) attempt(files);
});
byId("cancel").addEventListener("click", async () => {
  await erase();
  byId("outcome").replaceChildren();
  say("Cancelled; what was sent is erased.");
  chooser.disabled = false;
  chooser.focus();
});
window.addEventListener("pagehide", () => {
  if (run !== null && run.name) navigator.sendBeacon(`/selection/${run.name}/left`);
  run = null;
});
window.addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload(); // what it showed is erased
});
chooser.disabled = false;
