/*
 * The presenter's page: a signed-in person shows a code, sees the scanner, and decides what to share.
 *
 * Query string: client_id. The gateway reads lang as well.
 *
 * Tests and style sheets may rely on these attributes of <body>:
 *   data-state      sign-in | no-identity | loading | waiting | scanned | stale | granted | declined | closed | mismatch |
 *                   late | expired | offline | error
 *   data-view       the same without "offline"
 *   data-busy       yes while a request is in progress
 * and on the ids #name, #sign-in; #offer, #stop, #other; #countdown (of the decision), #request (each <dd> has
 *   data-fact="site|browser|os|ip|time"), #release (a checkbox with data-claim for each claim), #confirm, #decline, #notice,
 *   #fault; #outcome (#outcome-title, #outcome-detail), #granted, #retry. For the number see number.js, for the person see
 *   person.js.
 *
 * The widget in #code comes from scangate-look.js. Needs all of the shared files. ES5 and the browser API of 2014 only.
 */
(function () {
  'use strict';

  var WIDGET_VIEWS = { loading: 1, waiting: 1, expired: 1, error: 1 };

  var scangate = window.scangate;
  var page = window.scangatePage;
  var person = page.person;
  var byId = page.byId;
  var setText = page.setText;
  var text = page.loadTexts();
  var options = { clientId: page.query.client_id, flow: 'share', texts: text, onState: onState };
  var heading = byId('heading').textContent;
  var view = '';
  var code = null;
  var scanner = null;
  var shownRevision = 0;       // the revision of the ticket that the decision view shows
  var match = 'none';
  var scannedAt = 0;

  function start() {
    person.startForms('to=/share' + (page.query.client_id ? '&client_id=' + encodeURIComponent(page.query.client_id) : ''),
      { signedIn: showCode, failed: showSignInFault });
    byId('stop').onclick = stop;
    byId('other').onclick = signOut;
    byId('answer').onsubmit = submitAnswer;
    byId('decline').onclick = decline;
    page.whileVisible(showTimes);
    begin();
  }

  function begin() {
    if (person.isSignedIn()) { showCode(); } else { person.requireSignIn(signInView(), false); }
  }

  function showCode() {
    if (code) {
      code.refresh();
    } else {
      page.resumeCode(options);
      code = scangate.start(byId('code'), options);
    }
  }

  // ---- The person ----

  function signInView() {
    return { showForm: function () { show('sign-in'); }, finish: showOutcome };
  }

  function showSignInFault(status, problem) {
    person.showFault(failureText(status, problem));
  }

  function signOut() {
    code.stop();
    person.signOut(begin, function (status, problem) { showOutcome('error', [text.failed[0], failureText(status, problem)]); });
  }

  function endSession() {
    if (code) { code.stop(); }
    person.end(signInView());
  }

  // The client asks for a newer or stronger sign-in than the person's. The code stays, and the page resumes it afterwards.
  function renewSignIn(texts) {
    showOutcome('stale', texts);
    page.offerAction(scangate.format(text.sign_in_again_with, { name: person.providerName() || text.some_provider }), function () {
      if (person.isDemo) { endSession(); } else { person.leave(person.provider(), { prompt: 'login' }); }
    });
  }

  // ---- The code ----

  function onState(state, now) {
    code = now;
    page.storeCode(options, state, now);
    if (state === 'scanned') {
      if (now.ticket.revision === shownRevision) { show(view); } else { showDecision(now.ticket); }
    } else if (state === 'confirmed') {
      showGranted(now.ticket);
    } else if (state === 'declined' || state === 'cancelled') {
      // The reason does not say which party ended the ticket. If it was the presenter, this page already shows the outcome.
      finishCancelled(now.reason, text[now.reason] || text.closed);
    } else if (state === 'expired' && scanner) {
      runOut();
    } else if (state === 'error' && now.problem && now.problem.status === 401) {
      endSession();
    } else {
      if (state === 'loading') { resetScanner(); }
      if (state === 'waiting') {
        person.proven();
        showOffer(now.ticket);
      }
      show(state);
    }
  }

  function resetScanner() {
    scanner = null;
    shownRevision = 0;
    // An expired code is replaced if nobody scanned it, but not after a scanner waited.
    options.renewals = undefined;
  }

  function showOffer(ticket) {
    var list = byId('offer');
    page.empty(list);
    page.addRow(list, 'data-fact', 'as', text.as, (ticket.presented_by || {}).name || text.someone);
    page.addRow(list, 'data-fact', 'release', text.offered, withAccount(ticket.release));
  }

  function stop() {
    code.stop();
    finish('closed', text.stopped);
  }

  // ---- The decision ----

  function showDecision(ticket) {
    var from;
    options.renewals = 0;
    shownRevision = ticket.revision;
    scanner = ticket.scanned_by;
    from = scanner.from || {};
    match = ticket.match || 'none';
    scannedAt = Date.now();
    setText('scanned-heading', scanner.signed_in ? scangate.format(text.scanned[0], values()) : text.stranger_heading);
    setText('scanned-as', scanner.signed_in ? text.signed_in : '');
    setText('initials', scanner.signed_in ? page.initials(scannerName()) : '?');
    setText('notice', '');
    setText('fault', '');
    setText('warning', scangate.format(text.warning, values()));
    page.showFacts(byId('request'), [
      ['site', siteName()], ['browser', from.browser], ['os', from.os], ['ip', from.ip], ['time', page.timeAgo(scannedAt)]
    ]);
    showRelease(ticket.release || []);
    page.number.show(match, ticket.choices, grant);
    // The view may be visible already, with another scanner.
    page.blockClicks();
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

  function tickedClaims() {
    return [].filter.call(document.querySelectorAll('#release input'), function (box) { return box.checked; })
      .map(function (box) { return box.getAttribute('data-claim'); });
  }

  function submitAnswer(event) {
    var number;
    event.preventDefault();
    if (match === 'choose') { return; }
    number = match === 'type' ? page.number.readTyped() : null;
    if (number !== '') { grant(number); }
  }

  function grant(number) {
    var body = { scanner: scanner.id, release: tickedClaims() };
    if (number) { body.match = number; }
    send('confirm', body);
  }

  function decline() {
    send('cancel', null);
  }

  function send(action, body) {
    setText('fault', '');
    page.post(code.ticket.poll + '/' + action, { body: body || {} }, function (status, got) {
      // The event stream may have delivered the outcome first.
      if (view !== 'scanned') { return; }
      if (status === 200 && got) { code.take(got); } else { handleFailure(status, got); }
    });
  }

  function handleFailure(status, problem) {
    var reason = (problem && problem.code) || '';
    if (status === 401) {
      endSession();
    } else if (status === 404) {
      person.check({ ended: endSession, lasts: runOut, failed: runOut });
    } else if (reason === 'sign_in_too_old') {
      renewSignIn(text.too_old);
    } else if (reason === 'stronger_sign_in_needed') {
      renewSignIn(text.too_weak);
    } else if (reason === 'mismatch') {
      finishCancelled('mismatch', text.mismatch);
    } else if (reason === 'not_scanned') {
      // The gateway's store has lost the scan. The ticket's revision is now lower, and code.take ignores lower ones.
      code.refresh();
    } else if (status === 403 || status === 409) {
      readTicket(reason === 'scanner_changed' ? text.changed : '');
    } else {
      setText('fault', failureText(status, problem));
    }
  }

  function runOut() {
    finish('late', text.late);
  }

  function readTicket(notice) {
    page.send('GET', code.ticket.poll, {}, function (status, ticket) {
      if (view !== 'scanned') { return; }
      if (status !== 200 || !ticket) {
        setText('fault', failureText(status, ticket));
        return;
      }
      // After a failover of the gateway's store, the same revision may have another scanner.
      if (ticket.state === 'scanned') { showDecision(ticket); } else { code.take(ticket); }
      setText('notice', notice);
    });
  }

  function failureText(status, problem) {
    if (status === 0) { return text.unsent; }
    return status === 429 || status === 503 ? text.too_many : (problem && problem.detail) || text.failed[1];
  }

  // ---- The outcome ----

  function showGranted(ticket) {
    finish('granted', scanner && scanner.signed_in ? text.done : text.done_stranger);
    page.addRow(byId('granted'), 'data-fact', 'release', text.granted, withAccount(ticket.release));
  }

  function finishCancelled(reason, texts) {
    finish(reason === 'declined' || reason === 'mismatch' ? reason : 'closed', texts);
  }

  function finish(next, texts) {
    code.stop();
    showOutcome(next, texts);
    page.offerAction(text.renew, code.refresh);
  }

  function showOutcome(next, texts) {
    page.writeOutcome(texts, values());
    page.empty(byId('granted'));
    show(next);
  }

  // ---- The views ----

  // Moves the focus to the start of a new view. The widget keeps the focus, and has its own live region.
  function show(next) {
    var first = next === 'sign-in' ? '.view-sign-in' : next === 'scanned' ? '.view-scanned' : '.view-outcome';
    var title = document.querySelector(first + ' h1');
    var isNew = next !== view;
    view = next;
    page.showLiveView(view, code);
    document.title = WIDGET_VIEWS[view] ? heading : title.textContent + ' · ' + heading;
    showTimes();
    if (isNew && WIDGET_VIEWS[view]) { keepFocus(); }
    if (!isNew || WIDGET_VIEWS[view]) { return; }
    (view === 'sign-in' && byId('name') || title).focus();
    setText('announcement', title.textContent);
  }

  // If the focus was in a view that is now hidden, or on no element, moves it to the next action.
  function keepFocus() {
    var focused = document.activeElement;
    if (focused && focused !== document.body && scangate.isVisible(focused)) { return; }
    (document.querySelector('.scangate-refresh:not([disabled])') && (view === 'expired' || view === 'error')
      ? document.querySelector('.scangate-refresh') : byId('heading')).focus();
  }

  function showTimes() {
    var time = document.querySelector('[data-fact="time"]');
    page.showCountdown(code && code.deadline);
    if (time && scanner) { scangate.setContent(time, page.timeAgo(scannedAt)); }
  }

  function withAccount(claims) {
    return page.claimNames(['sub'].concat(claims || []));
  }

  function scannerName() {
    return (scanner && scanner.name) || (scanner && scanner.signed_in ? text.someone : text.stranger);
  }

  function siteName() {
    var client = (scanner && scanner.client) || (code && code.client);
    return (client && client.name) || text.some_site;
  }

  function values() {
    return { name: siteName(), who: scannerName(), provider: person.providerName() || text.some_provider };
  }

  start();
}());
