// Draws the slices of one study (slices.js). Window, overlay and place are this script's own work and ask the node for nothing.
"use strict";

const FIVE_CM_AT = 150; // mm of picture from which the bar stands for 50 mm
const MARK = [255, 196, 0];

const section = document.getElementById("viewer");
const part = (id) => document.getElementById(id);

class Viewer {
  constructor(said) {
    this.said = said;
    this.n = said.positions.length;
    this.index = Math.min(this.n - 1, Math.max(0, said.found?.key ?? Math.floor(this.n / 2)));
    this.drawn = -1;
    this.due = false;
    this.pointer = null;
    this.heat = heats();
    this.slices = new Slices(said, (index, failed) => this.arrived(index, failed));
    for (const id of ["pixels", "overlay"]) {
      part(id).width = said.columns;
      part(id).height = said.rows;
    }
    this.grey = part("pixels").getContext("2d", { alpha: false });
    this.over = part("overlay").getContext("2d");
    this.image = this.grey.createImageData(said.columns, said.rows);
    this.words = new Uint32Array(this.image.data.buffer);
    this.mark = this.over.createImageData(said.columns, said.rows);
    this.markWords = new Uint32Array(this.mark.data.buffer);
    this.frame();
    this.setWindow(80, 40);
    this.control();
    this.slices.want(this.index);
  }

  // What does not change with the slice: shape of the picture, letters, scale, strip.
  frame() {
    const { columns, rows, spacing, letters, found } = this.said;
    const across = columns * spacing[1];
    part("stage").style.setProperty("--ratio", across / (rows * spacing[0]));
    for (const edge of ["left", "right", "top", "bottom"]) part(`letter-${edge}`).textContent = letters[edge];
    const bar = across >= FIVE_CM_AT ? 50 : 10;
    part("scale").style.width = `${(100 * bar) / across}%`;
    part("scale-words").textContent = `${bar} mm`;
    const slider = part("slice");
    slider.max = this.n;
    slider.value = this.index + 1;
    part("not-analysed").hidden = this.said.analysed;
    part("strip").setAttribute("viewBox", `0 0 ${this.n} 1`);
    if (!found) return;
    part("found").hidden = false;
    part("to-key").disabled = found.key === null;
    found.maps.forEach((map, i) => part("layer").append(new Option(map.label, `map${i}`)));
    part("silent").hidden = found.silent.length === 0;
    part("silent-list").append(...found.silent.map((words) => made("li", words)));
    const strip = part("strip");
    found.scores.forEach((score, i) => {
      const bar = svg("rect", { x: i + 0.1, y: 1 - Math.max(0.02, score), width: 0.8, height: Math.max(0.02, score) });
      bar.classList.toggle("is-key", i === found.key);
      strip.append(bar);
    });
    if (found.raise !== null) strip.append(svg("line", { x1: 0, x2: this.n, y1: 1 - found.raise, y2: 1 - found.raise }));
    strip.append(svg("rect", { id: "here", x: this.index, y: 0, width: 1, height: 1 }));
    const dashed = found.raise === null ? "" : ` Dashed: ${found.raise.toFixed(2)}, from which a study as a whole is raised.`;
    part("strip-words").textContent = `Bars: score of each slice, 0 to 1; yellow: key slice.${dashed}`;
    section.classList.add("has-strip");
  }

  go(index) {
    this.index = Math.max(0, Math.min(this.n - 1, index));
    part("slice").value = this.index + 1;
    this.slices.want(this.index);
    this.redraw();
  }

  arrived(index, failed) {
    if (failed) {
      const what = this.slices.gone
        ? "These images are not there any more: the study was read again, or they were removed. Reload the page."
        : "A slice could not be fetched; trying again. Are you still logged in?";
      part("slice-words").textContent = what;
      if (!this.slices.gone) setTimeout(() => this.slices.want(this.index), 2100);
    } else if (index === this.index) this.redraw();
  }

  setWindow(width, level) {
    this.width = Math.max(1, Math.min(4096, Math.round(width)));
    this.level = Math.max(LOWEST, Math.min(HIGHEST, Math.round(level)));
    this.table = greys(this.width, this.level);
    part("width").value = this.width;
    part("level").value = this.level;
    part("window-words").textContent = `W ${this.width} L ${this.level}`;
    for (const button of section.querySelectorAll("[data-window]")) {
      button.setAttribute("aria-pressed", String(button.dataset.window === `${this.width} ${this.level}`));
    }
    this.redraw();
  }

  redraw() {
    if (this.due) return;
    this.due = true;
    requestAnimationFrame(() => {
      this.due = false;
      this.draw();
    });
  }

