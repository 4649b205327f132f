// Talking to the program: requests, streams of pieces, and a queue that keeps strokes in order.

const HEADERS = { "content-type": "application/json", "x-layerscope": "1" };

/** What the program said is wrong, in words for the person. */
export class Refusal extends Error {}

async function checked(response) {
  if (response.ok) return response;
  let text = `The program answered ${response.status}.`;
  try {
    const body = await response.json();
    text = body.error ?? body.detail?.[0]?.msg ?? text;
  } catch {
    if (response.status === 403) text = "This page needs the address that the program printed.";
  }
  throw new Refusal(text);
}

export async function get(path) {
  return (await checked(await fetch(path))).json();
}

export async function getBytes(path) {
  return new Uint8Array(await (await checked(await fetch(path))).arrayBuffer());
}

function posted(path, body, signal) {
  return fetch(path, { method: "POST", headers: HEADERS, body: JSON.stringify(body ?? {}), signal });
}

export async function post(path, body) {
  return (await checked(await posted(path, body))).json();
}

/** Lines of JSON as they come. */
export async function* postLines(path, body) {
  const response = await checked(await posted(path, body));
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) yield JSON.parse(line);
  }
}

/** Frames [head, body] of a binary stream as they come: two lengths, a JSON head, bytes. */
export async function* postFrames(path, body, signal) {
  const response = await checked(await posted(path, body, signal));
  const reader = response.body.getReader();
  let have = new Uint8Array(0);
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    have = have.length ? joinedBytes(have, value) : value;
    for (;;) {
      if (have.length < 8) break;
      const view = new DataView(have.buffer, have.byteOffset);
      const [head, size] = [view.getUint32(0, true), view.getUint32(4, true)];
      if (have.length < 8 + head + size) break;
      const text = new TextDecoder().decode(have.subarray(8, 8 + head));
      yield [JSON.parse(text), have.slice(8 + head, 8 + head + size)];
      have = have.subarray(8 + head + size);
    }
  }
}

function joinedBytes(a, b) {
  const all = new Uint8Array(a.length + b.length);
  all.set(a);
  all.set(b, a.length);
  return all;
}

/**
 * Sends edits one after the other. Where the program does not answer, strokes wait and are sent
 * again: painted twice they are the same. Other edits, and what the program refuses, are told and
 * dropped.
 */
export class EditQueue {
  #waiting = [];
  #running = false;

  /** @param {(text: string, lost: boolean) => void} onTrouble  @param {(n: number) => void} onCount */
  constructor(onTrouble, onCount) {
    this.onTrouble = onTrouble;
    this.onCount = onCount;
  }

  get length() {
    return this.#waiting.length;
  }

  /** Resolves with the answer, or with null where the program refused. */
  send(path, body, again = false) {
    return new Promise((resolve) => {
      this.#waiting.push({ path, body, again, resolve });
      this.onCount(this.length);
      this.#run();
    });
  }

  async #run() {
    if (this.#running) return;
    this.#running = true;
    while (this.#waiting.length) {
      const { path, body, again, resolve } = this.#waiting[0];
      let answer = null;
      try {
        answer = await post(path, body);
      } catch (error) {
        if (!(error instanceof Refusal) && again) {
          this.onTrouble("The program does not answer. What you paint is kept here until it does.", true);
          await new Promise((wake) => setTimeout(wake, 1500));
          continue;
        }
        const refused = error instanceof Refusal;
        this.onTrouble(refused ? error.message : "The program does not answer; nothing was changed.", false);
      }
      this.#waiting.shift();
      this.onCount(this.length);
      resolve(answer);
    }
    this.#running = false;
  }
}
