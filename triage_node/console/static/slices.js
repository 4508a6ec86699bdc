// The slices of one study in this page's memory, and the tables that turn HU and heat into colours. Pixels come as packed HU
// (report/display.py), one request a slice, nearest to the one looked at first.
"use strict";

const LOWEST = -1024;
const HIGHEST = 3071;
const AT_ONCE = 4; // requests under way
const KEPT = 400; // slices in memory; the farthest go first
const FAINTEST = 13; // of 255: less of a heat is not drawn

class Slices {
  constructor(said, changed) {
    this.said = said;
    this.changed = changed;
    this.pixels = new Map();
    this.marks = new Map();
    this.asked = new Set();
    this.gone = false;
    this.here = 0;
    this.size = said.rows * said.columns;
    this.withMarks = new Set(said.found?.slices ?? []);
  }

  // Fetches what is nearest to `here` first, until everything that fits is there.
  want(here) {
    this.here = here;
    const n = this.said.positions.length;
    for (let away = 0; away < n && this.asked.size < AT_ONCE; away++) {
      for (const index of away ? [here + away, here - away] : [here]) {
        if (index < 0 || index >= n || 2 * away > KEPT || this.asked.size >= AT_ONCE) continue;
        if (!this.pixels.has(index)) this.fetch(index, `${index}`, this.pixels, (bytes) => unpacked(bytes, this.size));
        else if (this.withMarks.has(index) && !this.marks.has(index)) {
          this.fetch(index, `${index}/findings`, this.marks, (bytes) => bytes);
        }
      }
    }
  }

  async fetch(index, name, into, made) {
    if (this.gone || this.asked.has(name)) return;
    this.asked.add(name);
    try {
      const answer = await fetch(this.said.address + name);
      if (answer.status === 404) this.gone = true;
      into.set(index, made(await bytesOf(answer)));
      for (const old of into.keys()) {
        if (into.size <= KEPT) break;
        if (Math.abs(old - this.here) > KEPT / 2) into.delete(old);
      }
      this.asked.delete(name);
      this.changed(index);
    } catch {
      setTimeout(() => this.asked.delete(name), 2000); // then it may be asked for again
      this.changed(index, true);
      return;
    }
    this.want(this.here);
  }
}

// The body of an answer that is what was asked for: whoever was logged out is led to a page with a login, which is no slice.
async function bytesOf(answer) {
  if (!answer.ok || answer.headers.get("content-type") !== "application/octet-stream") throw new Error(`status ${answer.status}`);
  return new Uint8Array(await answer.arrayBuffer());
}

function unpacked(bytes, n) {
  if (bytes.length !== 2 * n) throw new Error("not a whole slice");
  const hu = new Int16Array(n);
  for (let i = 0, value = 0; i < n; i++) {
    const coded = bytes[i] | (bytes[n + i] << 8);
    value += (coded >> 1) ^ -(coded & 1);
    hu[i] = value;
  }
  return hu;
}

// Grey of every HU under a window (PS3.3 C.11.2.1.2.1, linear), as one word of an ImageData.
function greys(width, level) {
  const table = new Uint32Array(HIGHEST - LOWEST + 1);
  for (let i = 0; i < table.length; i++) {
    const share = width > 1 ? (i + LOWEST - level + 0.5) / (width - 1) + 0.5 : i + LOWEST <= level - 0.5 ? 0 : 1;
    const grey = Math.max(0, Math.min(255, Math.round(share * 255)));
    table[i] = 0xff000000 | (grey << 16) | (grey << 8) | grey;
  }
  return table;
}

// From dark red by orange to a light yellow, more opaque with more probability.
function heats() {
  const table = new Uint32Array(256);
  for (let v = FAINTEST; v < 256; v++) {
    const share = v / 255;
    const red = Math.round(150 + 105 * Math.min(1, share * 1.6));
    const green = Math.round(225 * share ** 1.3);
    const blue = Math.round(150 * share ** 4);
    table[v] = (Math.round(90 + 165 * share) << 24) | (blue << 16) | (green << 8) | red;
  }
  return table;
}
