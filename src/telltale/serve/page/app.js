"use strict";
// Sends files a few at a time, tells how far each is, and waits where the server asks for it.
const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
const drop = document.getElementById("drop");
const said = document.getElementById("said");

async function until(id, tell) {
  for (let wait = 200; ; wait = Math.min(wait * 1.3, 2000)) {
    const answer = await fetch(`/v1/jobs/${id}`);
    if (!answer.ok) throw new Error((await answer.json()).detail);
    const job = await answer.json();
    tell(job);
    if (["done", "failed", "cancelled"].includes(job.state)) return job;
    await pause(wait);
  }
}

// A page that was opened before its job was over.
const bar = document.getElementById("bar");
if (bar) {
  const doing = document.getElementById("doing");
  until(bar.dataset.job, (job) => {
    if (job.state === "running") bar.value = job.progress;
    const words = job.state === "queued" ? "Waiting for its turn" : job.doing;
    if (doing.textContent !== words) doing.textContent = words;
  }).then(() => location.reload(), () => location.reload());
}

if (drop) {
  const list = document.getElementById("sending");
  const survival = document.getElementById("survival");
  const task = document.getElementById("task");

  const row = (name) => {
    const line = document.createElement("li");
    const [label, meter, words] = ["span", "progress", "span"].map((kind) => document.createElement(kind));
    label.textContent = name;
    meter.max = 1;
    meter.setAttribute("aria-label", `Progress of ${name}`);
    line.append(label, meter, words);
    list.append(line);
    return { line, label, meter, words };
  };

  const sent = (file, meter) => new Promise((done, failed) => {
    const request = new XMLHttpRequest();
    const asked = task.value ? `&task=${encodeURIComponent(task.value)}` : "";
    request.open("POST", `/v1/jobs?survival=${survival.checked}${asked}`);
    request.upload.onprogress = (event) => { meter.value = event.loaded / event.total / 2; };
    request.onload = () => done(request);
    request.onerror = () => failed(new Error("the server cannot be reached"));
    const form = new FormData();
    form.append("file", file, file.name);
    request.send(form);
  });

  async function send(file) {
    const { label, meter, words } = row(file.webkitRelativePath || file.name);
    try {
      let request;
      for (;;) {
        words.textContent = "sending";
        request = await sent(file, meter);
        if (request.status !== 429) break;
        words.textContent = "the server is busy; waiting";
        await pause(1000 * Number(request.getResponseHeader("Retry-After") || 2));
      }
      const answer = JSON.parse(request.responseText);
      if (request.status !== 202) throw new Error(answer.detail);
      const [{ id }] = answer.jobs;
      const job = await until(id, (now) => {
        meter.value = 0.5 + now.progress / 2;
        words.textContent = now.state === "queued" ? "waiting for its turn" : now.doing;
      });
      const link = document.createElement("a");
      link.href = `/r/${id}`;
      link.textContent = label.textContent;
      label.replaceChildren(link);
      words.textContent = job.says || job.error || job.state;
      words.className = { yes: "yes", "can't tell": "unsure", no: "no" }[job.verdict] || "";
      return job;
    } catch (error) {
      words.textContent = error.message;
      words.className = "yes";
      return null;
    }
  }

  async function sendAll(files) {
    if (!files.length) return;
    said.textContent = `${files.length} ${files.length === 1 ? "file" : "files"} on the way`;
    const rest = [...files];
    const over = [];
    const worker = async () => { while (rest.length) over.push(await send(rest.shift())); };
    await Promise.all([...Array(4)].map(worker));
    const [only] = over;
    if (files.length === 1 && only && only.state === "done") location.assign(`/r/${only.id}`);
    else said.textContent = `${over.filter(Boolean).length} of ${files.length} files scanned`;
    await renew();
  }

  // The history as it is now; what was sent stays listed above it.
  async function renew() {
    const answer = await fetch(location.href);
    if (!answer.ok) return;
    const now = new DOMParser().parseFromString(await answer.text(), "text/html");
    const past = document.getElementById("past").closest("section");
    past.replaceWith(now.getElementById("past").closest("section"));
    watchChoices();
  }

  async function within(entry) {
    if (entry.isFile) return [await new Promise((done, failed) => entry.file(done, failed))];
    const reader = entry.createReader();
    const found = [];
    for (;;) {
      const some = await new Promise((done, failed) => reader.readEntries(done, failed));
      if (!some.length) return found;
      for (const inner of some) if (!inner.name.startsWith(".")) found.push(...await within(inner));
    }
  }

  for (const name of ["files-in", "folder-in"]) {
    const input = document.getElementById(name);
    input.addEventListener("change", () => {
      const chosen = [...input.files].filter((file) => !file.name.startsWith("."));
      input.value = "";
      sendAll(chosen);
    });
  }
  let depth = 0;
  addEventListener("dragenter", () => { depth += 1; drop.classList.add("over"); });
  addEventListener("dragleave", () => { depth -= 1; if (!depth) drop.classList.remove("over"); });
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", async (event) => {
    event.preventDefault();
    depth = 0;
    drop.classList.remove("over");
    const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry()).filter(Boolean);
    const files = [];
    for (const entry of entries) files.push(...await within(entry));
    sendAll(files.length ? files : [...event.dataTransfer.files]);
  });
  addEventListener("paste", (event) => sendAll([...event.clipboardData.files]));

  function watchChoices() {
    const compare = document.getElementById("compare");
    const boxes = [...document.querySelectorAll(".history input[type=checkbox]")];
    const bound = document.getElementById("case");
    const enough = () => {
      const ticked = boxes.filter((box) => box.checked).length;
      compare.disabled = ticked !== 2;
      bound.disabled = ticked === 0;
    };
    for (const box of boxes) box.addEventListener("change", enough);
    if (compare) enough();
  }
  watchChoices();

  const open = document.querySelector("tr[data-state=queued], tr[data-state=running]");
  if (open) until(open.dataset.job, () => {}).then(() => { if (!list.children.length) location.reload(); });
}
