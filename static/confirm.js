/*
 * The confirm page: shows the signed-in person which device asks to sign in, and sends their decision.
 *
 * Opening the page changes nothing. The ticket is scanned only when the person presses a button: here, or the one that has
 * led them to their identity provider and back.
 *
 * Tests and style sheets may rely on data-state (and data-view, the same) on <body>, one of
 *   sign-in | no-identity | ready | scanned | stale | confirmed | declined | mismatch | expired | refused | signed-out | error
 * on data-busy="yes" on <body> while a request is in progress, and on the ids #name, #sign-in, #continue, #other, #confirm,
 *   #decline, #notice, #countdown, #request (each <dd> has data-fact="browser|os|ip|time|release"), #outcome (#outcome-title,
 *   #outcome-detail), #retry, #back, #sign-out; for the number see number.js, for the person see person.js.
 *
 * Needs page.js, request.js, person.js, number.js and outcome.js. ES5 and the browser API of 2014 only.
 */
(function () {
  'use strict';

  var scangate = window.scangate;
  var page = window.scangatePage;
  var person = page.person;
  var byId = page.byId;
  var setText = page.setText;
  var text = page.loadTexts();
  var ticketId = (/\/s\/([A-Za-z0-9_-]{22})\/?$/.exec(location.pathname) || [])[1];

  // The ticket for which this tab has sent the person to their provider because the client asks for a newer or stronger sign-in.
  // It does so once for a ticket: a provider that does not fulfil the wish must not send the person in a circle.
  var RENEWED = 'scangate.renewed';
  var TOO_WEAK = { sign_in_too_old: 'too_old', stronger_sign_in_needed: 'too_weak' };
  var OVER = { confirmed: 1, declined: 1, mismatch: 1, expired: 1, refused: 1 };

  var state = 'loading';
  var request = null;          // the response to the scan: the request to decide on
  var requestedAt = 0;         // by this device's clock
  var deadline = 0;

  function start() {
    person.startForms('ticket=' + ticketId, actions());
    byId('continue').onclick = scan;
    byId('other').onclick = byId('sign-out').onclick = signOut;
    byId('answer').onsubmit = submitAnswer;
    byId('decline').onclick = decline;
    byId('back').onclick = function () { show('scanned'); };
    page.whileVisible(tick);
    if (ticketId) { begin(); } else { expire(); }
  }

  function actions() {
    return { ticket: ticketId, opens: true, signedIn: scan, failed: handleFailure };
  }

  function begin() {
    if (person.hasComeBack(ticketId)) {
      scan();
    } else if (person.isSignedIn()) {
      showPerson();
      show('ready');
    } else {
      requireSignIn(false);
    }
  }

  // ---- The person ----

  function view() {
    return { showForm: function () { show('sign-in'); }, finish: finish };
  }

  function requireSignIn(hasExpired) {
    request = null;
    deadline = 0;
    person.requireSignIn(view(), hasExpired);
  }

  function signOut() {
    var isOver = !!OVER[state];
    person.signOut(function () {
      if (isOver) { finish('signed-out', text.signed_out); } else { requireSignIn(false); }
    }, function (status, problem, xhr) { handleFailure(status, problem, xhr, signOut); });
  }

  // The client asks for a newer or stronger sign-in than the person's.
  function renewSignIn(problem) {
    // A provider from which the person has just come back was asked for it, and did not do it.
    var canHelp = !person.isDemo && !person.hasComeBack(ticketId);
    var isFirst = canHelp && page.stored(RENEWED) !== ticketId;
    if (isFirst && page.store(RENEWED, ticketId)) {
      leaveAgain();
      return;
    }
    finish('stale', text[TOO_WEAK[problem.code]]);
    page.offerAction(scangate.format(text.sign_in_again_with, { name: person.providerName() || text.some_provider }), function () {
      if (person.isDemo) { requireSignIn(true); } else { leaveAgain('login'); }
    });
  }

  function leaveAgain(prompt) {
    page.store(RENEWED, ticketId);
    setText('announcement', scangate.format(text.leaving, { name: person.providerName() }));
    person.openAndLeave(person.provider(), actions(), prompt);
  }

  // ---- The request and the decision ----

  function scan() {
    send('scan', null, scan, function (body) {
      if (body.flow === 'share') {
        // This code shares a sign-in. On the page for that flow, the same person is signed in.
        location.replace('/share/' + ticketId + location.search);
        return;
      }
      person.proven();
      request = body;
      requestedAt = page.toLocalTime((body.requester || {}).created_at);
      deadline = Date.now() + (body.expires_in || 60) * 1000;
      page.applyTheme(request.client);
      showPerson();
      showRequest();
      setText('notice', page.stored(RENEWED) === ticketId ? text.renewed : '');
      show('scanned');
    });
  }

  function submitAnswer(event) {
    var number;
    event.preventDefault();
    if (request.match === 'choose') { return; }
    number = request.match === 'type' ? page.number.readTyped() : null;
    if (number !== '') { confirm(number); }
  }

  function confirm(number) {
    send('confirm', number ? { match: number } : {}, function () { confirm(number); }, function () {
      finish('confirmed', text.confirmed);
    });
  }

  function decline() {
    send('cancel', null, decline, function () { finish('declined', text.declined); });
  }

  function send(action, body, repeat, done) {
    page.post('/v1/tickets/' + ticketId + '/' + action, { body: body || {} }, function (status, got, xhr) {
      if (status === 200 && got) { done(got); } else { handleFailure(status, got, xhr, repeat); }
    });
  }

  function handleFailure(status, problem, xhr, repeat) {
    var code = (problem && problem.code) || '';
    if (status === 401) {
      endSession();
    } else if (status === 404) {
      // Without a session, some requests are those of a stranger, who is not told whether the ticket exists.
      person.check({ ended: endSession, lasts: expire, failed: expire });
    } else if (TOO_WEAK[code]) {
      renewSignIn(problem);
    } else if (status === 409 && code === 'mismatch') {
      finish('mismatch', text.mismatch);
    } else if (status === 409 && code === 'already_scanned') {
      finish('refused', text.taken);
    } else if (status === 403 || status === 409) {
      finish('refused', text.refused);
    } else {
      page.showFailure(finish, status, problem, xhr, repeat);
    }
  }

  function endSession() {
    request = null;
    deadline = 0;
    person.end(view());
  }

  function expire() {
    finish('expired', text.expired);
  }

  function finish(next, texts, detail) {
    var canGoBack = next === 'error' || next === 'stale';
    if (!canGoBack) { deadline = 0; }
    page.writeOutcome(texts, { name: siteName(), provider: person.providerName() || text.some_provider }, detail);
    byId('back').parentNode.hidden = !canGoBack || !request;
    byId('sign-out').parentNode.hidden = !OVER[next] || !person.isSignedIn();
    show(next);
  }

  function tick() {
    // The gateway would refuse a later decision, so the page does not wait for it.
    if (deadline && Date.now() >= deadline && !page.busy) { expire(); }
    showTimes();
  }

  // ---- The views ----

  function show(next) {
    var title;
    state = next;
    page.showView(state);
    showTimes();
    title = moveFocus();
    setText('announcement', title);
    document.title = title + ' · ' + text.title;
  }

  // Moves the focus to the start of the new view, where a screen reader continues. Returns the view's title.
  function moveFocus() {
    var selector = { 'sign-in': '.view-sign-in', ready: '.view-ready', scanned: '.view-scanned' }[state] || '.view-outcome';
    var title = document.querySelector(selector + ' h1');
    (state === 'sign-in' && byId('name') || title).focus();
    return title.textContent;
  }

  // Shows whose sign-in it is: once the code is scanned, the person whose session scanned it.
  function showPerson() {
    var name = ((request && request.scanned_by) || {}).name || person.name();
    setText('ready-heading', name ? scangate.format(text.ready_heading_as, { name: name }) : text.ready_heading);
    setText('scanned-as', name ? scangate.format(text.as, { name: name }) : '');
    setText('initials', page.initials(name || '✓'));
  }

  function showRequest() {
    var requester = request.requester || {};
    var facts = [
      ['browser', requester.browser], ['os', requester.os], ['ip', requester.ip], ['time', page.timeAgo(requestedAt)]
    ];
    if (request.release && request.release.length) { facts.push(['release', page.claimNames(request.release)]); }
    setText('scanned-heading', scangate.format(text.question, { name: siteName() }));
    byId('other-apps').hidden = !request.single_sign_on;
    page.showLogo('logo', request.client);
    page.showFacts(byId('request'), facts);
    page.number.show(request.match, request.choices, confirm);
  }

  function showTimes() {
    var time = document.querySelector('[data-fact="time"]');
    page.showCountdown(deadline);
    if (time && request) { scangate.setContent(time, page.timeAgo(requestedAt)); }
  }

  function siteName() {
    return (request && request.client && request.client.name) || text.some_site;
  }

  start();
}());
