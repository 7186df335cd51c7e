"""Waits for a ticket with a library as its documentation says, and prints every event that it makes, a line of JSON for each:
listen.py LIBRARY URL SECRET. It ends with the last event, as a client should."""

import json
import sys

library, url, secret = sys.argv[1:]
headers = {"Authorization": f"Bearer {secret}"}
# Longer than two heartbeats, which the test has every second.
TIMEOUT = 5


def events():
    if library == "httpx-sse":
        import httpx
        from httpx_sse import connect_sse

        with httpx.Client(timeout=TIMEOUT) as client, connect_sse(client, "GET", url, headers=headers) as source:
            yield from ((event.event, event.id, event.data) for event in source.iter_sse())
    elif library == "sseclient":
        from sseclient import SSEClient

        yield from ((event.event, event.id, event.data) for event in SSEClient(url, headers=headers, timeout=TIMEOUT))
    elif library == "sseclient-py":
        import requests
        from sseclient import SSEClient

        response = requests.get(url, headers=headers, stream=True, timeout=TIMEOUT)
        yield from ((event.event, event.id, event.data) for event in SSEClient(response).events())
    else:
        sys.exit(f"no such library: {library}")


for event, id, data in events():
    print(json.dumps({"event": event, "id": id, "data": data}), flush=True)
    if event in ("confirmed", "cancelled", "expired"):
        break
