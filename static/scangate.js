/*
 * Signs people in by a QR code: scangate.start(element, options). scangate.d.ts describes options and result.
 *
 * On the gateway's own origin the browser has a cookie, and waits on an EventSource. A page of another origin gets a secret
 * and reads the event stream with fetch. If neither works, it polls. ES5.
 */
(function () {
'use strict';

var SEND_MS = 15000, POLL_MS = 40000, POLL_SECS = 25, MAX_PAUSE_MS = 15000, TICK_MS = 500, RENEWALS = 5;
// A stream without an event for this long is held back by a proxy.
var STREAM_TIMEOUT_MS = 6000;
// How long after the deadline the gateway may still report the end.
var EXPIRY_GRACE_MS = 3000;
// How long a stream may be disconnected before the page says so.
var DISCONNECT_GRACE_MS = 1000;
// A stream without an event for two heartbeats and this long is lost, even if the browser reports no error.
var HEARTBEAT_GRACE_MS = 2000;
var script = own('currentScript') || doc('querySelector', 'script[src*="scangate.js"]');
var defaultGateway = script instanceof HTMLScriptElement ? script.src.replace(/^(\w+:\/\/[^\/]+).*/, '$1') : location.origin;
// Whether an event has ever arrived by a stream.
var hasStreamed = false;
// Whether streams do not get through, so that this page only polls from now on.
var streamsBlocked = false;

function noop() {}

/*
 * Reads a property of `document` through its prototype. On a site that lets its users write markup, an element can shadow
 * any property of `document` by its name, but none of the prototype's. So no code here uses `document` itself.
 */
function own(name) {
  var property = Object.getOwnPropertyDescriptor(Document.prototype, name);
  return property && property.get ? property.get.call(document) : document[name];
}

function doc(method, first, second) { return Document.prototype[method].call(document, first, second); }

function parse(json) { try { return JSON.parse(json); } catch (e) { return null; } }

/* Sends a request. `done` gets the status (0 without an answer), the parsed body and the XMLHttpRequest. */
function send(method, url, options, done) {
  var xhr = new XMLHttpRequest();
  xhr.open(method, url, true);
  xhr.timeout = options.timeoutMs || SEND_MS;
  if (options.token) { xhr.setRequestHeader('Authorization', 'Bearer ' + options.token); }
  if (options.body) { xhr.setRequestHeader('Content-Type', 'application/json'); }
  // A 502 or 504 comes from a proxy that cannot reach the gateway, so it counts as no answer.
  xhr.onload = function () { done(/50[24]/.test(xhr.status) ? 0 : xhr.status, parse(xhr.responseText), xhr); };
  xhr.onerror = xhr.ontimeout = function () { done(0, null, xhr); };
  xhr.send(options.body ? JSON.stringify(options.body) : null);
  return xhr;
}

/* Returns how long to wait before a retry: Retry-After if there is one, otherwise longer after each failure. */
function pauseMs(xhr, failures) {
  var secs = xhr && parseFloat(xhr.getResponseHeader('Retry-After'));
  return secs > 0 ? secs * 1000 : Math.min(MAX_PAUSE_MS, 500 * Math.pow(2, failures)) * (0.75 + Math.random() / 4);
}

function start(element, options) {
  var gateway = options.gateway === undefined ? defaultGateway : options.gateway;
  var code = { ticket: null, client: null, refresh: refresh, stop: stop, take: take };
  var epoch = 0, renewals = 0, failures = 0, expected = 0, lostAt = 0, retryMs = 3000, lastId = '', secret = '', timer = 0, stopTransport = noop;
  var received = false, eventAt = 0, isBound = false, isOverdue = false, renewLater = false, render = noop, resume = options.resume;
  var bearer = gateway !== location.origin || navigator.cookieEnabled === false;

  // Stops the transport in use. Callbacks of an earlier epoch do nothing.
  function reset(transport) {
    epoch += 1;
    stopTransport();
    stopTransport = noop;
    code.transport = transport;
  }

  function scoped(callback) {
    var startedIn = epoch;
    return function () { return startedIn === epoch ? callback.apply(null, arguments) : null; };
  }

  function delay(callback, ms) { setTimeout(scoped(callback), ms); }

  // Returns false if the page's callback has started something else.
  function notify() {
    var startedIn = epoch;
    render();
    try {
      if (options.onState) { options.onState(code.state, code); }
    } catch (e) { setTimeout(function () { throw e; }, 0); }
    return startedIn === epoch;
  }

  function enter(state, reason) {
    code.state = state;
    code.reason = reason || state;
    return notify();
  }

  // ---- The ticket, from its creation to its end

  function create() {
    var body = { client_id: options.clientId, flow: options.flow, return_to: options.returnTo };
    if (bearer && !options.token) { body.binding = 'bearer'; }
    withdraw('superseded');
    code.ticket = code.problem = null;
    if (!timer) {
      timer = setInterval(tick, TICK_MS);
      listeners('add');
    }
    if (!enter('loading')) { return; }
    if (options.ticket) { begin(options.ticket); return; }
    if (resume) { restore(resume); return; }
    send('POST', gateway + '/v1/tickets?qr=svg', { token: options.token, body: body }, scoped(function (status, got, xhr) {
      if (status === 201 && got) { begin(got); } else { refused(status, got, xhr); }
    }));
  }

  // Continues with a code that this page made before it was reloaded, if it is still open.
  function restore(stored) {
    resume = null;
    send('GET', gateway + '/v1/tickets/' + stored.ticket_id, { token: options.token }, scoped(function (status, got) {
      if (status !== 200 || !got || !(got.token || got.state === 'pending' || got.state === 'scanned')) { create(); return; }
      got.client = stored.client;
      got.qr = { svg: gateway + got.poll + '/qr.svg' };
      begin(got);
    }));
  }

  function begin(ticket) {
    secret = options.token || ticket.ticket_secret;
    isBound = false;
    lastId = '';
    failures = 0;
    code.client = ticket.client || code.client;
    code.qr = ticket.qr && ticket.qr.svg;
    if (ticket.token) {
      code.ticket = { ticket_id: ticket.ticket_id, revision: 0 };
      take(ticket);
      return;
    }
    setTicket(ticket);
    if (ticket.state === 'scanned' ? enter('scanned', ticket.number && 'numbered') : enter('waiting')) { connect(); }
  }

  // The gateway does not find a ticket that it has just made: the browser did not send back the cookie or the secret.
  function handleUnboundTicket(problem) {
    end();
    if (!bearer && !options.ticket) {
      bearer = true;
      create();
    } else {
      code.problem = problem;
      enter('error', 'unkept');
    }
  }

  // Takes over a newer revision of the ticket, whichever way it came. Older and repeated ones change nothing.
  function take(ticket) {
    var old = code.ticket;
    if (ticket.ticket_id !== old.ticket_id || ticket.revision < old.revision) { return; }
    setDeadline(ticket.expires_in);
    if (ticket.revision === old.revision && ticket.state === old.state) { return; }
    setTicket(ticket);
    if (ticket.state === 'scanned') { enter('scanned', ticket.number && 'numbered'); return; }
    end();
    if (ticket.state === 'cancelled') {
      enter(ticket.reason === 'declined' ? 'declined' : 'cancelled', ticket.reason);
    } else if (ticket.token || options.flow === 'share') {
      enter('confirmed');
      if (ticket.token && options.onToken) { options.onToken(ticket.token, code); }
    } else {
      // The JWT was handed over elsewhere.
      expired();
    }
  }

  function setTicket(ticket) {
    code.ticket = ticket;
    setDeadline(ticket.expires_in);
    code.lifeMs = code.deadline - Date.now();
  }

  function setDeadline(secs) {
    code.deadline = Date.now() + secs * 1000;
    isOverdue = false;
  }

  function expired() {
    end();
    if (renewals >= (options.renewals === undefined ? RENEWALS : options.renewals)) {
      enter('expired');
    } else if (own('hidden') || navigator.onLine === false) {
      // Nobody would see a new code.
      renewLater = true;
      enter('expired', 'away');
    } else {
      renewals += 1;
      create();
    }
  }

  function refused(status, problem, xhr) {
    var isTemporary = !status || status === 429 || status === 503;
    end();
    code.problem = problem || { status: status };
    if (isTemporary) { code.retryAt = Date.now() + pauseMs(xhr, ++failures); }
    enter('error', !isTemporary ? 'failed' : status ? 'busy' : 'unreachable');
  }

  function end() {
    reset('');
    code.away = renewLater = false;
    code.deadline = code.retryAt = lostAt = 0;
  }

  function withdraw(reason, isUnloading) {
    var url = code.transport && !options.ticket && gateway + code.ticket.poll + '?reason=' + reason;
    if (url && isUnloading && typeof window.fetch === 'function') {
      window.fetch(url, { method: 'DELETE', keepalive: true, headers: secret ? { Authorization: 'Bearer ' + secret } : {} }).then(noop, noop);
    } else if (url) {
      send('DELETE', url, { token: secret }, noop);
    }
    end();
  }

  function refresh() {
    renewals = failures = 0;
    create();
  }

  function stop() {
    withdraw('closed');
    timer = clearInterval(timer);
    listeners('remove');
  }

  // ---- The stream

  function connect() {
    var openStream = !secret ? window.EventSource && listen : window.ReadableStream && window.TextDecoder && window.AbortController && read;
    if (streamsBlocked || !openStream) { poll(); return; }
    reset('sse');
    received = false;
    eventAt = Date.now();
    expectEvent(false);
    // A browser may have the names and lack what is behind them.
    try { openStream(); } catch (e) { poll(); return; }
    notify();
  }

  // Reads the ticket once and then opens a new stream, because what is displayed may be out of date.
  function check() { poll(true); }

  function receive(event) {
    var ticket = parse(event.data), name = event.event || event.type;
    if (!ticket || name === 'reconnect') { return; }
    received = hasStreamed = isBound = true;
    eventAt = Date.now();
    lastId = event.id || lastId;
    if (!setAway(false)) { return; }
    if (name === 'expired') { expired(); } else { take(ticket); }
  }

  function expectEvent(opened) {
    var attempt = ++expected;
    delay(function () {
      if (received || attempt !== expected) { return; }
      // If streams worked before and this one does not even open, the network is down, and streams are not blocked.
      streamsBlocked = opened || !hasStreamed;
      poll(!streamsBlocked);
    }, STREAM_TIMEOUT_MS);
  }

  function listen() {
    var source = new EventSource(gateway + code.ticket.events);
    stopTransport = function () { source.close(); };
    ['heartbeat', 'pending', 'scanned', 'confirmed', 'cancelled', 'expired'].forEach(function (name) { source.addEventListener(name, scoped(receive)); });
    source.onopen = scoped(function () { expectEvent(true); });
    source.onerror = scoped(function () {
      markLost();
      // EventSource does not reconnect after this; the poll learns why.
      if (source.readyState === 2) { poll(); }
    });
  }

  // Does what EventSource does, which cannot send a secret.
  function read() {
    var attempt = new window.AbortController(), decoder = new window.TextDecoder(), rest = '', reader;
    var headers = { Authorization: 'Bearer ' + secret };
    function next() {
      return reader.read().then(scoped(function (part) {
        if (part.done) { return null; }
        // The gateway ends lines with a line feed only.
        rest = (rest + decoder.decode(part.value, { stream: true })).split('\n\n');
        rest.slice(0, -1).forEach(dispatch);
        rest = rest.pop();
        return next();
      }));
    }
    function reconnect() {
      markLost();
      delay(read, Math.max(retryMs, failures && pauseMs(null, failures)));
    }
    if (lastId) { headers['Last-Event-ID'] = lastId; }
    stopTransport = function () { attempt.abort(); };
    window.fetch(gateway + code.ticket.events, { headers: headers, cache: 'no-store', signal: attempt.signal }).then(scoped(function (response) {
      if (response.status !== 200 || !response.body) { poll(); return null; }
      failures = 0;
      expectEvent(true);
      reader = response.body.getReader();
      return next();
    })).then(scoped(reconnect), scoped(function () { failures += 1; reconnect(); }));
  }

  function dispatch(block) {
    var event = {};
    block.split('\n').forEach(function (line) {
      var colon = line.indexOf(': ');
      if (colon > 0) { event[line.slice(0, colon)] = line.slice(colon + 2); }
    });
    retryMs = +event.retry || retryMs;
    // Outside the promise, so that an exception of the page's callback does not count as a lost connection.
    delay(function () { receive(event); }, 0);
  }

  // ---- The poll

  function poll(once) {
    reset('poll');
    if (notify()) { load(true, once); }
  }

  // The first request, also after a failure, is answered at once. With `once`, a stream follows it.
  function load(first, once) {
    var sentAt = Date.now(), before = code.ticket.revision, startedIn = epoch;
    var url = gateway + code.ticket.poll + (first ? '' : '?wait=' + POLL_SECS + '&revision=' + before);
    var xhr = send('GET', url, { token: secret, timeoutMs: first ? STREAM_TIMEOUT_MS : POLL_MS }, scoped(function (status, body) {
      if (status === 200 && body) {
        failures = 0;
        isBound = true;
        if (setAway(false)) { take(body); }
        if (startedIn !== epoch) { return; }
        if (once) { connect(); return; }
        // A long poll that returns early and unchanged is slowed down to one every 2 s.
        repeat(false, first || code.ticket.revision !== before || Date.now() - sentAt > 2000 ? 0 : 2000);
      } else if (status === 401 || status === 403) {
        refused(status, body);
      } else if (status === 404 && !isBound && !options.token && Date.now() < code.deadline) {
        handleUnboundTicket(body);
      } else if (status === 404 || isOverdue) {
        expired();
      } else {
        markLost();
        // A timed-out request has waited already. A browser may hold several dead connections, and tries them in turn.
        repeat(true, Math.max(0, pauseMs(xhr, ++failures) - (first && !status ? Date.now() - sentAt : 0)), once);
      }
    }));
    stopTransport = function () { xhr.abort(); };
  }

  function repeat(first, ms, once) { delay(function () { load(first, once); }, ms); }

  // ---- The browser's events

  function listeners(action) {
    var method = action + 'EventListener';
    window[method]('online', online);
    window[method]('offline', offline);
    window[method]('pageshow', shown);
    window[method]('pagehide', hidden);
    doc(method, 'visibilitychange', visible);
  }

  function online() {
    if (code.transport) { check(); } else if (code.retryAt) { create(); } else { tick(); }
  }

  function offline() { setAway(!!code.transport); }

  function visible() {
    if (code.transport && !own('hidden')) { check(); } else { tick(); }
  }

  // A page from the back/forward cache shows an old state.
  function shown(event) {
    if (event.persisted) { if (code.transport) { check(); } else { refresh(); } }
  }

  // Withdraws the code when the page is closed, so that nobody signs in a page that no longer exists.
  function hidden(event) {
    if (!event.persisted && !options.resumable) { withdraw('closed', true); }
  }

  function markLost() {
    expected += 1;
    lostAt = lostAt || Date.now();
  }

  function setAway(away) {
    if (!away) { lostAt = 0; }
    if (code.away === away) { return true; }
    code.away = away;
    return notify();
  }

  function tick() {
    var now = Date.now();
    if (lostAt && now > lostAt + DISCONNECT_GRACE_MS) { setAway(true); }
    if (code.transport === 'sse' && now > eventAt + code.ticket.heartbeat * 2000 + HEARTBEAT_GRACE_MS) { check(); }
    if (code.deadline && !isOverdue && now > code.deadline + EXPIRY_GRACE_MS) {
      // The gateway did not report the end.
      isOverdue = true;
      if (navigator.onLine === false) { expired(); } else { poll(); }
    }
    if (!own('hidden') && (code.retryAt ? now > code.retryAt : renewLater && navigator.onLine !== false)) { create(); }
    render();
  }

  create();
  if (element) {
    loadWidget(gateway, function () {
      render = api.look(element, code, options, gateway);
      render();
    });
  }
  return code;
}

/* Loads the widget, which is a file of its own, and retries until it has come. */
function loadWidget(gateway, then) {
  var tag = doc('createElement', 'script');
  if (api.look) { then(); return; }
  tag.src = gateway + '/static/scangate-look.js';
  tag.onload = then;
  tag.onerror = function () { setTimeout(loadWidget, SEND_MS, gateway, then); };
  doc('querySelector', 'head').appendChild(tag);
}

var api = window.scangate = { start: start, send: send, pauseMs: pauseMs, own: own, doc: doc };
}());
