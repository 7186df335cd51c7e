/*
 * Waits for news of a ticket: by an event stream where that comes through, otherwise by a long poll.
 *
 * scangatePage.watch(ticket, token, told) begins at once. The caller is a browser with the binding cookie, or has a bearer
 * token, which EventSource cannot send: then the stream is read with fetch, by the rules of EventSource. `told` is asked to
 *   news(ticket)     take the ticket as it is now; told once for each change
 *   expired()        know that it is over; the watch has ended
 *   refused(status, problem)  know that the caller is refused; the watch has ended
 *   touch()          look at `away` again
 * While it lasts, data-transport on <body> is sse or poll.
 *
 * ES5 and the browser API of 2014, but for what bearerStream finds to be there.
 */
(function () {
  'use strict';

  var page = window.scangatePage;

  var SILENCE_MS = 6000;       // a stream that is silent for so long is held back by a buffering proxy
  var GRACE_MS = 3000;         // how long after the deadline the gateway may still say so itself
  var BANNER_MS = 1000;        // a stream that is back within this was never worth a banner
  var LOOK_MS = 500;
  var POLL_WAIT_SECS = 25;
  var POLL_TIMEOUT_MS = 40000;
  var RETRY_MS = 3000;         // until the gateway names another time

  var silent = false;          // streams do not come through here: poll from now on

  page.watch = function (ticket, token, told) {
    var watch = { deadline: 0, lifeMs: 0, away: false, close: close };
    var revision = ticket.revision;
    var state = ticket.state;
    var closed = false;
    var overrun = false;       // the deadline has passed and the gateway has been asked about it
    var failures = 0;
    var stream = null;
    var request = null;
    var timers = {};
    var clock = setInterval(look, LOOK_MS);

    // Every report, from the stream or from a poll, ends here. Revisions make it idempotent.
    function take(news) {
      if (news.ticket_id !== ticket.ticket_id || news.revision < revision) { return; }
      setDeadline(news.expires_in);
      if (news.revision === revision && news.state === state) { return; }
      revision = news.revision;
      state = news.state;
      watch.lifeMs = watch.deadline - Date.now();
      told.news(news);
    }

    function setDeadline(secs) {
      if (typeof secs !== 'number') { return; }
      watch.deadline = Date.now() + secs * 1000;
      overrun = false;
    }

    function expired() {
      close();
      told.expired();
    }

    // ---- The stream ----

    function openStream() {
      var source = stream = token ? bearerStream(ticket.events, token) : new EventSource(ticket.events);
      var heard = false;

      function hear(event) {
        var news = page.parse(event.data);
        if (source !== stream || !news) { return; }
        heard = true;
        clearTimeout(timers.silence);
        backInTouch();
        if (event.type === 'expired') { expired(); } else { take(news); }
      }

      function listenForSilence() {
        clearTimeout(timers.silence);
        timers.silence = setTimeout(function () {
          silent = true;
          openPoll();
        }, SILENCE_MS);
      }

      document.body.setAttribute('data-transport', 'sse');
      ['pending', 'scanned', 'confirmed', 'cancelled', 'expired'].forEach(function (name) {
        source.addEventListener(name, hear, false);
      });
      source.onopen = function () {
        if (source === stream && !heard) { listenForSilence(); }
      };
      source.onerror = function () {
        if (source !== stream) { return; }
        clearTimeout(timers.silence);
        outOfTouch();
        // Closed for good. The poll finds out why, and goes on if there was no good reason.
        if (source.readyState === 2) { openPoll(); }
      };
      listenForSilence();
    }

    // ---- The poll ----

    function openPoll() {
      leave();
      document.body.setAttribute('data-transport', 'poll');
      poll(true);
    }

    // The first one, and the first after a failure, does not wait: it tells at once whether the ticket still lives.
    function poll(first) {
      var asked = Date.now();
      var before = revision;
      var url = ticket.poll + (first ? '' : '?wait=' + POLL_WAIT_SECS + '&revision=' + revision);
      request = page.send('GET', url, { token: token, timeoutMs: first ? 0 : POLL_TIMEOUT_MS }, function (status, body, xhr) {
        if (xhr !== request) { return; }
        request = null;
        if (status === 200 && body) {
          failures = 0;
          backInTouch();
          take(body);
          // A gateway that answers at once with nothing new must not be asked in a tight loop.
          pollAgain(false, first || body.revision !== before || Date.now() - asked > 2000 ? 0 : (ticket.interval || 2) * 1000);
        } else {
          pollFailed(status, body, xhr);
        }
      });
    }

    function pollFailed(status, body, xhr) {
      if (status === 404) {
        expired();
      } else if (status === 401 || status === 403) {
        close();
        told.refused(status, body);
      } else if (overrun) {
        expired();
      } else {
        failures += 1;
        outOfTouch();
        pollAgain(true, page.retryAfterMs(body, xhr) || page.backoffMs(failures));
      }
    }

    function pollAgain(first, afterMs) {
      if (closed) { return; }
      clearTimeout(timers.poll);
      timers.poll = setTimeout(function () { poll(first); }, afterMs);
    }

    // ---- Coming and going ----

    function connect() {
      leave();
      if (!silent && (token ? canReadStreams() : window.EventSource)) { openStream(); } else { openPoll(); }
    }

    function leave() {
      var old = request;
      if (stream) { stream.close(); }
      stream = request = null;
      if (old) { old.abort(); }
      Object.keys(timers).forEach(function (name) { clearTimeout(timers[name]); });
      timers = {};
      document.body.removeAttribute('data-transport');
    }

    function close() {
      if (closed) { return; }
      closed = true;
      leave();
      clearInterval(clock);
      window.removeEventListener('online', connect, false);
      window.removeEventListener('offline', wentOffline, false);
      watch.deadline = 0;
      watch.away = false;
    }

    // Not put off by the next failure: tries may follow each other faster than the banner comes.
    function outOfTouch() {
      timers.banner = timers.banner || setTimeout(wentOffline, BANNER_MS);
    }

    function wentOffline() {
      watch.away = true;
      told.touch();
    }

    function backInTouch() {
      clearTimeout(timers.banner);
      timers.banner = 0;
      if (watch.away) {
        watch.away = false;
        told.touch();
      }
    }

    // The gateway did not say that the time is over (a dead connection, a laptop that slept): it is asked.
    function look() {
      if (overrun || !watch.deadline || Date.now() < watch.deadline + GRACE_MS) { return; }
      overrun = true;
      if (navigator.onLine === false) { expired(); } else { openPoll(); }
    }

    setDeadline(ticket.expires_in);
    watch.lifeMs = watch.deadline - Date.now();
    window.addEventListener('online', connect, false);
    window.addEventListener('offline', wentOffline, false);
    connect();
    return watch;
  };

  /* Shows that the connection is away, in words and in data-state, which is the view's name otherwise. */
  page.showTouch = function (view, lost) {
    page.showView(view, lost ? 'offline' : view);
    page.setText('banner', !lost ? '' : navigator.onLine === false ? page.text.offline : page.text.reconnecting);
  };

  function canReadStreams() {
    return !!(window.fetch && window.ReadableStream && window.TextDecoder && window.AbortController);
  }

  /* What EventSource is, for somebody who has a bearer token. */
  function bearerStream(url, token) {
    var source = { readyState: 0, onopen: page.ignore, onerror: page.ignore, addEventListener: listen, close: stop };
    var listeners = {};
    var lastId = '';
    var retryMs = RETRY_MS;
    var failures = 0;
    var attempt = null;
    var timer = 0;

    function listen(name, listener) {
      listeners[name] = listener;
    }

    function stop() {
      var old = attempt;
      source.readyState = 2;
      attempt = null;
      clearTimeout(timer);
      if (old) { old.abort(); }
    }

    function open() {
      var mine = attempt = new window.AbortController();
      var headers = { 'Accept': 'text/event-stream', 'Authorization': 'Bearer ' + token };
      if (lastId) { headers['Last-Event-ID'] = lastId; }
      source.readyState = 0;
      window.fetch(url, { headers: headers, cache: 'no-store', signal: mine.signal }).then(function (response) {
        if (mine !== attempt) { return null; }
        // EventSource gives up on anything else as well, and on a body that cannot be read there is nothing to wait for.
        if (response.status !== 200 || !response.body || !response.body.getReader) { return giveUp(); }
        source.readyState = 1;
        failures = 0;
        source.onopen();
        return read(response.body.getReader(), mine);
      }).then(function () { lost(mine); }, function () { failures += 1; lost(mine); });
    }

    function read(reader, mine) {
      var decoder = new window.TextDecoder();
      var rest = '';
      function next(part) {
        var blocks;
        if (mine !== attempt || part.done) { return null; }
        // The gateway ends lines with a line feed and nothing else.
        blocks = (rest + decoder.decode(part.value, { stream: true })).split('\n\n');
        rest = blocks.pop();
        blocks.forEach(function (block) {
          if (mine === attempt) { dispatch(block); }
        });
        return mine === attempt ? reader.read().then(next) : null;
      }
      return reader.read().then(next);
    }

    function dispatch(block) {
      var event = { type: 'message', data: '' };
      block.split('\n').forEach(function (line) {
        var field = /^(event|data|id|retry): ?(.*)$/.exec(line);
        if (!field) { return; }
        if (field[1] === 'event') { event.type = field[2]; }
        if (field[1] === 'data') { event.data += (event.data && '\n') + field[2]; }
        if (field[1] === 'id') { lastId = field[2]; }
        if (field[1] === 'retry' && /^\d+$/.test(field[2])) { retryMs = +field[2]; }
      });
      // Apart from the reading: what a listener throws is the page's fault and not the connection's.
      setTimeout(function () {
        if (source.readyState !== 2 && event.data && listeners[event.type]) { listeners[event.type](event); }
      }, 0);
    }

    function lost(mine) {
      if (mine !== attempt) { return; }
      attempt = null;
      source.readyState = 0;
      timer = setTimeout(open, Math.max(retryMs, failures ? page.backoffMs(failures) : 0));
      source.onerror();
    }

    function giveUp() {
      stop();
      source.onerror();
      return null;
    }

    open();
    return source;
  }
}());
