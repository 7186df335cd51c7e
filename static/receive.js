/*
 * The scanner's page: asks the presenter to share a sign-in, waits for the decision, and shows the granted claims.
 *
 * Opening the page changes nothing. The ticket is scanned only when the person presses a button: here, or the one that has
 * led them to their identity provider and back.
 *
 * Tests and style sheets may rely on these attributes of <body>:
 *   data-state      ready | sign-in | waiting | granted | declined | closed | mismatch | expired | taken | own | offline |
 *                   error
 *   data-view       the same without "offline"
 *   data-busy       yes while a request is in progress
 * and on the ids #continue, #without, #other, #notice; #name, #sign-in; #number, #offer (each <dd> has
 *   data-fact="site|release"), #countdown, #cancel; #outcome (#outcome-title, #outcome-detail), #claims (each <dd> has
 *   data-claim="NAME"), #raw (with all claims in #raw-claims), #retry. For the person see person.js.
 *
 * Needs scangate.js, page.js, request.js, person.js and outcome.js. ES5 and the browser API of 2014 only. The JWT is kept in
 * memory only.
 */
(function () {
  'use strict';

  var VIEWS = { ready: '.view-ready', 'sign-in': '.view-sign-in', waiting: '.view-waiting' };

  var scangate = window.scangate;
  var page = window.scangatePage;
  var person = page.person;
  var byId = page.byId;
  var setText = page.setText;
  var text = page.loadTexts();
  var ticketId = (/\/share\/([A-Za-z0-9_-]+)\/?$/.exec(location.pathname) || [])[1];
  var path = '/v1/tickets/' + ticketId;
  var view = 'ready';
  var offer = null;            // the response to the scan: the presenter, and the offered claims
  var token = null;            // the secret of the binding; null if cookies prove who has scanned
  var code = null;
  var isUncertain = false;     // whether a scan may have succeeded although its response, with this browser's binding, was lost

  function start() {
    byId('continue').onclick = go;
    byId('without').onclick = function () { scan(false); };
    byId('other').onclick = function () { if (person.isSignedIn()) { signOut(); } else { askToSignIn(); } };
    person.startForms('ticket=' + ticketId, { ticket: ticketId, signedIn: goAsPerson, failed: handleFailure });
    byId('cancel').onclick = cancel;
    page.whileVisible(showTime);
    if (person.hasComeBack(ticketId)) { goAsPerson(); } else { begin(''); }
  }

  function begin(notice) {
    setText('notice', notice);
    setText('continue', person.name() ? scangate.format(text.go_on_as, values()) : text.go_on);
    byId('without').parentNode.hidden = !person.isSignedIn();
    byId('other').parentNode.hidden = !person.isSignedIn() && !person.canSignIn;
    setText('other', person.isSignedIn() ? text.other : text.sign_in_first);
    show('ready');
  }

  // ---- The person ----

  function signInView() {
    return { showForm: function () { show('sign-in'); }, finish: finish };
  }

  function askToSignIn() {
    person.requireSignIn(signInView(), false);
  }

  function signOut() {
    person.signOut(function () { begin(''); }, function (status, problem, xhr) { handleFailure(status, problem, xhr, signOut); });
  }

  function go() {
    if (person.isSignedIn()) { goAsPerson(); } else { scan(false); }
  }

  // The gateway would take a scan without a session for that of a device in which nobody is signed in.
  function goAsPerson() {
    person.check({
      ended: function () { person.end({ showForm: function () { begin(text.ran_out); }, finish: finish }); },
      lasts: function () { scan(true); },
      failed: function (status, problem, xhr) { handleFailure(status, problem, xhr, goAsPerson); }
    });
  }

  // ---- The request and the decision ----

  function scan(isAsPerson) {
    // A secret in the response binds a browser that does not keep cookies: a second scan would be refused. It also binds the
    // device alone, for a person who is signed in and goes on as nobody.
    var body = !isAsPerson && (person.isSignedIn() || !keepsCookies()) ? { binding: 'bearer' } : {};
    page.post(path + '/scan', { body: body }, function (status, got, xhr) {
      isUncertain = isUncertain || status === 0;
      if (status !== 200 || !got) {
        handleFailure(status, got, xhr, function () { scan(isAsPerson); });
      } else if (got.flow !== 'share') {
        // This code asks for a sign-in. On the page for that flow, the same person is signed in.
        location.replace(location.pathname.replace(/\/share\//, '/s/') + location.search);
      } else {
        person.proven();
        token = got.ticket_secret || null;
        wait(got);
      }
    });
  }

  // Sets a cookie to test this, because a browser that blocks cookies may still report that they are enabled.
  function keepsCookies() {
    var isKept = false;
    try {
      document.cookie = 'scangate-probe=1; Path=/; SameSite=Strict';
      isKept = /\bscangate-probe=1/.test(document.cookie);
      document.cookie = 'scangate-probe=; Path=/; Max-Age=0';
    } catch (e) { /* cookies are blocked */ }
    return isKept;
  }

  function wait(body) {
    var number = body.ticket.number || '';
    offer = body;
    page.applyTheme(body.client);
    setText('initials', page.initials(presenterName()));
    setText('waiting-heading', scangate.format(text.waiting_heading, values()));
    setText('waiting-lead', scangate.format(!number ? text.waiting_lead : body.match === 'type' ? text.type : text.choose, values()));
    setText('number', number);
    byId('number').hidden = !number;
    page.empty(byId('offer'));
    page.addRow(byId('offer'), 'data-fact', 'site', text.site, siteName());
    page.addRow(byId('offer'), 'data-fact', 'release', text.offered, page.claimNames(['sub'].concat(body.release || [])));
    show('waiting');
    scangate.start(null, { ticket: body.ticket, token: token, renewals: 0, onState: onState });
  }

  function onState(state, now) {
    code = now;
    if (state === 'confirmed' || state === 'declined' || state === 'cancelled') {
      showDecision(now.ticket);
    } else if (state === 'expired') {
      finish('expired', text.expired);
    } else if (state === 'error') {
      if (now.reason === 'unkept') { finish('error', text.unkept); } else { finish('error', text.failed, now.problem && now.problem.detail); }
    } else {
      render();
    }
  }

  function showDecision(ticket) {
    if (ticket.token) {
      finish('granted', text.granted);
      page.showClaims(ticket.token);
    } else if (ticket.state === 'cancelled') {
      finish(ticket.reason === 'declined' || ticket.reason === 'mismatch' ? ticket.reason : 'closed', text[ticket.reason] || text.closed);
    } else if (ticket.state === 'claimed') {
      // The JWT was delivered before, and the time to fetch it again has passed.
      finish('expired', text.expired);
    }
  }

  // Does not wait for the response: if the request is lost, nobody fetches the JWT.
  function cancel() {
    page.send('POST', path + '/cancel', { body: {}, token: token }, page.noop);
    finish('closed', text.gone);
  }

  function handleFailure(status, problem, xhr, repeat) {
    var reason = (problem && problem.code) || '';
    if (status === 401 || status === 404) {
      finish('expired', text.expired);
    } else if (reason === 'own_ticket') {
      finish('own', text.own);
      page.offerAction(text.without, function () { scan(false); });
    } else if (reason === 'already_scanned') {
      // This browser may be the scanner, but it did not receive its binding.
      finish('taken', isUncertain ? text.refused : text.taken);
    } else if (status === 409) {
      readDecision();
    } else {
      page.showFailure(finish, status, problem, xhr, repeat);
    }
  }

  // The ticket has been decided. A browser that scanned it and then reloaded the page can still read the decision.
  function readDecision() {
    page.send('GET', path, { token: token }, function (status, ticket) {
      if (status === 200 && ticket) {
        offer = offer || { presented_by: ticket.presented_by };
        showDecision(ticket);
      } else {
        finish('taken', text.refused);
      }
    });
  }

  // ---- The views ----

  function finish(next, texts, detail) {
    if (code) { code.stop(); }
    code = null;
    page.writeOutcome(texts, values(), detail);
    page.hideClaims();
    show(next);
  }

  // Moves the focus to the start of the new view, where a screen reader continues.
  function show(next) {
    var title = document.querySelector((VIEWS[next] || '.view-outcome') + ' h1');
    view = next;
    render();
    (view === 'sign-in' && byId('name') || title).focus();
    setText('announcement', title.textContent);
    document.title = title.textContent + ' · ' + text.title;
  }

  function render() {
    page.showLiveView(view, code);
    showTime();
  }

  function showTime() {
    var secs = page.showCountdown(code ? code.deadline : 0);
    scangate.setAttribute(byId('dots'), 'data-beat', secs % 3);
  }

  function presenterName() {
    return (offer && offer.presented_by && offer.presented_by.name) || text.someone;
  }

  function siteName() {
    return (offer && offer.client && offer.client.name) || text.some_site;
  }

  function values() {
    return { who: presenterName(), name: siteName(), me: person.name() };
  }

  start();
}());
