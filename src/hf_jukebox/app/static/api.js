// The interface over HTTP. Every error is an Error whose message is a sentence to show.

async function answer(request) {
  let response;
  try {
    response = await request;
  } catch {
    throw new Error("The server does not answer; is it running?");
  }
  if (response.status === 401) location.href = "/login";
  if (response.status === 204) return null;
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(body.error ?? `The server answered ${response.status}.`);
  return body;
}

export const get = (path) => answer(fetch(path));

export const post = (path, body = {}) =>
  answer(fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) }));

export const remove = (path) => answer(fetch(path, { method: "DELETE" }));

export const upload = (file) =>
  answer(fetch(`/v1/prompts?name=${encodeURIComponent(file.name)}`, { method: "POST", body: file }));

/** Follow the state of a run; returns a function that ends it. */
export function follow(id, show, gone) {
  const source = new EventSource(`/v1/runs/${encodeURIComponent(id)}`);
  source.onmessage = (event) => show(JSON.parse(event.data));
  source.addEventListener("gone", (event) => {
    source.close();
    gone(JSON.parse(event.data).error);
  });
  return () => source.close();
}
