"use strict";
// The camera and the microphone are asked for on a click, and let go afterwards.
const view = document.getElementById("view");
const state = document.getElementById("state");
const shoot = document.getElementById("shoot");
const echo = document.getElementById("echo");
let stream = null;

const why = (error) => ({
  NotAllowedError: "This page may not use it: allow it in the browser's address bar.",
  NotFoundError: "This device has none.",
  NotReadableError: "Another program is using it.",
}[error.name] || `It cannot be used here (${error.message}); browsers want https or localhost.`);

document.getElementById("on").addEventListener("click", async () => {
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "user", width: { ideal: 1920 }, height: { ideal: 1080 } } });
    view.srcObject = stream;
    await view.play();
    shoot.disabled = false;
    document.getElementById("on").disabled = true;
    state.textContent = "The camera is on.";
  } catch (error) {
    state.textContent = why(error);
  }
});

shoot.addEventListener("click", async () => {
  shoot.disabled = true;
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [view.videoWidth, view.videoHeight];
  canvas.getContext("2d").drawImage(view, 0, 0);
  for (const track of stream.getTracks()) track.stop();
  view.srcObject = null;
  document.getElementById("on").disabled = false;
  const picture = await new Promise((done) => canvas.toBlob(done, "image/png"));
  const form = new FormData();
  form.append("file", picture, `camera-${new Date().toISOString().slice(0, 19).replaceAll(":", "")}.png`);
  state.textContent = "Sending the picture; the camera is off.";
  const task = document.getElementById("task").value;
  const query = task ? `?task=${encodeURIComponent(task)}` : "";
  const answer = await fetch(`/v1/jobs${query}`, { method: "POST", body: form });
  const said = await answer.json();
  if (answer.ok) location.assign(`/r/${said.jobs[0].id}`);
  else state.textContent = said.detail;
});

function wav(chunks, rate) {
  const length = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
  const bytes = new DataView(new ArrayBuffer(44 + 2 * length));
  const text = (at, word) => [...word].forEach((c, k) => bytes.setUint8(at + k, c.charCodeAt(0)));
  text(0, "RIFF"); bytes.setUint32(4, 36 + 2 * length, true); text(8, "WAVEfmt ");
  bytes.setUint32(16, 16, true); bytes.setUint16(20, 1, true); bytes.setUint16(22, 1, true);
  bytes.setUint32(24, rate, true); bytes.setUint32(28, 2 * rate, true);
  bytes.setUint16(32, 2, true); bytes.setUint16(34, 16, true);
  text(36, "data"); bytes.setUint32(40, 2 * length, true);
  let at = 44;
  for (const chunk of chunks) for (const sample of chunk) {
    bytes.setInt16(at, Math.max(-1, Math.min(1, sample)) * 32767, true);
    at += 2;
  }
  return new Blob([bytes], { type: "audio/wav" });
}

document.getElementById("listen").addEventListener("click", async (event) => {
  event.target.disabled = true;
  echo.hidden = true;
  try {
    // Whatever cleans a voice would take the echo away.
    const raw = { echoCancellation: false, noiseSuppression: false, autoGainControl: false, channelCount: 1 };
    const heard = await navigator.mediaDevices.getUserMedia({ audio: raw });
    const context = new AudioContext({ sampleRate: 44100 });
    await context.audioWorklet.addModule("/assets/recorder.js");
    const recorder = new AudioWorkletNode(context, "recorder");
    const chunks = [];
    recorder.port.onmessage = ({ data }) => chunks.push(data);
    context.createMediaStreamSource(heard).connect(recorder);
    const probe = context.createBufferSource();
    const sound = await (await fetch("/assets/chirp.wav")).arrayBuffer();
    probe.buffer = await context.decodeAudioData(sound);
    probe.connect(context.destination);
    state.textContent = "Listening.";
    await new Promise((done) => { probe.onended = done; probe.start(context.currentTime + 0.3); });
    await new Promise((done) => setTimeout(done, 400));
    for (const track of heard.getTracks()) track.stop();
    await context.close();
    echo.href = URL.createObjectURL(wav(chunks, 44100));
    echo.hidden = false;
    state.textContent = "Recorded; the microphone is off.";
  } catch (error) {
    state.textContent = why(error);
  }
  event.target.disabled = false;
});
