// Attention maps over the picture of one camera; only the tile that asks for them costs anything.
const EVERY_MS = 500;
const HINT = "Click a patch of the picture, or choose it with the arrow keys and Enter";
const MOVES = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
let watched; // the one tile that shows maps

export function attentionOf(tile, json) {
  const box = tile.root.querySelector(".attention");
  const button = box.querySelector("button");
  const [choice, time] = box.querySelectorAll("label");
  const [map, back] = box.querySelectorAll("select");
  const cost = box.querySelector(".cost");
  const canvas = tile.root.querySelector("canvas");
  box.hidden = false;
  let timer;
  let asking = false;
  let turn = 0; // an answer to an earlier turn is not shown
  let maps; // the newest answer
  let patch; // the one that was chosen
  let cursor; // the one that the arrow keys are at

  // One request at a time: while one is on its way, the next starts after it.
  async function refresh() {
    clearTimeout(timer);
    const mine = ++turn;
    if (asking) return;
    asking = true;
    try {
      if (tile.visible) await ask(mine);
    } catch (error) {
      if (mine === turn) cost.textContent = error.message;
    } finally {
      asking = false;
      if (watched === tile) timer = setTimeout(refresh, mine === turn ? EVERY_MS : 0);
    }
  }

  async function ask(mine) {
    // The encoder runs again for the map of a patch, and for no other.
    const query = map.value === "patch" && patch !== undefined ? `?patch=${patch}` : "";
    const answer = await json(`${tile.path("attention")}${query}`);
    if (mine !== turn) return;
    maps = answer;
    offer();
    paint();
    const ms = Object.values(maps.cost_ms).reduce((sum, share) => sum + share, 0);
    cost.textContent = map.value === "patch" && !query ? HINT : `${ms.toFixed(0)} ms per map`;
  }

  // A model without one of the directions lacks its map.
  function offer() {
    for (const option of map.options) {
      option.disabled = option.value === "patch" ? !patchesOf(maps) : !gridsOf(maps, option.value);
    }
    if (map.selectedOptions[0]?.disabled) {
      map.value = [...map.options].find((option) => !option.disabled)?.value;
    }
    const count = map.value === "patch" ? 1 : (gridsOf(maps, map.value)?.length ?? 1);
    time.hidden = count < 2;
    if (back.options.length === count) return;
    const kept = Math.min(back.selectedIndex, count - 1);
    const names = [...Array(count).keys()].map((index) => (index ? `${index} before` : "newest"));
    if (count > 1) names[count - 1] = "oldest";
    back.replaceChildren(...names.map((name, index) => new Option(name, index)));
    back.selectedIndex = Math.max(kept, 0);
  }

  function paint() {
    const grids = maps && gridsOf(maps, map.value);
    // The maps of a patch are one for each layer.
    const age = map.value === "patch" ? 0 : back.selectedIndex;
    draw(tile, canvas, grids?.at(-1 - Math.max(age, 0)), maps?.fit);
    const patches = maps && patchesOf(maps);
    if (patches && document.activeElement === canvas) outline(tile, canvas, patches, maps.fit, cursor ?? 0);
  }

  function say() {
    const { rows, cols } = patchesOf(maps);
    canvas.setAttribute("aria-valuemax", rows * cols);
    canvas.setAttribute("aria-valuenow", cursor + 1);
    canvas.setAttribute("aria-valuetext",
      `row ${Math.floor(cursor / cols) + 1}, column ${(cursor % cols) + 1}` +
      `${cursor === patch ? ", chosen" : ""}`);
  }

  function choose(index) {
    patch = cursor = index;
    map.value = "patch";
    say();
    return refresh();
  }

  button.addEventListener("click", () => {
    if (watched === tile) return tile.stopAttention();
    watched?.stopAttention();
    watched = tile;
    button.setAttribute("aria-pressed", "true");
    choice.hidden = canvas.hidden = false;
    return refresh();
  });
  tile.stopAttention = () => {
    if (watched !== tile) return;
    watched = maps = patch = cursor = undefined;
    turn += 1;
    clearTimeout(timer);
    if (map.value === "patch") map.selectedIndex = 0;
    button.setAttribute("aria-pressed", "false");
    choice.hidden = time.hidden = canvas.hidden = true;
    cost.textContent = "";
  };
  map.addEventListener("change", refresh);
  back.addEventListener("change", paint);
  canvas.addEventListener("focus", paint);
  canvas.addEventListener("blur", paint);
  canvas.addEventListener("click", (event) => {
    const patches = maps && patchesOf(maps);
    if (!patches) return;
    const square = squareOf(tile, maps.fit);
    const area = canvas.getBoundingClientRect();
    const column = Math.floor((patches.cols * (event.clientX - area.left - square.left)) / square.width);
    const row = Math.floor((patches.rows * (event.clientY - area.top - square.top)) / square.height);
    if (column < 0 || row < 0 || column >= patches.cols || row >= patches.rows) return;
    choose(row * patches.cols + column);
  });
  canvas.addEventListener("keydown", (event) => {
    const patches = maps && patchesOf(maps);
    if (!patches) return;
    cursor ??= 0;
    if (event.key in MOVES) {
      const [down, right] = MOVES[event.key];
      const row = Math.min(Math.max(Math.floor(cursor / patches.cols) + down, 0), patches.rows - 1);
      const column = Math.min(Math.max((cursor % patches.cols) + right, 0), patches.cols - 1);
      cursor = row * patches.cols + column;
      say();
      paint();
    } else if (event.key === "Enter" || event.key === " ") {
      choose(cursor);
    } else {
      return;
    }
    event.preventDefault(); // the page does not scroll
  });
}

