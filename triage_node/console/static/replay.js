// What came of a replay appears by itself; without scripts the page says the same when it is loaded again.
"use strict";

const trials = document.getElementById("trials");
const EVERY_MS = 2000;

async function follow() {
  if (!("open" in trials.dataset)) return;
  try {
    const answer = await fetch(trials.dataset.address, { credentials: "same-origin" });
    if (answer.ok) {
      trials.innerHTML = await answer.text();
      const open = trials.querySelector("[data-open-trial]") !== null;
      if (!open) {
        delete trials.dataset.open;
        document.getElementById("replay-said").textContent = trials.querySelector("h2").textContent;
        return;
      }
    }
  } catch {
    // the node restarts: ask again
  }
  setTimeout(follow, EVERY_MS);
}

setTimeout(follow, EVERY_MS);
