// Server-Sent Events with Node's http, as they are usually written:
//   node server.js PORT HEARTBEAT_SECONDS FIRST_EVENT_FILE
'use strict';

const { readFileSync } = require('node:fs');
const { createServer } = require('node:http');

const [port, heartbeatSeconds, firstEventFile] = process.argv.slice(2);
const firstEvent = readFileSync(firstEventFile, 'utf8').trim();

const server = createServer((request, response) => {
  if (!request.url.startsWith('/events/')) {
    response.writeHead(404).end();
    return;
  }
  response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' });
  response.write(`event: pending\nid: 1\ndata: ${firstEvent}\n\n`);
  const heartbeat = setInterval(() => response.write(':\n\n'), heartbeatSeconds * 1000);
  request.on('close', () => clearInterval(heartbeat));
});

// The default backlog of 511 would overflow when many streams open at once.
server.listen({ port: Number(port), host: '127.0.0.1', backlog: 4096 });
