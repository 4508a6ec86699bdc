// Says what a person says of a study without leaving the page, so that slice and window stay where they are, and tells the
// node that an image was drawn: the viewer's "drawn" event, nothing else, while somebody can see it.
"use strict";

const parts = () => document.getElementById("feedback-parts");
const spoken = document.getElementById("feedback-status");

async function swapFeedback() {
  const { uid } = parts().dataset;
  const answer = await fetch(`/fragments/studies/${uid}/feedback`, { cache: "no-store" });
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("feedback-parts");
  const open = parts().querySelector("details")?.open;
  const typed = ["feedback-subtype", "feedback-text"].map((id) => [id, document.getElementById(id)?.value ?? ""]);
  const focused = parts().contains(document.activeElement) ? document.activeElement.id : "";
  parts().replaceWith(fresh);
  for (const [id, value] of typed) {
    const field = document.getElementById(id);
    if (field) field.value = value;
  }
  const details = fresh.querySelector("details");
  if (details && open) details.open = true;
  if (focused) (document.getElementById(focused) ?? fresh.querySelector("button"))?.focus({ preventScroll: true });
  countDown();
}

async function say(form, said) {
  const fields = new FormData(form);
  const body = { said, revision: Number(fields.get("revision")), subtype: fields.get("subtype") ?? "", text: fields.get("text") ?? "" };
  const address = `/api/studies/${parts().dataset.uid}/feedback`;
  const way =
    said === "undo"
      ? { method: "DELETE" }
      : { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  try {
    const answer = await fetch(address, way);
    const told = await answer.json();
    if (answer.ok) {
      spoken.textContent = said === "undo" ? "Taken back." : `Stored: ${said}.`;
      const text = document.getElementById("feedback-text");
      if (text && said !== "undo") text.value = "";
    } else spoken.textContent = told.error;
    await swapFeedback();
  } catch {
    spoken.textContent = "The node did not answer. Nothing may have been stored: look again before you rely on it.";
  }
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!parts().contains(form) || !event.submitter) return;
  event.preventDefault();
  say(form, event.submitter.value);
});

// Enter in the words must not press the first button, which would say that the study is being read
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && event.target.id === "feedback-text") event.preventDefault();
});

async function shown() {
  const { uid, revision, shown: known } = parts().dataset;
  if (known === "yes" || document.visibilityState !== "visible") return;
  parts().dataset.shown = "yes";
  const answer = await fetch(`/studies/${uid}/shown`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ revision: Number(revision) }),
  });
  if (answer.ok) await swapFeedback();
  else parts().dataset.shown = "no";
}

document.getElementById("viewer")?.addEventListener("drawn", shown);
// drawn before this script ran, or while nobody could see it
const wasDrawn = () => performance.getEntriesByName("first-slice").length > 0;
if (wasDrawn()) shown();
document.addEventListener("visibilitychange", () => {
  if (wasDrawn()) shown();
});

let counting = 0;

function countDown() {
  clearInterval(counting);
  const until = performance.now() + 1000 * Number(parts().dataset.undoSeconds);
  counting = setInterval(() => {
    const left = Math.ceil((until - performance.now()) / 1000);
    const words = document.getElementById("undo-left");
    if (words === null || left <= 0) {
      clearInterval(counting);
      document.getElementById("act-undo")?.closest(".undo").remove();
    } else words.textContent = left;
  }, 1000);
}

countDown();