  // Labels change with the picture and never before it: a slice must not be called by the number of another.
  draw() {
    const hu = this.slices.pixels.get(this.index);
    if (hu === undefined) {
      if (!this.slices.gone) part("slice-words").textContent = `loading slice ${this.index + 1}`;
      return;
    }
    const began = performance.now();
    const { words, table } = this;
    for (let i = 0; i < hu.length; i++) words[i] = table[hu[i] - LOWEST];
    this.grey.putImageData(this.image, 0, 0);
    this.drawMarks();
    this.label();
    this.tellHu();
    if (this.drawn < 0) performance.mark("first-slice");
    this.drawn = this.index;
    section.dispatchEvent(new CustomEvent("drawn", { detail: { slice: this.index, ms: performance.now() - began } }));
  }

  drawMarks() {
    const on = part("overlay-on").checked && this.said.found !== null;
    const map = this.layer();
    if (on && map) return this.drawMap(map);
    const marks = this.slices.marks.get(this.index);
    const shown = on && marks !== undefined && marks.length > 0;
    part("overlay").hidden = !shown;
    if (!shown) return;
    const n = this.words.length;
    const out = this.markWords;
    if (part("layer").value === "heat") {
      for (let i = 0; i < n; i++) out[i] = this.heat[marks[n + i]];
    } else {
      const [red, green, blue] = MARK;
      const colour = (blue << 16) | (green << 8) | red;
      const columns = this.said.columns;
      const inside = (0x40 << 24) | colour; // faint, so that the bleed below is still seen
      const edge = (0xff << 24) | colour;
      for (let i = 0; i < n; i++) {
        const label = marks[i];
        const isEdge = label && (marks[i - 1] !== label || marks[i + 1] !== label || marks[i - columns] !== label || marks[i + columns] !== label);
        out[i] = label ? (isEdge ? edge : inside) : 0;
      }
    }
    this.over.putImageData(this.mark, 0, 0);
  }

  // A coarse map, laid over what of the picture it is about; fetched whole when it is first asked for.
  drawMap(map) {
    const which = map.of_slice[this.index];
    const [, rows, columns] = map.shape;
    if (map.values === undefined) this.fetchMap(map);
    part("overlay").hidden = which < 0 || !map.values;
    if (part("overlay").hidden) return;
    const small = new ImageData(columns, rows);
    const out = new Uint32Array(small.data.buffer);
    for (let i = 0; i < out.length; i++) out[i] = this.heat[map.values[which * out.length + i]];
    const canvas = new OffscreenCanvas(columns, rows);
    canvas.getContext("2d").putImageData(small, 0, 0);
    const [row, column, height, width] = map.box;
    this.over.clearRect(0, 0, this.said.columns, this.said.rows);
    this.over.drawImage(canvas, column, row, width, height);
  }

  async fetchMap(map) {
    map.values = null;
    try {
      map.values = await bytesOf(await fetch(map.address));
    } catch {
      map.values = undefined;
      part("layer-words").textContent = "This map could not be fetched. Choose it again, or reload the page.";
      return;
    }
    this.redraw();
  }

  // The map that is chosen, null for mask and probability.
  layer() {
    const chosen = part("layer").value;
    return chosen.startsWith("map") ? this.said.found.maps[Number(chosen.slice(3))] : null;
  }

  chooseLayer() {
    const map = this.layer();
    part("layer-words").textContent = map ? `${map.by}: ${map.what}. On its own scale; what it used, not what is true. ${map.evidence}.` : "";
    this.redraw();
  }

  // What the overlay has on a slice, in words: an empty overlay must not look like one that is off.
  marked(i) {
    const map = this.layer();
    if (map === null) return this.slices.withMarks.has(i) ? "something is marked" : "nothing is marked";
    if (map.of_slice[i] < 0) return "no map of this slice";
    if (!map.values) return "the map is being fetched";
    const n = map.shape[1] * map.shape[2];
    const speaks = map.values.subarray(map.of_slice[i] * n, (map.of_slice[i] + 1) * n).some((v) => v >= FAINTEST);
    return speaks ? "the map shows something" : "nothing here speaks for it";
  }

  label() {
    const { positions, thickness, found } = this.said;
    const i = this.index;
    part("slice-words").textContent = `slice ${i + 1} of ${this.n}`;
    part("place-words").textContent = `${positions[i].toFixed(1)} mm, ${thickness[i].toFixed(1)} mm thick`;
    let words = "";
    if (found) {
      words = `score ${found.scores[i].toFixed(2)}${i === found.key ? ", key slice" : ""}, ${this.marked(i)}`;
      part("here").setAttribute("x", i);
      part("found-words").textContent = `This slice: ${words}.`;
    }
    const said = `Slice ${i + 1} of ${this.n}${words && ", "}${words}`;
    part("pixels").setAttribute("aria-label", `CT of the head. ${said}`);
    part("slice").setAttribute("aria-valuetext", said);
    clearTimeout(this.saying);
    this.saying = setTimeout(() => (part("viewer-said").textContent = said), 500);
  }

