// Opens series of a study in OHIF as a radiologist would, and says as JSON what the viewer then showed.
//
// usage: node open_series.js '{"address": URL, "browser": PATH, "series": N, "folder": DIR, "profile": DIR, "openings": [OPENING, ...]}'
// OPENING: {"name", "modality", "description" (a part of it), "answer" (a button of the viewer's dialogue, or none),
//           "scroll" (the slice to turn to, counted from 1, or none),
//           "shows" (words over the picture once it is open; by default the description),
//           "until": "listed" | "painted" | "coloured" | "red" | "outlined", "seconds"}
// "until" is waited for, at most "seconds"; what was there in the end is reported in either case.
const puppeteer = require('puppeteer-core');

const CHROMIUM = ['--no-sandbox', '--use-angle=swiftshader', '--enable-unsafe-swiftshader', '--ignore-gpu-blocklist',
  '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync',
  '--disable-dev-shm-usage'];
const SCREEN = { width: 1280, height: 800 };
const THUMBNAILS = '[data-cy="study-browser-thumbnail"], [data-cy="study-browser-thumbnail-no-image"]';

// Runs in the page. A pixel is coloured when its channels differ by more than any grey image's could.
function whatIsShown() {
  const pixels = { painted: 0, coloured: 0, red: 0 };
  for (const canvas of document.querySelectorAll('canvas.cornerstone-canvas')) {
    const context = canvas.width && canvas.height ? canvas.getContext('2d') : null;
    if (!context) continue;
    const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
    for (let i = 0; i < data.length; i += 4) {
      const [r, g, b] = [data[i], data[i + 1], data[i + 2]];
      if (r + g + b > 60) pixels.painted++;
      if (Math.max(r, g, b) - Math.min(r, g, b) > 48) {
        pixels.coloured++;
        if (r > g + 48 && r > b + 48) pixels.red++;
      }
    }
  }
  const overlay = (corner) => [...document.querySelectorAll(`[data-cy="viewport-overlay-${corner}"]`)].map((e) => e.innerText).join(' ');
  const slice = /(\d+)\s*\((\d+)\/(\d+)\)/.exec(overlay('bottom-right'));
  return {
    pixels,
    overlay: overlay('top-left'),
    slice: slice && { instance: Number(slice[1]), index: Number(slice[2]), of: Number(slice[3]) },
    outlines: document.querySelectorAll('svg.svg-layer path, svg.svg-layer polyline, svg.svg-layer line').length,
    measurements: window.services ? window.services.measurementService.getMeasurements().length : 0,
    segments: window.services
      ? window.services.segmentationService.getSegmentations().flatMap((s) => Object.values(s.segments).map((x) => x.label))
      : [],
    text: document.body.innerText,
  };
}

async function clickButton(page, words, seconds) {
  const button = await page.waitForFunction(
    (wanted) => [...document.querySelectorAll('button')].find((b) => b.innerText.trim() === wanted && b.offsetParent),
    { timeout: seconds * 1000, polling: 100 }, words);
  await button.evaluate((b) => b.click());
}

async function thumbnailOf(page, { modality, description }) {
  const found = await page.evaluateHandle((selector, wanted, words) => [...document.querySelectorAll(selector)].find((e) => {
    const label = (name) => (e.querySelector(`[data-cy="series-${name}-label"]`) || {}).innerText || '';
    return label('modality').trim() === wanted && label('description').toLowerCase().includes(words.toLowerCase());
  }), THUMBNAILS, modality, description);
  return found.asElement();
}

async function enter(browser, job, complaints) {
  const page = await browser.newPage();
  page.on('console', (m) => { if (m.type() === 'error') complaints.push(m.text().slice(0, 300)); });
  page.on('pageerror', (e) => complaints.push(String(e).slice(0, 300)));
  await page.setViewport(SCREEN);
  await page.evaluateOnNewDocument(() => localStorage.setItem('shownTours', '["basicViewerTour"]'));
  await page.goto(job.address, { waitUntil: 'domcontentloaded', timeout: 60000 });
  await page.waitForFunction((selector, n) => document.querySelectorAll(selector).length >= n,
    { timeout: 60000, polling: 100 }, THUMBNAILS, job.series);
  // the viewer first shows a choice of its own; a double click before that is lost
  await page.waitForFunction(`(${whatIsShown})().slice`, { timeout: 60000, polling: 250 });
  return page;
}

// Turns the wheel to a slice, counted from 1 in the viewer's order.
async function scroll(page, opening) {
  const seen = (n, words) => `(({ slice, overlay }) => slice && overlay.includes(${JSON.stringify(words)}) && slice.index >= ${n})((${whatIsShown})())`;
  const words = opening.shows ?? opening.description;
  await page.waitForFunction(seen(1, words), { timeout: opening.seconds * 1000, polling: 250 });
  await page.mouse.move(SCREEN.width * 0.6, SCREEN.height * 0.5);
  for (let n = 2; n <= opening.scroll; n++) {
    await page.mouse.wheel({ deltaY: 100 });
    await page.waitForFunction(seen(n, words), { timeout: opening.seconds * 1000, polling: 100 });
  }
}

async function open(page, job, opening) {
  const started = Date.now();
  const thumbnail = await thumbnailOf(page, opening);
  if (!thumbnail) return { name: opening.name, reached: false, why: 'no such series is listed' };
  await thumbnail.evaluate((e) => e.scrollIntoView());
  await thumbnail.click({ count: 2 });
  if (opening.answer) await clickButton(page, opening.answer, opening.seconds);
  if (opening.scroll) await scroll(page, opening);
  const holds = {
    listed: () => true,
    painted: (s) => s.slice && s.pixels.painted > 1000,
    coloured: (s) => s.pixels.coloured > 100,
    red: (s) => s.pixels.red > 100,
    outlined: (s) => s.outlines > 0,
  }[opening.until];
  const inView = (s) => s.overlay.includes(opening.shows ?? opening.description);
  let shown, before, reached = false;
  const deadline = started + opening.seconds * 1000;
  do {  // until it holds and nothing moves any more
    before = shown;
    await new Promise((done) => setTimeout(done, 300));
    shown = await page.evaluate(whatIsShown);
    reached = holds(shown) && inView(shown) && before && JSON.stringify(before) === JSON.stringify(shown);
  } while (!reached && Date.now() < deadline);
  const screenshot = `${job.folder}/${opening.name}.png`;
  await page.screenshot({ path: screenshot });
  return { name: opening.name, ...shown, reached: Boolean(reached), screenshot, seconds: (Date.now() - started) / 1000 };
}

async function main() {
  const job = JSON.parse(process.argv[2]);
  const browser = await puppeteer.launch({
    executablePath: job.browser, headless: true, userDataDir: job.profile,
    args: [...CHROMIUM, `--window-size=${SCREEN.width},${SCREEN.height}`],
  });
  const complaints = [];
  try {
    const page = await enter(browser, job, complaints);
    const listed = await page.$$eval(THUMBNAILS, (all) => all.map((e) => e.innerText.replace(/\s*\n\s*/g, ' | ')));
    const openings = [];
    for (const opening of job.openings) {
      openings.push(await open(page, job, opening).catch((e) => ({ name: opening.name, reached: false, why: String(e) })));
    }
    console.log(JSON.stringify({ listed, openings, complaints }));
  } finally {
    await browser.close();
  }
}

main().catch((error) => { console.error(String(error)); process.exit(1); });
