// The operations page follows by itself: its changing part is asked for every ten seconds, and never under somebody's hands.
"use strict";

const EVERY_MS = 10000;
const page = document.getElementById("operations");

async function refresh() {
  if (document.hidden || page.contains(document.activeElement)) return;
  try {
    const answer = await fetch(page.dataset.fragment, { headers: { accept: "text/html" } });
    if (!answer.ok) throw new Error(String(answer.status));
    const text = await answer.text();
    if (page.contains(document.activeElement)) return;
    page.innerHTML = text;
  } catch {
    document.getElementById("refresh-note").textContent = "The node does not answer: what stands here is old.";
  }
}

setInterval(refresh, EVERY_MS);
