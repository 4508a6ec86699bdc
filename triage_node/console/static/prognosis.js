// Brings the prognosis up to date by itself: facts are taken in by another process, a moment after they were stored.
"use strict";

const SOON_MS = 1000; // while facts wait to be taken in
const LATER_MS = 20000; // facts may come from elsewhere as well

async function refreshPrognosis() {
  const shown = document.getElementById("prognosis");
  if (shown === null) return;
  const wasBehind = "behind" in shown.dataset;
  if (document.visibilityState === "visible") {
    try {
      const answer = await fetch(`/fragments/studies/${shown.dataset.uid}/prognosis`);
      if (answer.ok) swapPrognosis(shown, await answer.text());
    } catch {
      // the node is away for a moment; the page's own sign says so if it lasts
    }
  }
  const isBehind = "behind" in (document.getElementById("prognosis")?.dataset ?? {});
  setTimeout(refreshPrognosis, isBehind || wasBehind ? SOON_MS : LATER_MS);
}

function swapPrognosis(shown, html) {
  const fresh = new DOMParser().parseFromString(html, "text/html").getElementById("prognosis");
  if (fresh === null) {
    shown.replaceChildren(); // there is none any more: old figures must not stand
    return;
  }
  // words that did not change stay, so that a selection or a place in them does
  if (fresh.isEqualNode(shown)) return;
  const isNew = "behind" in shown.dataset && !("behind" in fresh.dataset);
  shown.replaceWith(fresh);
  if (isNew) document.getElementById("prognosis-said").textContent = "The prognosis takes in the facts now.";
}

const first = document.getElementById("prognosis");
if (first !== null) setTimeout(refreshPrognosis, "behind" in first.dataset ? SOON_MS : LATER_MS);
