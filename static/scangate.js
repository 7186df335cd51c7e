/*
 * Signs people in with a QR code: scangate.start(element, options). scangate.d.ts describes the options and the result.
 *
 * On the gateway's own origin the browser has a cookie, and waits on an EventSource. A page of another origin gets a secret
 * and reads the event stream with fetch. If a page can use neither, it polls. ES5.
 */
(function () {
'use strict';

var SEND_MS = 15000, POLL_MS = 40000, POLL_SECS = 25, MAX_PAUSE_MS = 15000, TICK_MS = 500, RENEWALS = 5,
  // If a new stream delivers no event for this long, a proxy is buffering it.
  STREAM_MS = 6000,
  // The time after the deadline in which the gateway may still report the end.
  GRACE_MS = 3000,
  // The time that a stream may be disconnected before the page shows it.
  AWAY_MS = 1000,
  // A stream without an event for two heartbeats and this time is lost, even if the browser reports no error.
  LATE_MS = 2000;
var script = own('currentScript') || doc('querySelector', 'script[src*="scangate.js"]'),
  origin = script instanceof HTMLScriptElement ? script.src.replace(/^(\w+:\/\/[^\/]+).*/, '$1') : location.origin;
// Whether a stream of this page has ever delivered an event, and whether streams are blocked, so that this page only polls.
var streamed = false, blocked = false;

// The states of a ticket that has not ended, and the one in which its recipient gets the JWT or the code.
var LIVE = { pending: 1, scanned: 1 }, DONE = 'confirmed';

function noop() {}

/*
 * Reads a property of `document` through its prototype. On a site that lets its users write markup, the name of an element
 * can shadow any property of `document`, but none of the prototype. So no other code here uses `document`.
 */
function own(name) {
  var property = Object.getOwnPropertyDescriptor(Document.prototype, name);
  return property && property.get ? property.get.call(document) : document[name];
}

function doc(method, first, second) { return Document.prototype[method].call(document, first, second); }

function parse(json) { try { return JSON.parse(json); } catch (e) { return null; } }

/* Sends a request. `done` gets the status (0 without a response), the parsed body and the XMLHttpRequest. */
function send(method, url, init, done) {
  var xhr = new XMLHttpRequest();
  xhr.open(method, url, true);
  xhr.timeout = init.timeoutMs || SEND_MS;
  if (init.token) { xhr.setRequestHeader('Authorization', 'Bearer ' + init.token); }
  if (init.body) { xhr.setRequestHeader('Content-Type', 'application/json'); }
  // A 502 or 504 comes from a proxy that cannot reach the gateway, so it is treated as no response.
  xhr.onload = function () { done(/50[24]/.test(xhr.status) ? 0 : xhr.status, parse(xhr.responseText), xhr); };
  xhr.onerror = xhr.ontimeout = function () { done(0, null, xhr); };
  xhr.send(init.body ? JSON.stringify(init.body) : null);
  return xhr;
}

/* Returns the time to wait before a retry, in milliseconds: from Retry-After, or without it, longer after each failure. */
function pauseMs(xhr, failures) {
  var secs = xhr && parseFloat(xhr.getResponseHeader('Retry-After'));
  return secs > 0 ? secs * 1000 : Math.min(MAX_PAUSE_MS, 500 * Math.pow(2, failures)) * (0.75 + Math.random() / 4);
}

function start(element, options) {
  var gateway = options.gateway === undefined ? origin : options.gateway;
  var code = { ticket: null, client: null, refresh: refresh, stop: stop, take: take };
  var epoch = 0, renewals = 0, failures = 0, expected = 0, lostAt = 0, retryMs = 3000, lastId = '', secret = '', timer = 0, close = noop,
    received = false, eventAt = 0, bound = false, overdue = false, renewLater = false, render = noop, resume = options.resume;
  // The gateway's page that answers an authorization request needs the cookie.
  var request = options.authorization;
  var bearer = gateway !== location.origin || !request && navigator.cookieEnabled === false;

  // Stops the transport in use. Callbacks of an earlier epoch do nothing.
  function reset(transport) {
    epoch += 1;
    close();
    close = noop;
    code.transport = transport;
  }

  function scoped(callback) {
    var since = epoch;
    return function () { return since === epoch ? callback.apply(null, arguments) : null; };
  }

  function delay(callback, ms) { setTimeout(scoped(callback), ms); }

  // Returns false if the page's callback started or stopped a code.
  function notify() {
    var since = epoch;
    render();
    try {
      if (options.onState) { options.onState(code.state, code); }
    } catch (e) { setTimeout(function () { throw e; }, 0); }
    return since === epoch;
  }

  function enter(state, reason) {
    code.state = state;
    code.reason = reason || state;
    return notify();
  }

  // ---- The ticket, from its creation to its end

  function create() {
    var body = { client_id: options.clientId, flow: options.flow, authorization: request };
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

  // Continues with the code that this page showed before a reload, if the sign-in can still succeed.
  function restore(saved) {
    resume = null;
    send('GET', gateway + '/v1/tickets/' + saved.ticket_id, { token: options.token }, scoped(function (status, got) {
      if (status !== 200 || !got || !LIVE[got.state] && got.state !== DONE) { create(); return; }
      got.client = saved.client;
      got.qr = { svg: gateway + got.poll + '/qr.svg' };
      begin(got);
    }));
  }

  function begin(ticket) {
    secret = options.token || ticket.ticket_secret;
    bound = false;
    lastId = '';
    failures = 0;
    code.client = ticket.client || code.client;
    code.qr = ticket.qr && ticket.qr.svg;
    code.ticket = { ticket_id: ticket.ticket_id };
    if (take(ticket)) { connect(); }
  }

  // The state of a ticket that has not ended.
  function enterLive(ticket) {
    return ticket.state === 'scanned' ? enter('scanned', ticket.number && 'numbered') : enter('waiting', ticket.opened && 'opened');
  }

  // The gateway does not find a ticket that it has just created: the browser did not send the cookie or the secret.
  function unbound(problem) {
    end();
    if (!bearer && !options.ticket && !request) {
      bearer = true;
      create();
    } else {
      code.problem = problem;
      enter('error', 'unkept');
    }
  }

  // Applies a newer revision of the ticket, from the stream, the poll or the page. Older and repeated ones change nothing. Returns
  // whether the code goes on.
  function take(ticket) {
    var old = code.ticket;
    if (ticket.ticket_id !== old.ticket_id || ticket.revision < old.revision) { return; }
    setDeadline(ticket.expires_in);
    if (ticket.revision === old.revision && ticket.state === old.state) { return; }
    update(ticket);
    if (LIVE[ticket.state]) { return enterLive(ticket); }
    end();
    if (ticket.state === 'cancelled') {
      enter(ticket.reason === 'declined' ? 'declined' : 'cancelled', ticket.reason);
    } else if (ticket.state === DONE || options.flow === 'share') {
      enter(DONE);
      if (ticket.token && options.onToken) { options.onToken(ticket.token, code); }
    } else {
      // The JWT was delivered elsewhere.
      expired();
    }
  }

  function update(ticket) {
    code.ticket = ticket;
    setDeadline(ticket.expires_in);
    code.lifeMs = code.deadline - Date.now();
  }

  function setDeadline(secs) {
    code.deadline = Date.now() + secs * 1000;
    overdue = false;
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
    var temporary = !status || status === 429 || status === 503;
    end();
    code.problem = problem || { status: status };
    if (temporary) { code.retryAt = Date.now() + pauseMs(xhr, ++failures); }
    enter('error', !temporary ? 'failed' : status ? 'busy' : 'unreachable');
  }

  function end() {
    reset('');
    code.away = renewLater = false;
    code.deadline = code.retryAt = lostAt = 0;
  }

  function withdraw(reason, closing) {
    var url = code.transport && !options.ticket && gateway + code.ticket.poll + '?reason=' + reason;
    if (url && closing && typeof window.fetch === 'function') {
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
    var open = !secret ? window.EventSource && listen : window.ReadableStream && window.TextDecoder && window.AbortController && read;
    if (blocked || !open) { poll(); return; }
    reset('sse');
    received = false;
    eventAt = Date.now();
    expect(false);
    // A browser may define these names without implementing them.
    try { open(); } catch (e) { poll(); return; }
    notify();
  }

  // Reads the ticket once and then opens a new stream, because the page may be out of date.
  function check() { poll(true); }

  function receive(event) {
    var ticket = parse(event.data), name = event.event || event.type;
    if (!ticket || name === 'reconnect') { return; }
    received = streamed = bound = true;
    eventAt = Date.now();
    lastId = event.id || lastId;
    if (!setAway(false)) { return; }
    if (name === 'expired') { expired(); } else { take(ticket); }
  }

  function expect(opened) {
    var call = ++expected;
    delay(function () {
      if (received || call !== expected) { return; }
      // If streams worked before and this one does not open, the network is down, and streams are not blocked.
      blocked = opened || !streamed;
      poll(!blocked);
    }, STREAM_MS);
  }

  function listen() {
    var source = new EventSource(gateway + code.ticket.events);
    close = function () { source.close(); };
    'heartbeat pending opened scanned confirmed cancelled expired'.split(' ').forEach(function (name) { source.addEventListener(name, scoped(receive)); });
    source.onopen = scoped(function () { expect(true); });
    source.onerror = scoped(function () {
      markLost();
      // EventSource does not reconnect after this; a poll finds out why.
      if (source.readyState === 2) { poll(); }
    });
  }

  // Does the same as EventSource, which cannot send headers.
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
    function retry() {
      markLost();
      delay(read, Math.max(retryMs, failures && pauseMs(null, failures)));
    }
    if (lastId) { headers['Last-Event-ID'] = lastId; }
    close = function () { attempt.abort(); };
    window.fetch(gateway + code.ticket.events, { headers: headers, cache: 'no-store', signal: attempt.signal }).then(scoped(function (response) {
      if (response.status !== 200 || !response.body) { poll(); return null; }
      failures = 0;
      expect(true);
      reader = response.body.getReader();
      return next();
    })).then(scoped(retry), scoped(function () { failures += 1; retry(); }));
  }

  function dispatch(block) {
    var event = {};
    block.split('\n').forEach(function (line) {
      var at = line.indexOf(': ');
      if (at > 0) { event[line.slice(0, at)] = line.slice(at + 2); }
    });
    retryMs = +event.retry || retryMs;
    // Outside the promise, so that an exception in the page's callback is not treated as a lost connection.
    delay(function () { receive(event); }, 0);
  }

  // ---- The poll

  function poll(once) {
    reset('poll');
    if (notify()) { load(true, once); }
  }

  // The first request, and the first after a failure, does not wait for a change. With `once`, a stream follows it.
  function load(first, once) {
    var sentAt = Date.now(), before = code.ticket.revision, since = epoch;
    var url = gateway + code.ticket.poll + (first ? '' : '?wait=' + POLL_SECS + '&revision=' + before);
    var xhr = send('GET', url, { token: secret, timeoutMs: first ? STREAM_MS : POLL_MS }, scoped(function (status, body) {
      if (status === 200 && body) {
        failures = 0;
        bound = true;
        if (setAway(false)) { take(body); }
        if (since !== epoch) { return; }
        if (once) { connect(); return; }
        // After a long poll that returns early without a change, the next one waits 2 s.
        repeat(false, first || code.ticket.revision !== before || Date.now() - sentAt > 2000 ? 0 : 2000);
      } else if (status === 401 || status === 403) {
        refused(status, body);
      } else if (status === 404 && !bound && !options.token && Date.now() < code.deadline) {
        unbound(body);
      } else if (status === 404 || overdue) {
        expired();
      } else {
        markLost();
        // The time of a timed-out request is part of the pause: the browser may try several dead connections in turn.
        repeat(true, Math.max(0, pauseMs(xhr, ++failures) - (first && !status ? Date.now() - sentAt : 0)), once);
      }
    }));
    close = function () { xhr.abort(); };
  }

  function repeat(first, ms, once) { delay(function () { load(first, once); }, ms); }

  // ---- The browser's events

  function listeners(verb) {
    verb += 'EventListener';
    window[verb]('online', online);
    window[verb]('offline', offline);
    window[verb]('pageshow', shown);
    window[verb]('pagehide', hidden);
    doc(verb, 'visibilitychange', visible);
  }

  function online() {
    (code.transport ? check : code.retryAt ? create : tick)();
  }

  function offline() { setAway(!!code.transport); }

  function visible() {
    (code.transport && !own('hidden') ? check : tick)();
  }

  // A page that returns from the back/forward cache shows an old state.
  function shown(event) {
    if (event.persisted) { (code.transport ? check : refresh)(); }
  }

  // Withdraws the code when the page is closed, so that nobody confirms a sign-in to a closed page.
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
    if (lostAt && now > lostAt + AWAY_MS) { setAway(true); }
    if (code.transport === 'sse' && now > eventAt + code.ticket.heartbeat * 2000 + LATE_MS) { check(); }
    if (code.deadline && !overdue && now > code.deadline + GRACE_MS) {
      // The gateway did not report the end in time.
      overdue = true;
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

/* Loads the widget from its own file, and retries until it succeeds. */
function loadWidget(gateway, then) {
  var tag = doc('createElement', 'script');
  if (api.look) { then(); return; }
  tag.src = gateway + '/static/scangate-look.js';
  tag.onload = then;
  tag.onerror = function () { setTimeout(loadWidget, SEND_MS, gateway, then); };
  doc('querySelector', 'head').appendChild(tag);
}

// The widget uses these functions, and defines `look`. Files of two versions meet during a rolling restart, so names stay.
var api = window.scangate = { start: start, send: send, pauseMs: pauseMs, own: own, doc: doc };
}());