  tellHu() {
    const hu = this.slices.pixels.get(this.drawn);
    const at = this.pointer;
    part("hu-words").textContent = at && hu ? `${hu[at.row * this.said.columns + at.column]} HU` : "";
  }

  control() {
    const stage = part("stage");
    const on = (element, name, act, options) => element.addEventListener(name, act, options);
    on(part("slice"), "input", () => this.go(part("slice").valueAsNumber - 1));
    on(part("strip"), "click", (e) => this.go(Math.floor(((e.clientX - part("strip").getBoundingClientRect().left) / part("strip").clientWidth) * this.n)));
    for (const button of section.querySelectorAll("[data-window]")) {
      on(button, "click", () => this.setWindow(...button.dataset.window.split(" ").map(Number)));
    }
    for (const id of ["width", "level"]) {
      on(part(id), "change", () => this.setWindow(part("width").valueAsNumber || this.width, Number.isNaN(part("level").valueAsNumber) ? this.level : part("level").valueAsNumber));
    }
    on(part("overlay-on"), "input", () => this.redraw());
    on(part("layer"), "input", () => this.chooseLayer());
    on(part("opacity"), "input", () => (part("overlay").style.opacity = part("opacity").valueAsNumber / 100));
    part("overlay").style.opacity = part("opacity").valueAsNumber / 100;
    on(part("to-key"), "click", () => this.goToKey());
    on(stage, "keydown", (e) => this.key(e));
    addKey("j", "next slice", () => this.go(this.index + 1));
    addKey("k", "slice before", () => this.go(this.index - 1));
    addKey("w", "next window", () => this.nextPreset());
    if (this.said.found) addKey("o", "overlay", () => part("overlay-on").click());

    let turned = 0;
    on(stage, "wheel", (e) => {
      if (e.ctrlKey) return; // the browser's zoom
      e.preventDefault();
      turned += e.deltaMode === 0 ? e.deltaY / 50 : e.deltaY;
      const steps = Math.trunc(turned);
      if (steps) this.go(this.index + Math.max(-3, Math.min(3, steps)));
      turned -= steps;
    }, { passive: false });
    on(stage, "contextmenu", (e) => e.preventDefault());
    let drag = null;
    on(stage, "pointerdown", (e) => {
      const windows = e.button === 2;
      drag = { x: e.clientX, y: e.clientY, windows, width: this.width, level: this.level, index: this.index };
      stage.setPointerCapture(e.pointerId);
    });
    on(stage, "pointermove", (e) => {
      const box = part("pixels").getBoundingClientRect();
      const column = Math.floor(((e.clientX - box.left) / box.width) * this.said.columns);
      const row = Math.floor(((e.clientY - box.top) / box.height) * this.said.rows);
      const inside = column >= 0 && row >= 0 && column < this.said.columns && row < this.said.rows;
      this.pointer = inside && e.pointerType === "mouse" ? { column, row } : null;
      if (!drag) return this.tellHu();
      const [x, y] = [e.clientX - drag.x, e.clientY - drag.y];
      if (drag.windows) this.setWindow(drag.width * 1.006 ** x, drag.level + y * Math.max(0.25, this.width / 400));
      else if (e.pointerType === "mouse") this.go(drag.index + Math.round(y / 8));
      else this.go(drag.index + Math.round((x / box.width) * 24)); // sideways, so that a phone's page still scrolls
    });
    for (const name of ["pointerup", "pointercancel"]) on(stage, name, () => (drag = null));
    on(stage, "pointerleave", () => {
      this.pointer = null;
      this.tellHu();
    });
  }

  goToKey() {
    if (this.said.found && this.said.found.key !== null) this.go(this.said.found.key);
  }

  // Letters act on the whole page (keys.js), keys that also scroll it only where the slices have the focus.
  key(e) {
    if (e.ctrlKey || e.altKey || e.metaKey) return;
    const to = {
      ArrowDown: this.index + 1,
      ArrowRight: this.index + 1,
      ArrowUp: this.index - 1,
      ArrowLeft: this.index - 1,
      PageDown: this.index + 5,
      PageUp: this.index - 5,
      Home: 0,
      End: this.n - 1,
    };
    if (!(e.key in to)) return;
    e.preventDefault();
    this.go(to[e.key]);
  }

  nextPreset() {
    const buttons = [...section.querySelectorAll("[data-window]")];
    const now = buttons.findIndex((b) => b.getAttribute("aria-pressed") === "true");
    buttons[(now + 1) % buttons.length].click();
  }
}

function made(name, words) {
  const element = document.createElement(name);
  element.textContent = words;
  return element;
}

function svg(name, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

if (section?.dataset.viewer) new Viewer(JSON.parse(section.dataset.viewer));
