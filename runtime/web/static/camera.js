// This page as a camera: pictures of getUserMedia as JPEG with their times, over a WebSocket.
const FPS = 15;
const WIDTH = 640;

export async function becomeCamera(button) {
  if (button.socket) return button.socket.close();
  let media;
  try {
    media = await navigator.mediaDevices.getUserMedia({ video: { width: WIDTH }, audio: false });
  } catch (error) {
    button.textContent = `No camera: ${error.message}`;
    return undefined;
  }
  const video = document.createElement("video");
  video.srcObject = media;
  video.muted = true;
  await video.play();
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  const socket = new WebSocket(`${scheme}://${location.host}/browser-camera`);
  const canvas = document.createElement("canvas");
  let timer;
  socket.onmessage = (message) => {
    button.textContent = `Stop being ${message.data}`;
    timer = setInterval(() => send(video, canvas, socket), 1000 / FPS);
  };
  socket.onclose = (event) => {
    clearInterval(timer);
    for (const track of media.getTracks()) track.stop();
    button.socket = undefined;
    button.textContent = event.reason || "Use this device's camera";
  };
  button.socket = socket;
  return undefined;
}

function send(video, canvas, socket) {
  // A slow network gets fewer pictures, not later ones.
  if (socket.readyState !== WebSocket.OPEN || socket.bufferedAmount > 200_000) return;
  const seconds = performance.now() / 1000;
  const scale = Math.min(1, WIDTH / video.videoWidth);
  canvas.width = Math.round(video.videoWidth * scale);
  canvas.height = Math.round(video.videoHeight * scale);
  canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
  canvas.toBlob(async (blob) => {
    if (!blob) return;
    const data = new Uint8Array(8 + blob.size);
    new DataView(data.buffer).setFloat64(0, seconds, true);
    data.set(new Uint8Array(await blob.arrayBuffer()), 8);
    if (socket.readyState === WebSocket.OPEN) socket.send(data);
  }, "image/jpeg", 0.8);
}