// The grids of a map in order of time, of a patch in order of the layers; undefined: it is lacking.
function gridsOf(maps, name) {
  if (name === "patch") return maps.patch?.listens_to;
  if (name === "segments") return maps.patches_heard ?? undefined;
  if (name === "heard") return maps.segments_heard ?? undefined;
  return Object.entries(maps.read_out).find(([key]) => key.includes(name))?.[1];
}

// A grid of the patches of one frame; motion cells are larger.
function patchesOf(maps) {
  return ["semantic", "heard", "segments"].map((name) => gridsOf(maps, name)).find(Boolean)?.at(-1);
}

// The square of the frame that the model sees, in pixels of the tile.
function squareOf(tile, fit) {
  const [width, height] = [tile.image.clientWidth, tile.image.clientHeight];
  const shape = (tile.image.naturalWidth || 4) / (tile.image.naturalHeight || 3);
  const shownWidth = Math.min(width, height * shape);
  const shownHeight = shownWidth / shape;
  const side = Math.min(shownWidth, shownHeight);
  const [w, h] = fit === "squash" ? [shownWidth, shownHeight] : [side, side];
  return { left: (width - w) / 2, top: (height - h) / 2, width: w, height: h };
}

function draw(tile, canvas, grid, fit) {
  const pen = canvas.getContext("2d");
  canvas.width = tile.image.clientWidth;
  canvas.height = tile.image.clientHeight;
  if (!grid) return;
  const square = squareOf(tile, fit);
  const [low, high] = [Math.min(...grid.values), Math.max(...grid.values)];
  grid.values.forEach((value, index) => {
    const share = (value - low) / Math.max(high - low, 1e-12);
    pen.fillStyle = `rgb(255 ${Math.round(200 * (1 - share))} 0 / ${0.65 * share})`;
    const [row, column] = [Math.floor(index / grid.cols), index % grid.cols];
    pen.fillRect(square.left + (column * square.width) / grid.cols,
      square.top + (row * square.height) / grid.rows,
      square.width / grid.cols + 0.5, square.height / grid.rows + 0.5);
  });
}

// The patch that the arrow keys are at.
function outline(tile, canvas, patches, fit, index) {
  const square = squareOf(tile, fit);
  const [width, height] = [square.width / patches.cols, square.height / patches.rows];
  const [left, top] = [square.left + (index % patches.cols) * width,
    square.top + Math.floor(index / patches.cols) * height];
  const pen = canvas.getContext("2d");
  for (const [color, line] of [["black", 4], ["white", 2]]) {
    pen.strokeStyle = color;
    pen.lineWidth = line;
    pen.strokeRect(left + 2, top + 2, width - 4, height - 4);
  }
}
