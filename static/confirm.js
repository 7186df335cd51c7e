/*
 * The confirm page: shows a signed-in person who asks for a sign-in, and takes their answer.
 *
 * Opening it changes nothing. A ticket is scanned only when the person goes on by a button.
 *
 * What tests and style sheets may rely on: data-state (and data-view, the same) on <body>, one of
 *   sign-in | no-identity | ready | scanned | confirmed | declined | mismatch | expired | refused | error
 * and the ids #name, #sign-in, #continue, #other, #confirm, #decline, #countdown, #request (each <dd> has
 *   data-fact="browser|os|ip|time|release"), #outcome (#outcome-title, #outcome-detail), #retry, #back; for the
 *   number see number.js, for who is signed in see person.js.
 * data-busy="yes" stands on <body> while an answer is awaited.
 *
 * Needs page.js, person.js, number.js and outcome.js. ES5 and the browser API of 2014 only.
 */
(function () {
  'use strict';

  var page = window.scangatePage;
  var person = page.person;
  var byId = page.byId;
  var setText = page.setText;
  var text = page.begin();
  var ticketId = (/\/s\/([A-Za-z0-9_-]+)\/?$/.exec(location.pathname) || [])[1];

  var state = 'loading';
  var asked = null;            // the answer to the scan: who asks for what
  var askedAt = 0;             // in this device's time
  var deadline = 0;

  function start() {
    byId('sign-in-form').onsubmit = signIn;
    byId('continue').onclick = scan;
    byId('other').onclick = forget;
    byId('answer').onsubmit = answer;
    byId('decline').onclick = decline;
    byId('back').onclick = function () { show('scanned'); };
    page.eachSecond(tick);
    if (ticketId) { welcome(); } else { finish('expired', text.expired); }
  }

  function welcome() {
    if (person.token) {
      showPerson();
      show('ready');
    } else if (person.demo) {
      show('sign-in');
    } else {
      noIdentity(text.no_identity);
    }
  }

  // ---- Who is deciding ----

  function signIn(event) {
    if (event) { event.preventDefault(); }
    person.signIn(function () {
      showPerson();
      scan();
    }, function (status, problem, xhr) { failed(status, problem, xhr, signIn); });
  }

  function forget() {
    person.keep(null);
    person.ask(false);
    asked = null;
    deadline = 0;
    welcome();
  }

  function tokenRanOut() {
    person.keep(null);
    if (person.demo) {
      person.ask(true);
      show('sign-in');
    } else {
      noIdentity(text.ran_out);
    }
  }

  function noIdentity(words) {
    finish('no-identity', words);
    page.offer(text.check, function () {
      person.look();
      welcome();
    });
  }

  // ---- The request and the answer to it ----

  function scan() {
    call('scan', null, scan, function (body) {
      if (body.flow === 'share') {
        // Somebody shares instead of asking: that has a page of its own, where this person is known already.
        location.replace('/share/' + ticketId + location.search);
        return;
      }
      asked = body;
      askedAt = page.timeOf((body.requester || {}).created_at);
      deadline = Date.now() + (body.expires_in || 60) * 1000;
      page.showTheme(asked.client);
      showRequest();
      show('scanned');
    });
  }

  function answer(event) {
    var number;
    event.preventDefault();
    if (asked.match === 'choose') { return; }
    number = asked.match === 'type' ? page.number.read() : null;
    if (number !== '') { confirm(number); }
  }

  function confirm(number) {
    call('confirm', number ? { match: number } : {}, function () { confirm(number); }, function () {
      finish('confirmed', text.confirmed);
    });
  }

  function decline() {
    call('cancel', null, decline, function () { finish('declined', text.declined); });
  }

  function call(action, body, repeat, done) {
    send('/v1/tickets/' + ticketId + '/' + action, body, function (status, got, xhr) {
      if (status === 200 && got) { done(got); } else { failed(status, got, xhr, repeat); }
    });
  }

  function failed(status, problem, xhr, repeat) {
    var code = (problem && problem.code) || '';
    var said = problem && problem.detail;
    if (status === 401) {
      tokenRanOut();
    } else if (status === 404) {
      finish('expired', text.expired);
    } else if (status === 409 && code === 'mismatch') {
      finish('mismatch', text.mismatch);
    } else if (status === 409 && code === 'already_scanned') {
      finish('refused', text.taken);
    } else if (status === 403 || status === 409) {
      finish('refused', text.refused);
    } else if (status === 429 || status === 503) {
      finish('error', text.busy);
      page.offer(text.retry, repeat, page.retryAfterMs(xhr) || 5000);
    } else {
      if (status === 0) { finish('error', text.unreachable); } else { finish('error', text.failed, said); }
      page.offer(text.retry, repeat);
    }
  }

  function finish(next, words, said) {
    if (next !== 'error') { deadline = 0; }
    page.conclude(words, { name: siteName() }, said);
    byId('back').parentNode.hidden = next !== 'error' || !asked;
    show(next);
  }

  function tick() {
    // Here the clock may speak for the gateway: an answer that comes later would be refused anyway.
    if (deadline && Date.now() >= deadline && !page.busy) { finish('expired', text.expired); }
    showTimes();
  }

  // ---- What is seen ----

  function show(next) {
    var message;
    state = next;
    page.showView(state);
    showTimes();
    message = takeFocus();
    setText('message', message);
    document.title = message + ' · ' + text.title;
  }

  // Focus goes to what the new view begins with, and a screen reader reads on from there.
  function takeFocus() {
    var first = { 'sign-in': '.view-sign-in', ready: '.view-ready', scanned: '.view-scanned' }[state] || '.view-outcome';
    var title = document.querySelector(first + ' h1');
    (state === 'sign-in' ? byId('name') : title).focus();
    return title.textContent;
  }

  function showPerson() {
    var name = person.name();
    setText('ready-heading', name ? page.phrase(text.ready_heading_as, { name: name }) : text.ready_heading);
    setText('scanned-as', name ? page.phrase(text.as, { name: name }) : '');
    setText('initials', page.initials(name || '✓'));
    byId('other').parentNode.hidden = !person.demo;
  }

  function showRequest() {
    var requester = asked.requester || {};
    var facts = [['browser', requester.browser], ['os', requester.os], ['ip', requester.ip], ['time', page.ago(askedAt)]];
    if (asked.release && asked.release.length) { facts.push(['release', page.claimNames(asked.release)]); }
    setText('scanned-heading', fill(text.question));
    page.showLogo('logo', asked.client);
    page.showFacts(byId('request'), facts);
    page.number.ask(asked.match, asked.choices, confirm);
  }

  function showTimes() {
    var now = Date.now();
    var time = document.querySelector('[data-fact="time"]');
    setText('countdown', deadline ? page.phrase(text.left, { time: page.clock(Math.max(0, Math.ceil((deadline - now) / 1000))) }) : '');
    if (time && asked) { page.setContent(time, page.ago(askedAt)); }
  }

  function siteName() {
    return (asked && asked.client && asked.client.name) || text.some_site;
  }

  function fill(words) {
    return page.phrase(words, { name: siteName() });
  }

  function send(url, body, done) {
    page.post(url, { body: body, token: person.token }, done);
  }

  start();
}());
