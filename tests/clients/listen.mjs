// Waits for a ticket with a library as its documentation says, and prints every event that it makes, a line of JSON for each, and
// what it is answered when it asks: node listen.mjs LIBRARY URL SECRET. It ends when the library has nothing more to wait for.
const [library, url, secret] = process.argv.slice(2);
const headers = { Authorization: `Bearer ${secret}` };
const NAMES = ['message', 'heartbeat', 'reconnect', 'pending', 'scanned', 'confirmed', 'cancelled', 'expired'];

function say(what) {
  console.log(JSON.stringify(what));
}

async function fetchAndSay(input, init) {
  const response = await fetch(input, init);
  say({ status: response.status });
  return response;
}

function listen(source) {
  for (const name of NAMES) {
    source.addEventListener(name, (event) => say({ event: name, id: event.lastEventId, data: event.data }));
  }
}

const LIBRARIES = {
  async eventsource() {
    const { EventSource } = await import('eventsource');
    listen(new EventSource(url, { fetch: (input, init) => fetchAndSay(input, { ...init, headers: { ...init.headers, ...headers } }) }));
  },

  async 'extended-eventsource'() {
    const { EventSource } = await import('extended-eventsource');
    listen(new EventSource(url, { headers, fetch: fetchAndSay }));
  },

  async 'eventsource-client'() {
    const { createEventSource } = await import('eventsource-client');
    createEventSource({ url, headers, fetch: fetchAndSay, onMessage: ({ event, id, data }) => say({ event, id, data }) });
  },

  // It is made for browsers.
  async '@microsoft/fetch-event-source'() {
    globalThis.window = globalThis;
    globalThis.document = { addEventListener() {}, removeEventListener() {} };
    const { fetchEventSource } = await import('@microsoft/fetch-event-source');
    const onmessage = ({ event, id, data }) => say({ event, id, data });
    await fetchEventSource(url, { headers, fetch: fetchAndSay, openWhenHidden: true, onmessage });
  }
};

await LIBRARIES[library]();
