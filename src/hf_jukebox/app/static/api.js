// The interface over HTTP. Every error is an Error whose message is a sentence to show; `isAnswer` says that it is the
// server's own. While the server does not answer, the page says so, whichever request it was.

const connection = document.getElementById("connection");
const GATEWAY = [502, 503, 504]; // answers of a proxy in front of a server that does not answer

async function answer(request) {
  const response = await request.catch(() => null);
  const isGone = response === null || GATEWAY.includes(response.status);
  const text = isGone ? "The server does not answer; trying again." : "";
  if (connection.textContent !== text) connection.textContent = text;
  if (isGone) throw new Error("The server does not answer; is it running?");
  if (response.status === 401) location.href = "/login";
  if (response.status === 204) return null;
  const body = await response.json().catch(() => ({}));
  if (response.ok) return body;
  throw Object.assign(new Error(body.error ?? `The server answered ${response.status}.`), { isAnswer: true });
}

export const get = (path) => answer(fetch(path));

export const post = (path, body = {}) =>
  answer(fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) }));

export const remove = (path) => answer(fetch(path, { method: "DELETE" }));

/** Upload a recording; `progressed` gets the share that has been sent (`fetch` would not say). */
export const upload = (file, progressed) =>
  answer(new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", `/v1/prompts?name=${encodeURIComponent(file.name)}`);
    request.upload.onprogress = (event) => progressed(event.loaded / event.total);
    request.onload = () => resolve(new Response(request.response, { status: request.status }));
    request.onerror = reject;
    request.send(file);
  }));
