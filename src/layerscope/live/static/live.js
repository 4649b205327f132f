// The live view in the browser: shows the drawing that the program made, and says what to do.

const RETRY_MS = 1000;
const view = document.getElementById("view");
const link = document.getElementById("link");
const said = document.getElementById("said");
const buttons = Object.fromEntries(
  ["freeze", "snapshot", "record"].map((name) => [name, document.getElementById(name)]),
);
const painted = { count: 0, number: 0, state: null };
globalThis.layerscope = painted; // what the tests of this page look at

let socket = null;

function connect() {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  socket = new WebSocket(`${scheme}://${location.host}/ws`);
  socket.binaryType = "arraybuffer";
  socket.onopen = () => say("connected", "good");
  socket.onmessage = ({ data }) => (typeof data === "string" ? tell(JSON.parse(data)) : paint(data));
  socket.onclose = () => {
    enable(false);
    say("The program does not answer; trying again.", "bad");
    setTimeout(connect, RETRY_MS);
  };
}

function say(text, kind) {
  link.textContent = text;
  link.className = kind;
}

function enable(on) {
  for (const button of Object.values(buttons)) button.disabled = !on;
}

/** What comes before each picture: its number, and how the session is. */
function tell(state) {
  painted.state = state;
  enable(true);
  buttons.freeze.setAttribute("aria-pressed", state.frozen);
  buttons.record.setAttribute("aria-pressed", state.recording);
  if (said.textContent !== state.said) said.textContent = state.said;
}

/** Show a picture, then ask for the next: a slow browser gets fewer, never old ones. */
async function paint(bytes) {
  const { number } = painted.state;
  try {
    const picture = await createImageBitmap(new Blob([bytes], { type: "image/jpeg" }));
    if (view.width !== picture.width) view.width = picture.width;
    if (view.height !== picture.height) view.height = picture.height;
    view.getContext("2d").drawImage(picture, 0, 0);
    picture.close();
    painted.count += 1;
    painted.number = number;
  } finally {
    send({ seen: number });
  }
}

function send(message) {
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
}

for (const [name, button] of Object.entries(buttons)) {
  button.addEventListener("click", () => {
    send({ do: name });
    button.blur(); // else the space bar would press it again
  });
}

const KEYS = { " ": "freeze", s: "snapshot", r: "record" };

addEventListener("keydown", (event) => {
  const name = KEYS[event.key.toLowerCase()];
  if (!name || event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  send({ do: name });
});

connect();
