// Open pages in headless Chromium and photograph them.
// usage: node look.js < JOB      JOB = {base, out, pages: [{name, path, steps: [{...}]}]}, JSON
//   steps: {text, timeout} wait until the page shows this text    {click} click this text
//          {wheel} scroll the viewport so many notches             {settle} wait until the picture stands still
//          {photo} save a picture under this name on the way       {to} scroll OHIF's viewport to this SOP Instance UID
// Prints one JSON list: {name, seconds, text, errors, failed, place}; the pictures are OUT/NAME.png.  `place` is what
// OHIF's viewport shows and where: {image, at}, `at` being the page's (x, y) of the LPS points (0, 0, 0), (1, 0, 0),
// (0, 1, 0), (0, 0, 1) in mm, or null where there is no such viewport.
// playwright-core is found through NODE_PATH; CHROMIUM names the browser (/usr/bin/chromium).
'use strict';
const fs = require('fs');
const { chromium } = require('playwright-core');

// without a GPU: WebGL by software; --no-sandbox because containers run this as root, on loopback pages only
const FLAGS = ['--no-sandbox', '--disable-dev-shm-usage', '--use-angle=swiftshader', '--use-gl=angle',
  '--enable-unsafe-swiftshader', '--ignore-gpu-blocklist', '--enable-webgl'];
const CENTRE = { x: 970, y: 430 };
const STEP_MS = 90000;

async function settle(page) {
  // a viewport that is loaded shows the same picture twice; black while nothing is there is the same picture too,
  // so the caller waits for a text first
  let before = Buffer.alloc(0);
  for (let tries = 0; tries < 30; tries += 1) {
    await page.waitForTimeout(1500);
    const now = await page.screenshot();
    if (now.equals(before)) return;
    before = now;
  }
}

async function wheel(page, notches) {
  await page.mouse.move(CENTRE.x, CENTRE.y);
  for (let notch = 0; notch < Math.abs(notches); notch += 1) {
    await page.mouse.wheel(0, 100 * Math.sign(notches));
    await page.waitForTimeout(120);
  }
}

async function scrollTo(page, uid) {
  const away = (wanted) => {
    const viewport = window.cornerstone.getRenderingEngines().flatMap((engine) => engine.getViewports())[0];
    const images = viewport.getImageIds();
    return images.findIndex((id) => id.includes(`/instances/${wanted}/`)) - images.indexOf(viewport.getCurrentImageId());
  };
  let way = 1; // a volume's slices may run the other way
  for (let tries = 0; tries < 4; tries += 1) {
    const before = await page.evaluate(away, uid);
    if (before === 0) return;
    await wheel(page, way * before);
    await page.waitForTimeout(1000);
    if (Math.abs(await page.evaluate(away, uid)) > Math.abs(before)) way = -way;
  }
  throw new Error('the viewport did not get to the image');
}

async function perform(page, step, out) {
  if (step.text) {
    const seen = (text) => document.body.innerText.includes(text);
    await page.waitForFunction(seen, step.text, { timeout: step.timeout || STEP_MS });
  }
  if (step.click) await page.getByText(step.click, { exact: true }).first().click({ timeout: STEP_MS });
  if (step.wheel) await wheel(page, step.wheel);
  if (step.to) await scrollTo(page, step.to);
  if (step.settle) await settle(page);
  if (step.photo) await page.screenshot({ path: `${out}/${step.photo}.png` });
}

function place() {
  const viewport = window.cornerstone?.getRenderingEngines()?.flatMap((engine) => engine.getViewports())[0];
  if (!viewport?.worldToCanvas || !viewport.getCurrentImageId?.()) return null;
  const box = viewport.canvas.getBoundingClientRect();
  const at = [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]].map((point) => {
    const [x, y] = viewport.worldToCanvas(point);
    return [box.left + x, box.top + y];
  });
  return { image: viewport.getCurrentImageId(), at };
}

async function look(browser, job, { name, path, steps }) {
  const began = Date.now();
  const page = await browser.newPage({ viewport: { width: 1700, height: 850 } });
  const errors = new Set();
  let failed = '';
  // a guided tour would cover the viewport on first use
  await page.addInitScript(() => window.localStorage?.setItem('shownTours', JSON.stringify(['basicViewerTour', 'basicViewerTourOnLoad'])));
  page.on('pageerror', (error) => errors.add(String(error).slice(0, 300)));
  page.on('response', (answer) => { if (answer.status() >= 400) errors.add(`${answer.status()} ${answer.url().slice(0, 200)}`); });
  try {
    await page.goto(job.base + path, { waitUntil: 'load', timeout: STEP_MS });
    for (const step of steps) await perform(page, step, job.out);
  } catch (error) {
    failed = error.message.split('\n')[0];
  }
  await page.screenshot({ path: `${job.out}/${name}.png` });
  const text = (await page.innerText('body')).replace(/\s+/g, ' ');
  const where = await page.evaluate(place).catch(() => null);
  await page.close();
  return { name, seconds: (Date.now() - began) / 1000, text, errors: [...errors], failed, place: where };
}

(async () => {
  const job = JSON.parse(fs.readFileSync(0, 'utf8'));
  fs.mkdirSync(job.out, { recursive: true });
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM || '/usr/bin/chromium', headless: true, args: FLAGS });
  const seen = [];
  for (const page of job.pages) seen.push(await look(browser, job, page));
  await browser.close();
  process.stdout.write(JSON.stringify(seen));
})();
