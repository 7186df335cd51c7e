/*
 * A code on show: asks for a ticket, shows its code and the time that is left, and asks for another when that is over.
 *
 * scangatePage.code(part) returns what shows it; `part` is what the page itself does:
 *   wish()           what to ask for: { body, token }
 *   made(ticket)     a new code is about to be shown
 *   news(ticket)     the ticket has changed
 *   slots()          what stands in the words for names in braces
 *   shown(view)      a view has been put on show; returns true if it has moved the focus itself
 *   over()           the time is over; returns true if nothing is to follow by itself. May be left out, as may
 *   refused(status)  the gateway does not know the caller; returns true if the page deals with that
 * and the words loading, waiting, expired, away, failed, unreachable, busy (each title and detail), heading, headingTo, qr.
 *
 * ES5 and the browser API of 2014 only.
 */
(function () {
  'use strict';

  var page = window.scangatePage;
  var byId = page.byId;
  var setText = page.setText;

  var MAX_RENEWALS = 5;
  var LOW_SECS = 15;
  var TICK_MS = 500;
  var STOPPED = { expired: 1, declined: 1, cancelled: 1, error: 1 };

  page.code = function (part) {
    var text = page.text;
    var code = { view: 'loading', ticket: null, client: null, create: create, refresh: refresh, show: show, end: end, expire: expire, heading: heading };
    var ring = { path: byId('ring'), length: 0 };
    var run = 0;                 // counts the codes asked for; an answer that belongs to an older one is dropped
    var watch = null;
    var ownHeading = byId('heading').textContent;
    var message = text.loading;  // title and detail
    var detail = '';             // an error's own words, instead of ours
    var renewals = 0;
    var renewOnReturn = false;
    var retryAt = 0;
    var unreachable = false;
    var failures = 0;

    // ---- A ticket from its making to its end ----

    function create() {
      var wish = part.wish();
      var old = watch && code.ticket;
      var mine;
      end();
      mine = ++run;
      if (old) { page.send('DELETE', old.poll + '?reason=superseded', { token: wish.token }, page.ignore); }
      code.ticket = null;
      renewOnReturn = false;
      show('loading', text.loading);
      page.send('POST', '/v1/tickets?qr=svg', wish, function (status, body, xhr) {
        if (mine !== run) { return; }
        if (status === 201 && body && body.qr) { created(body, wish.token); } else { notCreated(status, body, xhr); }
      });
    }

    function created(ticket, token) {
      failures = 0;
      unreachable = false;
      code.ticket = ticket;
      code.client = ticket.client || null;
      setText('heading', heading());
      byId('logo').src = page.logoOf(code.client);
      byId('qr').alt = fill(text.qr);
      byId('qr').src = ticket.qr.svg;
      byId('qr').hidden = false;
      part.made(ticket);
      watch = page.watch(ticket, token, { news: part.news, expired: expired, refused: refused, touch: paint });
      show('waiting', text.waiting);
    }

    function notCreated(status, body, xhr) {
      unreachable = status === 0;
      if (status === 0 || status === 429 || status === 503) {
        failures += 1;
        retryAt = Date.now() + (page.retryAfterMs(body, xhr) || page.backoffMs(failures));
        show('error', unreachable ? text.unreachable : text.busy);
      } else {
        refused(status, body);
      }
    }

    function refused(status, problem) {
      var title = page.lang === 'en' && code.view === 'loading' && problem && problem.title;
      watch = null;
      if (part.refused && part.refused(status)) { return; }
      show('error', [title || text.failed[0], text.failed[1]], problem && problem.detail);
    }

    function expired() {
      code.ticket = watch = null;
      if (part.over && part.over()) {
        return;
      } else if (renewals >= MAX_RENEWALS) {
        show('expired', text.expired);
      } else if (document.hidden || navigator.onLine === false) {
        // Nobody looks, or nobody can be asked: a code made now would run out unseen.
        show('expired', text.away);
        renewOnReturn = true;
      } else {
        renew();
      }
    }

    /* Takes the ticket for expired, whatever the gateway says. */
    function expire() {
      end();
      expired();
    }

    function renew() {
      renewals += 1;
      create();
    }

    function refresh() {
      renewals = failures = 0;
      create();
    }

    /* Ends the waiting; the page has come to an end, or to another beginning. */
    function end() {
      run += 1;
      retryAt = 0;
      if (watch) { watch.close(); }
      watch = null;
    }

    // ---- Coming and going ----

    function cameOnline() {
      if (renewOnReturn) {
        cameIntoView();
      } else if (code.view === 'error' && retryAt) {
        create();
      }
    }

    function cameIntoView() {
      if (document.hidden) { return; }
      if (renewOnReturn && navigator.onLine !== false) { renew(); }
      tick();
    }

    // Back by the history, out of the browser's page cache: what is on show is old.
    function cameBack(event) {
      if (event.persisted) { refresh(); }
    }

    function tick() {
      if (retryAt && Date.now() >= retryAt && !document.hidden) { create(); }
      showCountdown();
    }

    // ---- What is seen ----

    function show(next, words, said) {
      code.view = next;
      message = words;
      detail = said || '';
      paint();
      if (!part.shown(next)) { moveFocus(); }
    }

    function paint() {
      page.showTouch(code.view, !!watch && watch.away);
      setText('title', fill(message[0]));
      setText('detail', detail || fill(message[1]));
      byId('detail').lang = detail ? 'en' : page.lang;
      byId('qr').setAttribute('aria-hidden', code.view === 'waiting' ? 'false' : 'true');
      document.title = code.view === 'waiting' || code.view === 'loading' ? heading() : fill(message[0]) + ' · ' + heading();
      showCountdown();
    }

    function showCountdown() {
      var now = Date.now();
      var deadline = watch ? watch.deadline : 0;
      var left = deadline ? Math.max(0, deadline - now) : 0;
      var secs = Math.ceil(left / 1000);
      var wait = retryAt ? Math.max(0, Math.ceil((retryAt - now) / 1000)) : 0;
      var absent = unreachable || navigator.onLine === false;
      [].forEach.call(document.querySelectorAll('[role="timer"]'), function (timer) {
        page.setContent(timer, deadline ? page.phrase(text.left, { time: page.clock(secs) }) : '');
      });
      byId('stage').setAttribute('data-low', deadline && secs <= LOW_SECS ? 'yes' : 'no');
      ring.path.style.strokeDashoffset = code.view === 'confirmed' ? 0 : ring.length * (1 - Math.min(1, left && watch.lifeMs ? left / watch.lifeMs : 0));
      setText('refresh', code.view !== 'error' ? text.renew : wait && !absent ? page.phrase(text.retry_in, { time: page.clock(wait) }) : text.retry);
      // A gateway that named a time is not to be asked before it; an absent one may be tried at any moment.
      byId('refresh').disabled = wait > 0 && !absent;
    }

    // Focus moves only where it would otherwise be lost: from nowhere, or from a control that has gone.
    function moveFocus() {
      var at = document.activeElement;
      var target = STOPPED[code.view] ? byId('refresh') : byId('heading');
      var lost = at && at !== document.body && !page.isSeen(at);
      if (lost || (target.id === 'refresh' && (!at || at === document.body))) { target.focus(); }
    }

    function heading() {
      return code.client && code.client.name ? page.phrase(text.heading_to, { name: code.client.name }) : ownHeading;
    }

    function fill(words) {
      return page.phrase(words, part.slots());
    }

    ring.length = ring.path.getTotalLength ? ring.path.getTotalLength() : 976;
    ring.path.style.strokeDasharray = ring.length + ' ' + ring.length;
    byId('refresh').onclick = refresh;
    byId('renew').onclick = refresh;
    window.addEventListener('online', cameOnline, false);
    window.addEventListener('pageshow', cameBack, false);
    document.addEventListener('visibilitychange', cameIntoView, false);
    setInterval(tick, TICK_MS);
    return code;
  };
}());
