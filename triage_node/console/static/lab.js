// Moving a threshold replays the node's recent studies at once. Without this script the form does the same with its button.
"use strict";

(() => {
  const form = document.getElementById("trial");
  const parts = { replay: document.getElementById("replay"), queue: document.getElementById("queue") };
  const said = document.getElementById("said");
  const QUEUE_AFTER_MS = 500;
  let asking = null;
  let later = 0;

  const trial = () => {
    const told = new URLSearchParams(new FormData(form));
    told.delete("why");
    told.delete("replaces");
    return told;
  };

  const draw = async (part, told, signal) => {
    parts[part].setAttribute("aria-busy", "true");
    const answer = await fetch(`/fragments/lab/${part}?${told}`, { signal, credentials: "same-origin" });
    const text = await answer.text();
    parts[part].removeAttribute("aria-busy");
    if (answer.ok) {
      parts[part].innerHTML = text;
      return "";
    }
    try {
      return JSON.parse(text).error;
    } catch {
      const page = new DOMParser().parseFromString(text, "text/html");
      return page.querySelector("h1")?.textContent ?? "The node did not answer.";
    }
  };

  const replay = async () => {
    asking?.abort();
    clearTimeout(later);
    asking = new AbortController();
    const { signal } = asking;
    const told = trial();
    try {
      const wrong = await draw("replay", told, signal);
      said.textContent = wrong || parts.replay.querySelector("[data-summary]").dataset.summary;
      if (wrong) return;
      history.replaceState(null, "", `/lab?${told}`);
      later = setTimeout(() => draw("queue", told, signal).catch(ended), QUEUE_AFTER_MS);
    } catch (error) {
      ended(error);
    }
  };

  // a newer question took its place
  const ended = (error) => {
    if (error.name !== "AbortError") {
      for (const part of Object.values(parts)) part.removeAttribute("aria-busy");
      said.textContent = "The node did not answer. Try again.";
    }
  };

  for (const slider of form.querySelectorAll("input.slider")) {
    const number = document.getElementById(slider.dataset.for);
    slider.hidden = false;
    slider.value = number.value || slider.min;
    slider.addEventListener("input", () => {
      number.value = slider.value;
      replay();
    });
    number.addEventListener("input", () => {
      if (number.value) slider.value = number.value.replace(",", ".");
      replay();
    });
  }
  for (const field of form.querySelectorAll(".fields input")) field.addEventListener("change", replay);
  // another scope has other points to begin with
  form.elements.scope.addEventListener("change", () => {
    location.assign(`/lab?${new URLSearchParams({ scope: form.elements.scope.value })}`);
  });

  const file = document.querySelector("input[data-into]");
  if (file) {
    file.closest("label").hidden = false;
    file.addEventListener("change", async () => {
      if (file.files[0]) file.form.elements[file.dataset.into].value = await file.files[0].text();
    });
  }
})();
