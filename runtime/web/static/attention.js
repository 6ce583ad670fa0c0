// Attention maps over the picture of one camera; only the tile that asks for them costs anything.
const EVERY_MS = 500;
let watched; // the one tile that shows maps

export function attentionOf(tile, json) {
  const box = tile.root.querySelector(".attention");
  const button = box.querySelector("button");
  const choice = box.querySelector("label");
  const canvas = tile.root.querySelector("canvas");
  box.hidden = false;
  let patch;

  async function refresh() {
    if (watched !== tile) return;
    try {
      const query = patch === undefined ? "" : `?patch=${patch}`;
      const maps = await json(`${tile.path("attention")}${query}`);
      draw(tile, canvas, chosen(maps, choice.querySelector("select").value), maps.fit);
      const cost = Object.values(maps.cost_ms).reduce((sum, ms) => sum + ms, 0);
      box.querySelector(".cost").textContent = `${cost.toFixed(0)} ms per map`;
    } catch (error) {
      box.querySelector(".cost").textContent = error.message;
    }
    setTimeout(refresh, EVERY_MS);
  }

  button.addEventListener("click", () => {
    if (watched && watched !== tile) watched.stopAttention();
    if (watched === tile) return tile.stopAttention();
    watched = tile;
    button.setAttribute("aria-pressed", "true");
    choice.hidden = canvas.hidden = false;
    return refresh();
  });
  tile.stopAttention = () => {
    watched = undefined;
    button.setAttribute("aria-pressed", "false");
    choice.hidden = canvas.hidden = true;
    box.querySelector(".cost").textContent = "";
  };
  canvas.addEventListener("click", (event) => {
    const square = squareOf(tile, canvas.fit);
    const area = canvas.getBoundingClientRect();
    const column = Math.floor((canvas.columns * (event.clientX - area.left - square.left)) / square.width);
    const row = Math.floor((canvas.rows * (event.clientY - area.top - square.top)) / square.height);
    if (column < 0 || row < 0 || column >= canvas.columns || row >= canvas.rows) return;
    patch = row * canvas.columns + column;
    choice.querySelector("select").value = "patch";
  });
}

function chosen(maps, name) {
  if (name === "patch") return maps.patch?.listens_to.at(-1);
  if (name === "segments") return maps.patches_heard?.at(-1);
  if (name === "heard") return maps.segments_heard?.at(-1);
  const found = Object.entries(maps.read_out).find(([key]) => key.includes(name));
  return found?.[1].at(-1);
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
  canvas.rows = grid.rows;
  canvas.columns = grid.cols;
  canvas.fit = fit;
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
