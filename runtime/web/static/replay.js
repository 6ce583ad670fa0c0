// Replay of a stored event: its pictures one after another, at the pace at which they were taken.
let timer;

export function stopReplay() {
  clearTimeout(timer);
}

export function replayOf(event, box, curve) {
  stopReplay();
  const pictures = event.pictures ?? [];
  const image = box.querySelector("img");
  const old = box.querySelector("button");
  const button = old.cloneNode(true); // without the listener for the event before
  old.replaceWith(button);
  box.hidden = pictures.length < 2;
  if (box.hidden) return;

  const mark = markOf(curve, event.curve ?? []);
  const source = ({ number }) => `/events/${event.id}/${number}.jpg`;
  image.src = source(pictures[0]);
  say(false);

  function say(playing) {
    button.textContent = playing ? "Stop" : "Play";
    button.setAttribute("aria-pressed", String(playing));
  }

  function step(index) {
    const picture = pictures[index];
    image.src = source(picture);
    mark(picture.time_s);
    const next = pictures[index + 1];
    const pause = next ? 1000 * (next.time_s - picture.time_s) : 1000;
    timer = setTimeout(() => (next ? step(index + 1) : say(false)), Math.min(pause, 2000));
  }

  button.addEventListener("click", () => {
    stopReplay();
    const playing = button.getAttribute("aria-pressed") === "true";
    say(!playing);
    if (!playing) step(0);
  });
}

// Returns a function that marks a time in the drawing of the confidence.
function markOf(curve, points) {
  const svg = curve.querySelector("svg");
  if (!svg || points.length < 2) return () => {};
  const [first, last] = [points[0][0], points.at(-1)[0]];
  const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
  line.setAttribute("y1", 0);
  line.setAttribute("y2", 100);
  line.setAttribute("visibility", "hidden");
  svg.append(line);
  return (time) => {
    const at = (100 * (time - first)) / Math.max(last - first, 1e-9);
    line.setAttribute("visibility", at < 0 || at > 100 ? "hidden" : "visible");
    line.setAttribute("x1", at);
    line.setAttribute("x2", at);
  };
}
