/*
 * The presenter's page: somebody who is signed in shows a code, sees who has scanned it, and decides what they get.
 *
 * Query string: client_id. The gateway reads lang as well.
 *
 * What tests and style sheets may rely on, on <body>:
 *   data-state      sign-in | no-identity | loading | waiting | scanned | granted | declined | closed | mismatch | late |
 *                   expired | offline | error
 *   data-view       the same without "offline"
 *   data-busy       yes while an answer is awaited
 * and the ids #name, #sign-in; #offer, #stop, #other; #countdown (of the decision), #request (each <dd> has data-fact="site|browser|os|ip|time"), #release (a checkbox with data-claim for each claim),
 *   #confirm, #decline, #notice, #fault; #outcome (#outcome-title, #outcome-detail), #granted, #retry. For the number see
 *   number.js, for who is signed in see person.js.
 *
 * What is made in #code is scangate-look.js's. Needs all of the shared files. ES5 and the browser API of 2014 only.
 */
(function () {
  'use strict';

  var ON_STAGE = { loading: 1, waiting: 1, expired: 1, error: 1 };

  var page = window.scangatePage;
  var person = page.person;
  var byId = page.byId;
  var setText = page.setText;
  var text = page.begin();
  var options = { clientId: page.query.client_id, flow: 'share', texts: text, onState: changed };
  var heading = byId('heading').textContent;
  var view = '';
  var code = null;
  var scanner = null;          // who has scanned
  var decided = 0;             // the revision that is on show for a decision
  var match = 'none';
  var scannedAt = 0;

  function start() {
    byId('sign-in-form').onsubmit = signIn;
    byId('stop').onclick = stop;
    byId('other').onclick = forget;
    byId('other').hidden = !person.demo;
    byId('answer').onsubmit = answer;
    byId('decline').onclick = decline;
    page.eachSecond(showTimes);
    welcome();
  }

  function welcome() {
    if (person.token) {
      begin();
    } else if (person.demo) {
      person.ask(false);
      show('sign-in');
    } else {
      noIdentity(text.no_identity);
    }
  }

  function begin() {
    options.token = person.token;
    if (code) {
      code.refresh();
    } else {
      page.resume(options);
      code = window.scangate.start(byId('code'), options);
    }
  }

  // ---- Who shares ----

  function signIn(event) {
    if (event) { event.preventDefault(); }
    person.signIn(begin, function (status, problem) { person.fault(wordsFor(status, problem)); });
  }

  function forget() {
    code.stop();
    person.keep(null);
    welcome();
  }

  function tokenRanOut() {
    if (code) { code.stop(); }
    person.keep(null);
    if (person.demo) {
      person.ask(true);
      show('sign-in');
    } else {
      noIdentity(text.ran_out);
    }
  }

  function noIdentity(words) {
    conclude('no-identity', words);
    page.offer(text.check, function () {
      person.look();
      welcome();
    });
  }

  // ---- The code ----

  function changed(state, now) {
    code = now;
    page.keepCode(options, state, now);
    if (state === 'scanned') {
      if (now.ticket.revision === decided) { show(view); } else { decide(now.ticket); }
    } else if (state === 'confirmed') {
      granted(now.ticket);
    } else if (state === 'declined' || state === 'cancelled') {
      // A scanner that goes away has the same reason as a presenter who stops; but that one knows already.
      ended(now.reason, text[now.reason] || text.closed);
    } else if (state === 'expired' && scanner) {
      late();
    } else if (state === 'error' && now.problem && now.problem.status === 401) {
      tokenRanOut();
    } else {
      if (state === 'loading') { beginAnew(); }
      if (state === 'waiting') { showOffer(now.ticket); }
      show(state);
    }
  }

  function beginAnew() {
    scanner = null;
    decided = 0;
    // A code that nobody has scanned is followed by another; somebody whom the presenter kept waiting is not.
    options.renewals = undefined;
  }

  function showOffer(ticket) {
    var list = byId('offer');
    page.empty(list);
    page.addRow(list, 'data-fact', 'as', text.as, person.name() || text.someone);
    page.addRow(list, 'data-fact', 'release', text.offered, withAccount(ticket.release));
  }

  function stop() {
    code.stop();
    finish('closed', text.stopped);
  }

  // ---- The decision ----

  function decide(ticket) {
    var from;
    options.renewals = 0;
    decided = ticket.revision;
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
    // Somebody else may be asking in the view that is there already.
    page.guard();
    show('scanned');
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
    call('confirm', body);
  }

  function decline() {
    call('cancel', null);
  }

  function call(action, body) {
    setText('fault', '');
    page.post(code.ticket.poll + '/' + action, { body: body, token: person.token }, function (status, got) {
      // The stream may have been quicker.
      if (view !== 'scanned') { return; }
      if (status === 200 && got) { code.take(got); } else { failed(status, got); }
    });
  }

  function failed(status, problem) {
    var reason = (problem && problem.code) || '';
    if (status === 401) {
      tokenRanOut();
    } else if (status === 404) {
      late();
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
      if (view !== 'scanned') { return; }
      if (status !== 200 || !ticket) {
        setText('fault', wordsFor(status, ticket));
        return;
      }
      // Somebody else may be there under the same revision, after a failover of the gateway's store.
      if (ticket.state === 'scanned') { decide(ticket); } else { code.take(ticket); }
      setText('notice', notice);
    });
  }

  function wordsFor(status, problem) {
    if (status === 0) { return text.unsent; }
    return status === 429 || status === 503 ? text.too_many : (problem && problem.detail) || text.failed[1];
  }

  // ---- How it ended ----

  function granted(ticket) {
    finish('granted', scanner && scanner.signed_in ? text.done : text.done_stranger);
    page.addRow(byId('granted'), 'data-fact', 'release', text.granted, withAccount(ticket.release));
  }

  function late() {
    finish('late', text.late);
  }

  function ended(reason, words) {
    finish(reason === 'declined' || reason === 'mismatch' ? reason : 'closed', words);
  }

  function finish(next, words) {
    code.stop();
    conclude(next, words);
    page.offer(text.renew, code.refresh);
  }

  function conclude(next, words) {
    page.conclude(words, slots());
    page.empty(byId('granted'));
    show(next);
  }

  // ---- What is seen ----

  // Focus goes to what a new view begins with. The stage keeps it, and has a live region of its own.
  function show(next) {
    var first = next === 'sign-in' ? '.view-sign-in' : next === 'scanned' ? '.view-scanned' : '.view-outcome';
    var title = document.querySelector(first + ' h1');
    var isNew = next !== view;
    view = next;
    page.showTouch(view, code);
    document.title = ON_STAGE[view] ? heading : title.textContent + ' · ' + heading;
    showTimes();
    if (isNew && ON_STAGE[view]) { keepFocus(); }
    if (!isNew || ON_STAGE[view]) { return; }
    (view === 'sign-in' ? byId('name') : title).focus();
    setText('said', title.textContent);
  }

  // From a view that has gone; and where nobody's focus is, it goes to what can be done.
  function keepFocus() {
    var held = document.activeElement;
    if (held && held !== document.body && page.isSeen(held)) { return; }
    (document.querySelector('.scangate-refresh:not([disabled])') && (view === 'expired' || view === 'error')
      ? document.querySelector('.scangate-refresh') : byId('heading')).focus();
  }

  function showTimes() {
    var time = document.querySelector('[data-fact="time"]');
    var secs = code && Math.max(0, Math.ceil((code.deadline - Date.now()) / 1000));
    setText('countdown', code && code.deadline ? page.phrase(text.left, { time: page.clock(secs) }) : '');
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
