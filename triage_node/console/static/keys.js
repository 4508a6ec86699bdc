// One-letter keys for what is on the page anyway: a key presses the button, follows the link or goes to the field that carries
// it as aria-keyshortcuts. They never work while somebody types, beside Ctrl, Alt or Meta, or while a dialog is open, and can be
// switched off (WCAG 2.2, 2.1.4): a screen reader and dictation have letters of their own.
"use strict";

const KEYS_OFF = "triage-keys-off";
const moreKeys = new Map();

function keysAreOff() {
  return localStorage.getItem(KEYS_OFF) === "yes";
}

function addKey(key, words, act) {
  moreKeys.set(key, { words, act });
}

function carrier(key) {
  return [...document.querySelectorAll(`[aria-keyshortcuts="${CSS.escape(key)}"]`)].find((e) => !e.disabled && e.checkVisibility());
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.defaultPrevented || event.repeat && event.key.length > 1) return;
  if (event.target.closest("input, select, textarea, dialog, [contenteditable]")) {
    if (event.key === "Escape" && event.target.matches("input[type=search]")) event.target.blur();
    return;
  }
  if (event.key === "?") {
    event.preventDefault();
    showKeys();
    return;
  }
  if (keysAreOff() || (event.key === "Enter" && event.target.closest("a, button, summary"))) return;
  const found = carrier(event.key);
  if (found !== undefined) {
    event.preventDefault();
    if (event.repeat) return;
    if (found.matches("input, select")) found.focus();
    else found.click();
  } else if (moreKeys.has(event.key)) {
    event.preventDefault();
    moreKeys.get(event.key).act();
  }
});

for (const back of document.querySelectorAll('a.back[href="/"]')) {
  back.href = `/${sessionStorage.getItem("triage-list") ?? ""}`;
}

const keysHelp = document.getElementById("keys-help");

function showKeys() {
  const list = keysHelp.querySelector("dl");
  const carried = [...document.querySelectorAll("[aria-keyshortcuts]")]
    .filter((e) => e.checkVisibility())
    .map((e) => [e.getAttribute("aria-keyshortcuts"), e.dataset.keyWords ?? [...e.childNodes].filter((n) => n.nodeName !== "KBD").map((n) => n.textContent).join("").trim()]);
  const all = [...[...moreKeys].map(([key, { words }]) => [key, words]), ...carried, ["?", "these keys"]];
  list.replaceChildren(
    ...all.map(([key, words]) => {
      const [line, dt, dd, kbd] = ["div", "dt", "dd", "kbd"].map((name) => document.createElement(name));
      kbd.textContent = key;
      dd.textContent = words;
      dt.append(kbd);
      line.append(dt, dd);
      return line;
    }),
  );
  document.getElementById("keys-on").checked = !keysAreOff();
  keysHelp.showModal();
}

const showKeysButton = document.getElementById("show-keys");
showKeysButton.hidden = false;
showKeysButton.addEventListener("click", showKeys);
document.getElementById("keys-on").addEventListener("change", (event) => {
  localStorage.setItem(KEYS_OFF, event.target.checked ? "no" : "yes");
});
