/*
 * The presenter's page: somebody who is signed in shows a code, sees who has scanned it, and decides what they get.
 *
 * Query string: client_id, lang (en or zh).
 *
 * What tests and style sheets may rely on, on <body>:
 *   data-state      sign-in | no-identity | loading | waiting | scanned | granted | declined | closed | mismatch | late |
 *                   expired | offline | error
 *   data-view       the same without "offline"
 *   data-transport  sse | poll; absent while no ticket is watched
 *   data-busy       yes while an answer is awaited
 * and the ids #name, #sign-in; #qr, #countdown, #offer, #scan-link, #stop, #other, #renew, #refresh (expired, error);
 *   #request (each <dd> has data-fact="site|browser|os|ip|time"), #release (a checkbox with data-claim for each claim),
 *   #confirm, #decline, #notice, #fault; #outcome (#outcome-title, #outcome-detail), #granted, #retry. For the number see
 *   number.js, for who is signed in see person.js.
 *
 * Needs all of the shared files. ES5 and the browser API of 2014 only.
 */
(function () {
  'use strict';

  var ON_STAGE = { loading: 1, waiting: 1, expired: 1, error: 1 };

  var page = window.scangatePage;
  var person = page.person;
  var byId = page.byId;
  var setText = page.setText;
  var text = page.begin();
  var scanner = null;          // who has scanned
  var match = 'none';
  var scannedAt = 0;
  var code = page.code({ wish: wish, made: made, news: news, slots: slots, shown: shown, over: over, refused: refused });

  function start() {
    byId('sign-in-form').onsubmit = signIn;
    byId('stop').onclick = stop;
    byId('other').onclick = forget;
    byId('other').hidden = !person.demo;
    byId('answer').onsubmit = answer;
    byId('decline').onclick = decline;
    setInterval(showTime, 1000);
    welcome();
  }

  function welcome() {
    if (person.token) {
      code.refresh();
    } else if (person.demo) {
      person.ask(false);
      code.show('sign-in', [text.sign_in_heading, '']);
    } else {
      noIdentity(text.no_identity);
    }
  }

  // ---- Who shares ----

  function signIn(event) {
    if (event) { event.preventDefault(); }
    person.signIn(code.refresh, function (status, problem) { person.fault(wordsFor(status, problem)); });
  }

  function forget() {
    close();
    person.keep(null);
    welcome();
  }

  function tokenRanOut() {
    code.end();
    person.keep(null);
    if (person.demo) {
      person.ask(true);
      code.show('sign-in', [text.sign_in_heading, '']);
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

  // ---- The code ----

  function wish() {
    var body = { flow: 'share' };
    if (page.query.client_id) { body.client_id = page.query.client_id; }
    return { body: body, token: person.token };
  }

  function made(ticket) {
    var list = byId('offer');
    scanner = null;
    page.empty(list);
    page.addRow(list, 'data-fact', 'as', text.as, person.name() || text.someone);
    page.addRow(list, 'data-fact', 'release', text.offered, withAccount(ticket.release));
    if (page.isWebUrl(ticket.scan_url)) { byId('scan-link').href = ticket.scan_url; }
  }

  function news(ticket) {
    if (ticket.state === 'scanned') {
      decide(ticket);
    } else if (ticket.state === 'confirmed' || ticket.state === 'claimed') {
      granted(ticket);
    } else if (ticket.state === 'cancelled') {
      // A scanner that goes away has the same reason as a presenter who stops; but that one knows already.
      ended(ticket.reason, text[ticket.reason] || text.closed);
    }
  }

  // A code that nobody has scanned is followed by another; somebody whom the presenter kept waiting is not.
  function over() {
    if (scanner) { finishAgain('late', text.late); }
    return !!scanner;
  }

  function refused(status) {
    if (status === 401) { tokenRanOut(); }
    return status === 401;
  }

  function stop() {
    close();
    finishAgain('closed', text.stopped);
  }

  // Whether it arrives or not: without this page nobody can be granted anything.
  function close() {
    if (code.ticket) { page.send('DELETE', code.ticket.poll, { token: person.token }, page.ignore); }
    code.end();
  }

  // ---- The decision ----

  function decide(ticket) {
    var from;
    scanner = ticket.scanned_by;
    from = scanner.from || {};
    match = ticket.match || 'none';
    scannedAt = Date.now();
    setText('scanned-heading', scanner.signed_in ? page.phrase(text.scanned[0], slots()) : text.stranger_heading);
    setText('scanned-as', scanner.signed_in ? text.signed_in : '');
    setText('initials', scanner.signed_in ? page.initials(who()) : '?');
    setText('notice', '');
    setText('fault', '');
    setText('warning', page.phrase(text.warning, slots()));
    page.showFacts(byId('request'), [
      ['site', siteName()], ['browser', from.browser], ['os', from.os], ['ip', from.ip], ['time', page.ago(scannedAt)]
    ]);
    showRelease(ticket.release || []);
    page.number.ask(match, ticket.choices, grant);
    code.show('scanned', scanner.signed_in ? text.scanned : [text.stranger_heading, '']);
  }

  function showRelease(claims) {
    var list = byId('release');
    page.empty(list);
    setText('grant-hint', claims.length ? text.grant_hint : text.grant_only);
    claims.forEach(function (claim) {
      var label = document.createElement('label');
      var box = document.createElement('input');
      label.className = 'check';
      box.type = 'checkbox';
      box.checked = true;
      box.setAttribute('data-claim', claim);
      label.appendChild(box);
      label.appendChild(document.createTextNode(page.claimName(claim)));
      list.appendChild(label);
    });
  }

  function ticked() {
    return [].filter.call(document.querySelectorAll('#release input'), function (box) { return box.checked; })
      .map(function (box) { return box.getAttribute('data-claim'); });
  }

  function answer(event) {
    var number;
    event.preventDefault();
    if (match === 'choose') { return; }
    number = match === 'type' ? page.number.read() : null;
    if (number !== '') { grant(number); }
  }

  function grant(number) {
    var body = { scanner: scanner.id, release: ticked() };
    if (number) { body.match = number; }
    call('confirm', body, granted);
  }

  function decline() {
    call('cancel', null, function () { ended('declined', text.declined); });
  }

  function call(action, body, done) {
    setText('fault', '');
    page.post(code.ticket.poll + '/' + action, { body: body, token: person.token }, function (status, got) {
      // The stream may have been quicker.
      if (code.view !== 'scanned') { return; }
      if (status === 200 && got) { done(got); } else { failed(status, got); }
    });
  }

  function failed(status, problem) {
    var reason = (problem && problem.code) || '';
    if (status === 401) {
      tokenRanOut();
    } else if (status === 404) {
      code.expire();
    } else if (reason === 'mismatch') {
      ended('mismatch', text.mismatch);
    } else if (reason === 'not_scanned') {
      // The gateway's store has lost the scan, and the code is back where it was: a page that knows more cannot follow.
      code.refresh();
    } else if (status === 403 || status === 409) {
      lookAgain(reason === 'scanner_changed' ? text.changed : '');
    } else {
      setText('fault', wordsFor(status, problem));
    }
  }

  function lookAgain(notice) {
    page.send('GET', code.ticket.poll, { token: person.token }, function (status, ticket) {
      if (code.view !== 'scanned') { return; }
      if (status !== 200 || !ticket) {
        setText('fault', wordsFor(status, ticket));
        return;
      }
      news(ticket);
      setText('notice', notice);
    });
  }

  function wordsFor(status, problem) {
    if (status === 0) { return text.unsent; }
    return status === 429 || status === 503 ? text.too_many : (problem && problem.detail) || text.failed[1];
  }

  // ---- How it ended ----

  function granted(ticket) {
    finishAgain('granted', scanner && scanner.signed_in ? text.done : text.done_stranger);
    page.addRow(byId('granted'), 'data-fact', 'release', text.granted, withAccount(ticket.release));
  }

  function ended(reason, words) {
    finishAgain(reason === 'declined' || reason === 'mismatch' ? reason : 'closed', words);
  }

  function finishAgain(view, words) {
    finish(view, words);
    page.offer(text.renew, code.refresh);
  }

  function finish(view, words) {
    code.end();
    page.conclude(words, slots());
    page.empty(byId('granted'));
    code.show(view, words);
  }

  // ---- What is seen ----

  // Focus goes to what a new view begins with. The stage keeps it, and has a live region of its own.
  function shown(view) {
    var first = view === 'sign-in' ? '.view-sign-in' : view === 'scanned' ? '.view-scanned' : '.view-outcome';
    var title = document.querySelector(first + ' h1');
    if (ON_STAGE[view]) { return false; }
    (view === 'sign-in' ? byId('name') : title).focus();
    setText('said', title.textContent);
    return true;
  }

  function showTime() {
    var time = document.querySelector('[data-fact="time"]');
    if (time && scanner) { page.setContent(time, page.ago(scannedAt)); }
  }

  function withAccount(claims) {
    return page.claimNames(['sub'].concat(claims || []));
  }

  function who() {
    return (scanner && scanner.name) || (scanner && scanner.signed_in ? text.someone : text.stranger);
  }

  function siteName() {
    var client = (scanner && scanner.client) || (code && code.client);
    return (client && client.name) || text.some_site;
  }

  function slots() {
    return { name: siteName(), who: who() };
  }

  start();
}());
