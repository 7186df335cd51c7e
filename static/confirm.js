/*
 * The confirm page: shows the signed-in person which device asks to sign in, and sends their decision.
 *
 * Opening the page changes nothing. The ticket is scanned only when the person presses a button.
 *
 * Tests and style sheets may rely on data-state (and data-view, the same) on <body>, one of
 *   sign-in | no-identity | ready | scanned | confirmed | declined | mismatch | expired | refused | error
 * on data-busy="yes" on <body> while a request is in progress, and on the ids #name, #sign-in, #continue, #other, #confirm,
 *   #decline, #countdown, #request (each <dd> has data-fact="browser|os|ip|time|release"), #outcome (#outcome-title,
 *   #outcome-detail), #retry, #back; for the number see number.js, for the person see person.js.
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
  var ticketId = (/\/s\/([A-Za-z0-9_-]+)\/?$/.exec(location.pathname) || [])[1];

  var state = 'loading';
  var request = null;          // the response to the scan: the request to decide on
  var requestedAt = 0;         // by this device's clock
  var deadline = 0;

  function start() {
    byId('sign-in-form').onsubmit = signIn;
    byId('continue').onclick = scan;
    byId('other').onclick = signOut;
    byId('answer').onsubmit = submitAnswer;
    byId('decline').onclick = decline;
    byId('back').onclick = function () { show('scanned'); };
    page.whileVisible(tick);
    if (ticketId) { begin(); } else { finish('expired', text.expired); }
  }

  function begin() {
    if (person.token) {
      showPerson();
      show('ready');
    } else {
      requireSignIn(false);
    }
  }

  // ---- The person ----

  function signIn(event) {
    if (event) { event.preventDefault(); }
    person.signIn(function () {
      showPerson();
      scan();
    }, function (status, problem, xhr) { handleFailure(status, problem, xhr, signIn); });
  }

  function signOut() {
    person.setToken(null);
    request = null;
    deadline = 0;
    begin();
  }

  function requireSignIn(hasExpired) {
    person.requireSignIn({ showForm: function () { show('sign-in'); }, finish: finish, begin: begin },
      hasExpired, hasExpired ? text.ran_out : text.no_identity);
  }

  // ---- The request and the decision ----

  function scan() {
    send('scan', null, scan, function (body) {
      if (body.flow === 'share') {
        // This code shares a sign-in. On the page for that flow, the same person is signed in.
        location.replace('/share/' + ticketId + location.search);
        return;
      }
      request = body;
      requestedAt = page.toLocalTime((body.requester || {}).created_at);
      deadline = Date.now() + (body.expires_in || 60) * 1000;
      page.applyTheme(request.client);
      showRequest();
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
    page.post('/v1/tickets/' + ticketId + '/' + action, { body: body, token: person.token }, function (status, got, xhr) {
      if (status === 200 && got) { done(got); } else { handleFailure(status, got, xhr, repeat); }
    });
  }

  function handleFailure(status, problem, xhr, repeat) {
    var code = (problem && problem.code) || '';
    if (status === 401) {
      person.setToken(null);
      requireSignIn(true);
    } else if (status === 404) {
      finish('expired', text.expired);
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

  function finish(next, texts, detail) {
    if (next !== 'error') { deadline = 0; }
    page.writeOutcome(texts, { name: siteName() }, detail);
    byId('back').parentNode.hidden = next !== 'error' || !request;
    show(next);
  }

  function tick() {
    // The gateway would refuse a later decision, so the page does not wait for it.
    if (deadline && Date.now() >= deadline && !page.busy) { finish('expired', text.expired); }
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
    var view = { 'sign-in': '.view-sign-in', ready: '.view-ready', scanned: '.view-scanned' }[state] || '.view-outcome';
    var title = document.querySelector(view + ' h1');
    (state === 'sign-in' ? byId('name') : title).focus();
    return title.textContent;
  }

  function showPerson() {
    var name = person.name();
    setText('ready-heading', name ? scangate.format(text.ready_heading_as, { name: name }) : text.ready_heading);
    setText('scanned-as', name ? scangate.format(text.as, { name: name }) : '');
    setText('initials', page.initials(name || '✓'));
    byId('other').parentNode.hidden = !person.isDemo;
  }

  function showRequest() {
    var requester = request.requester || {};
    var facts = [
      ['browser', requester.browser], ['os', requester.os], ['ip', requester.ip], ['time', page.timeAgo(requestedAt)]
    ];
    if (request.release && request.release.length) { facts.push(['release', page.claimNames(request.release)]); }
    setText('scanned-heading', scangate.format(text.question, { name: siteName() }));
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
