/*
 * Signs people in by a QR code: scangate.start(element, options). What it takes and gives is in scangate.d.ts.
 *
 * At the gateway's own origin a browser has a cookie and waits on an EventSource. A page of another origin gets a secret and
 * reads the stream with fetch. Where neither comes through, it polls. ES5.
 */
(function () {
'use strict';

var SEND_MS = 15000, POLL_MS = 40000, POLL_SECS = 25, MAX_BACKOFF_MS = 15000, TICK_MS = 500, RENEWALS = 5;
// A stream so silent is held back by a proxy.
var SILENCE_MS = 6000;
// After the deadline the gateway may still say so.
var GRACE_MS = 3000;
// A stream may be away so long unsaid.
var AWAY_MS = 1000;
// Two heartbeats and this without a word: the stream is lost, whatever the browser believes.
var LATE_MS = 2000;
var script = own('currentScript') || doc('querySelector', 'script[src*="scangate.js"]');
var home = script instanceof HTMLScriptElement ? script.src.replace(/^(\w+:\/\/[^\/]+).*/, '$1') : location.origin;
// A stream has come through before.
var works = false;
// Streams do not come through: poll from now on.
var silent = false;

function none() { /* nothing */ }

/*
 * Markup that a site lets its users write can take the place of any property of `document` by its name, but not of those
 * of its prototype. So nothing here is asked of `document` itself.
 */
function own(name) {
  var property = Object.getOwnPropertyDescriptor(Document.prototype, name);
  return property && property.get ? property.get.call(document) : document[name];
}

function doc(method, first, second) { return Document.prototype[method].call(document, first, second); }

function parse(json) { try { return JSON.parse(json); } catch (e) { return null; } }

function send(method, url, more, done) {
  var xhr = new XMLHttpRequest();
  xhr.open(method, url, true);
  xhr.timeout = more.timeoutMs || SEND_MS;
  if (more.token) { xhr.setRequestHeader('Authorization', 'Bearer ' + more.token); }
  if (more.body) { xhr.setRequestHeader('Content-Type', 'application/json'); }
  // An edge that cannot reach the gateway is as good as none.
  xhr.onload = function () { done(/50[24]/.test(xhr.status) ? 0 : xhr.status, parse(xhr.responseText), xhr); };
  xhr.onerror = xhr.ontimeout = function () { done(0, null, xhr); };
  xhr.send(more.body ? JSON.stringify(more.body) : null);
  return xhr;
}

/* How long to wait: what the gateway says, or longer each time. */
function pauseMs(xhr, failures) {
  var secs = xhr && parseFloat(xhr.getResponseHeader('Retry-After'));
  return secs > 0 ? secs * 1000 : Math.min(MAX_BACKOFF_MS, 500 * Math.pow(2, failures)) * (0.75 + Math.random() / 4);
}

function start(element, options) {
  var gateway = options.gateway === undefined ? home : options.gateway;
  var code = { ticket: null, client: null, refresh: refresh, stop: stop, take: take };
  var run = 0, renewals = 0, failures = 0, expected = 0, lostAt = 0, retryMs = 3000, lastId = '', secret = '', clock = 0, halt = none;
  var heard = false, heardAt = 0, proved = false, overrun = false, renewOnReturn = false, paint = none, resume = options.resume;
  var bearer = gateway !== location.origin || navigator.cookieEnabled === false;

  // Drops what comes of what was begun before.
  function leave(transport) {
    run += 1;
    halt();
    halt = none;
    code.transport = transport;
  }

  function ours(callback) {
    var mine = run;
    return function () { return mine === run ? callback.apply(null, arguments) : null; };
  }

  function later(callback, ms) { setTimeout(ours(callback), ms); }

  // Returns whether it goes on.
  function tell() {
    var mine = run;
    paint();
    try {
      if (options.onState) { options.onState(code.state, code); }
    } catch (e) { setTimeout(function () { throw e; }, 0); }
    return mine === run;
  }

  function show(state, reason) {
    code.state = state;
    code.reason = reason || state;
    return tell();
  }

  // ---- From its making to its end

  function create() {
    var body = { client_id: options.clientId, flow: options.flow, return_to: options.returnTo };
    if (bearer && !options.token) { body.binding = 'bearer'; }
    withdraw('superseded');
    code.ticket = code.problem = null;
    if (!clock) {
      clock = setInterval(tick, TICK_MS);
      listeners('add');
    }
    if (!show('loading')) { return; }
    if (options.ticket) { made(options.ticket); return; }
    if (resume) { goOn(resume); return; }
    send('POST', gateway + '/v1/tickets?qr=svg', { token: options.token, body: body }, ours(function (status, got, xhr) {
      if (status === 201 && got) { made(got); } else { refused(status, got, xhr); }
    }));
  }

  // With a code that this page made before it was loaded again.
  function goOn(before) {
    resume = null;
    send('GET', gateway + '/v1/tickets/' + before.ticket_id, { token: options.token }, ours(function (status, got) {
      if (status !== 200 || !got || !(got.token || got.state === 'pending' || got.state === 'scanned')) { create(); return; }
      got.client = before.client;
      got.qr = { svg: gateway + got.poll + '/qr.svg' };
      made(got);
    }));
  }

  function made(ticket) {
    secret = options.token || ticket.ticket_secret;
    proved = false;
    lastId = '';
    failures = 0;
    code.client = ticket.client || code.client;
    code.qr = ticket.qr && ticket.qr.svg;
    if (ticket.token) {
      code.ticket = { ticket_id: ticket.ticket_id, revision: 0 };
      take(ticket);
      return;
    }
    adopt(ticket);
    if (ticket.state === 'scanned' ? show('scanned', ticket.number && 'numbered') : show('waiting')) { connect(); }
  }

  // Straight after it was made, the ticket is not this browser's: what proves that did not come back.
  function unkept(problem) {
    end();
    if (!bearer && !options.ticket) {
      bearer = true;
      create();
    } else {
      code.problem = problem;
      show('error', 'unkept');
    }
  }

  // Every report ends here. Revisions make it idempotent.
  function take(news) {
    var old = code.ticket;
    if (news.ticket_id !== old.ticket_id || news.revision < old.revision) { return; }
    setDeadline(news.expires_in);
    if (news.revision === old.revision && news.state === old.state) { return; }
    adopt(news);
    if (news.state === 'scanned') { show('scanned', news.number && 'numbered'); return; }
    end();
    if (news.state === 'cancelled') {
      show(news.reason === 'declined' ? 'declined' : 'cancelled', news.reason);
    } else if (news.token || options.flow === 'share') {
      show('confirmed');
      if (news.token && options.onToken) { options.onToken(news.token, code); }
    } else {
      // Collected elsewhere.
      expired();
    }
  }

  function adopt(ticket) {
    code.ticket = ticket;
    setDeadline(ticket.expires_in);
    code.lifeMs = code.deadline - Date.now();
  }

  function setDeadline(secs) {
    code.deadline = Date.now() + secs * 1000;
    overrun = false;
  }

  function expired() {
    end();
    if (renewals >= (options.renewals === undefined ? RENEWALS : options.renewals)) {
      show('expired');
    } else if (own('hidden') || navigator.onLine === false) {
      // It would run out unseen.
      renewOnReturn = true;
      show('expired', 'away');
    } else {
      renewals += 1;
      create();
    }
  }

  function refused(status, problem, xhr) {
    var passing = !status || status === 429 || status === 503;
    end();
    code.problem = problem || { status: status };
    if (passing) { code.retryAt = Date.now() + pauseMs(xhr, ++failures); }
    show('error', !passing ? 'failed' : status ? 'busy' : 'unreachable');
  }

  function end() {
    leave('');
    code.away = renewOnReturn = false;
    code.deadline = code.retryAt = lostAt = 0;
  }

  function withdraw(reason, leaves) {
    var url = code.transport && !options.ticket && gateway + code.ticket.poll + '?reason=' + reason;
    if (url && leaves && typeof window.fetch === 'function') {
      window.fetch(url, { method: 'DELETE', keepalive: true, headers: secret ? { Authorization: 'Bearer ' + secret } : {} }).then(none, none);
    } else if (url) {
      send('DELETE', url, { token: secret }, none);
    }
    end();
  }

  function refresh() {
    renewals = failures = 0;
    create();
  }

  function stop() {
    withdraw('closed');
    clock = clearInterval(clock);
    listeners('remove');
  }

  // ---- The stream

  function connect() {
    var how = !secret ? window.EventSource && listen : window.ReadableStream && window.TextDecoder && window.AbortController && read;
    if (silent || !how) { poll(); return; }
    leave('sse');
    heard = false;
    heardAt = Date.now();
    expectNews(false);
    // What it needs may be there by name alone.
    try { how(); } catch (e) { poll(); return; }
    tell();
  }

  // What is on show may be old: it is read at once, and what comes after that by a new stream.
  function check() { poll(true); }

  function hear(event) {
    var news = parse(event.data), name = event.event || event.type;
    if (!news || name === 'reconnect') { return; }
    heard = works = proved = true;
    heardAt = Date.now();
    lastId = event.id || lastId;
    if (!touch(false)) { return; }
    if (name === 'expired') { expired(); } else { take(news); }
  }

  function expectNews(opened) {
    var mine = ++expected;
    later(function () {
      if (heard || mine !== expected) { return; }
      // One that is not even opened, where others came through, is a network that is away.
      silent = opened || !works;
      poll(!silent);
    }, SILENCE_MS);
  }

  function listen() {
    var source = new EventSource(gateway + code.ticket.events);
    halt = function () { source.close(); };
    ['heartbeat', 'pending', 'scanned', 'confirmed', 'cancelled', 'expired'].forEach(function (name) { source.addEventListener(name, ours(hear)); });
    source.onopen = ours(function () { expectNews(true); });
    source.onerror = ours(function () {
      lose();
      // Closed for good; the poll finds out why.
      if (source.readyState === 2) { poll(); }
    });
  }

  // What EventSource does, which cannot send a secret.
  function read() {
    var attempt = new window.AbortController(), decoder = new window.TextDecoder(), rest = '', reader;
    var headers = { Authorization: 'Bearer ' + secret };
    function next() {
      return reader.read().then(ours(function (part) {
        if (part.done) { return null; }
        // Lines end with a line feed and nothing else.
        rest = (rest + decoder.decode(part.value, { stream: true })).split('\n\n');
        rest.slice(0, -1).forEach(dispatch);
        rest = rest.pop();
        return next();
      }));
    }
    function again() {
      lose();
      later(read, Math.max(retryMs, failures && pauseMs(null, failures)));
    }
    if (lastId) { headers['Last-Event-ID'] = lastId; }
    halt = function () { attempt.abort(); };
    window.fetch(gateway + code.ticket.events, { headers: headers, cache: 'no-store', signal: attempt.signal }).then(ours(function (response) {
      if (response.status !== 200 || !response.body) { poll(); return null; }
      failures = 0;
      expectNews(true);
      reader = response.body.getReader();
      return next();
    })).then(ours(again), ours(function () { failures += 1; again(); }));
  }

  function dispatch(block) {
    var event = {};
    block.split('\n').forEach(function (line) {
      var at = line.indexOf(': ');
      if (at > 0) { event[line.slice(0, at)] = line.slice(at + 2); }
    });
    retryMs = +event.retry || retryMs;
    // What a page throws is no fault of the connection.
    later(function () { hear(event); }, 0);
  }

  // ---- The poll

  function poll(once) {
    leave('poll');
    if (tell()) { ask(true, once); }
  }

  // The first, also after a failure, does not wait. Asked once, a stream follows.
  function ask(first, once) {
    var asked = Date.now(), before = code.ticket.revision, mine = run;
    var url = gateway + code.ticket.poll + (first ? '' : '?wait=' + POLL_SECS + '&revision=' + before);
    var xhr = send('GET', url, { token: secret, timeoutMs: first ? SILENCE_MS : POLL_MS }, ours(function (status, body) {
      if (status === 200 && body) {
        failures = 0;
        proved = true;
        if (touch(false)) { take(body); }
        if (mine !== run) { return; }
        if (once) { connect(); return; }
        // Never in a tight loop, whatever it answers.
        askAgain(false, first || code.ticket.revision !== before || Date.now() - asked > 2000 ? 0 : 2000);
      } else if (status === 401 || status === 403) {
        refused(status, body);
      } else if (status === 404 && !proved && !options.token && Date.now() < code.deadline) {
        unkept(body);
      } else if (status === 404 || overrun) {
        expired();
      } else {
        lose();
        // What it has waited in vain counts. A browser may have several dead connections, and tries one after the other.
        askAgain(true, Math.max(0, pauseMs(xhr, ++failures) - (first && !status ? Date.now() - asked : 0)), once);
      }
    }));
    halt = function () { xhr.abort(); };
  }

  function askAgain(first, ms, once) { later(function () { ask(first, once); }, ms); }

  // ---- Coming and going

  function listeners(how) {
    how += 'EventListener';
    window[how]('online', online);
    window[how]('offline', offline);
    window[how]('pageshow', cameBack);
    window[how]('pagehide', left);
    doc(how, 'visibilitychange', seen);
  }

  function online() {
    if (code.transport) { check(); } else if (code.retryAt) { create(); } else { tick(); }
  }

  function offline() { touch(!!code.transport); }

  function seen() {
    if (code.transport && !own('hidden')) { check(); } else { tick(); }
  }

  // Out of the page cache: what is on show is old.
  function cameBack(event) {
    if (event.persisted) { if (code.transport) { check(); } else { refresh(); } }
  }

  // Nobody is there any more to be signed in.
  function left(event) {
    if (!event.persisted && !options.resumable) { withdraw('closed', true); }
  }

  function lose() {
    expected += 1;
    lostAt = lostAt || Date.now();
  }

  function touch(away) {
    if (!away) { lostAt = 0; }
    if (code.away === away) { return true; }
    code.away = away;
    return tell();
  }

  function tick() {
    var now = Date.now();
    if (lostAt && now > lostAt + AWAY_MS) { touch(true); }
    if (code.transport === 'sse' && now > heardAt + code.ticket.heartbeat * 2000 + LATE_MS) { check(); }
    if (code.deadline && !overrun && now > code.deadline + GRACE_MS) {
      // Nobody said so.
      overrun = true;
      if (navigator.onLine === false) { expired(); } else { poll(); }
    }
    if (!own('hidden') && (code.retryAt ? now > code.retryAt : renewOnReturn && navigator.onLine !== false)) { create(); }
    paint();
  }

  create();
  if (element) {
    dress(gateway, function () {
      paint = api.look(element, code, options, gateway);
      paint();
    });
  }
  return code;
}

/* The ready-made look is a file of its own. */
function dress(gateway, then) {
  var tag = doc('createElement', 'script');
  if (api.look) { then(); return; }
  tag.src = gateway + '/static/scangate-look.js';
  tag.onload = then;
  tag.onerror = function () { setTimeout(dress, SEND_MS, gateway, then); };
  doc('querySelector', 'head').appendChild(tag);
}

var api = window.scangate = { start: start, send: send, pauseMs: pauseMs, own: own, doc: doc };
}());
