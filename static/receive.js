/*
 * The scanner's page: asks whoever shows the code, waits for the answer, and shows what was granted.
 *
 * Opening it changes nothing. The ticket is scanned only when the person goes on by a button.
 *
 * What tests and style sheets may rely on, on <body>:
 *   data-state      ready | sign-in | waiting | granted | declined | closed | mismatch | expired | taken | own | offline |
 *                   error
 *   data-view       the same without "offline"
 *   data-busy       yes while an answer is awaited
 * and the ids #continue, #without, #other, #notice; #name, #sign-in; #number, #offer (each <dd> has
 *   data-fact="site|release"), #countdown, #cancel; #outcome (#outcome-title, #outcome-detail), #claims (each <dd> has
 *   data-claim="NAME"), #raw (all of them, in #raw-claims), #retry. For who is signed in see person.js.
 *
 * Needs scangate.js, page.js, person.js and outcome.js. ES5 and the browser API of 2014 only. The JWT lives in memory.
 */
(function () {
  'use strict';

  var VIEWS = { ready: '.view-ready', 'sign-in': '.view-sign-in', waiting: '.view-waiting' };

  var page = window.scangatePage;
  var person = page.person;
  var byId = page.byId;
  var setText = page.setText;
  var text = page.begin();
  var path = '/v1/tickets/' + (/\/share\/([A-Za-z0-9_-]+)\/?$/.exec(location.pathname) || [])[1];
  var view = 'ready';
  var asked = null;            // the answer to the scan: who shows the code, and what is offered
  var token = null;            // what this page has scanned with, or was given for it; null for a browser with the cookie
  var watch = null;
  var unanswered = false;      // a scan may have arrived without this browser having been given its binding

  function start() {
    byId('continue').onclick = function () { scan(person.token); };
    byId('without').onclick = function () { scan(null); };
    byId('other').onclick = askName;
    byId('sign-in-form').onsubmit = signIn;
    byId('cancel').onclick = cancel;
    page.eachSecond(showCountdown);
    welcome('');
  }

  function welcome(notice) {
    setText('notice', notice);
    setText('continue', person.token && person.name() ? page.phrase(text.go_on_as, slots()) : text.go_on);
    byId('without').parentNode.hidden = !person.token;
    // In the demo anybody can be somebody; elsewhere one is signed in or not.
    byId('other').parentNode.hidden = !person.demo;
    setText('other', person.token ? text.other : text.as_person);
    show('ready');
  }

  // ---- Who asks ----

  function askName() {
    person.ask(false);
    show('sign-in');
  }

  function signIn(event) {
    if (event) { event.preventDefault(); }
    person.signIn(function () { scan(person.token); }, function (status, problem, xhr) { failed(status, problem, xhr, signIn); });
  }

  function tokenRanOut() {
    person.keep(null);
    welcome(text.ran_out);
  }

  // ---- Asking, and the answer ----

  function scan(by) {
    // There is one scan only. A browser that keeps no cookie is given its binding in the answer instead.
    var body = by || keepsCookies() ? {} : { binding: 'bearer' };
    token = by;
    page.post(path + '/scan', { body: body, token: by }, function (status, got, xhr) {
      unanswered = unanswered || status === 0;
      if (status !== 200 || !got) {
        failed(status, got, xhr, function () { scan(by); });
      } else if (got.flow !== 'share') {
        // Somebody asks for a sign-in instead: that has a page of its own, where this person is known already.
        location.replace(location.pathname.replace(/\/share\//, '/s/') + location.search);
      } else {
        token = by || got.ticket_secret || null;
        wait(got);
      }
    });
  }

  // Browsers that block cookies may still say that they are enabled.
  function keepsCookies() {
    var isKept = false;
    try {
      document.cookie = 'scangate-probe=1; Path=/; SameSite=Strict';
      isKept = /\bscangate-probe=1/.test(document.cookie);
      document.cookie = 'scangate-probe=; Path=/; Max-Age=0';
    } catch (e) { /* then it keeps none */ }
    return isKept;
  }

  function wait(body) {
    var number = body.ticket.number || '';
    asked = body;
    page.showTheme(body.client);
    setText('initials', page.initials(who()));
    setText('waiting-heading', page.phrase(text.waiting_heading, slots()));
    setText('waiting-lead', page.phrase(!number ? text.waiting_lead : body.match === 'type' ? text.type : text.choose, slots()));
    setText('number', number);
    byId('number').hidden = !number;
    page.empty(byId('offer'));
    page.addRow(byId('offer'), 'data-fact', 'site', text.site, siteName());
    page.addRow(byId('offer'), 'data-fact', 'release', text.offered, page.claimNames(['sub'].concat(body.release || [])));
    show('waiting');
    window.scangate.start(null, { ticket: body.ticket, token: token, renewals: 0, onState: changed });
  }

  function news(ticket) {
    if (ticket.token) {
      finish('granted', text.granted);
      page.showClaims(ticket.token);
    } else if (ticket.state === 'cancelled') {
      finish(ticket.reason === 'declined' || ticket.reason === 'mismatch' ? ticket.reason : 'closed', text[ticket.reason] || text.closed);
    } else if (ticket.state === 'claimed') {
      // Collected before, and too long ago to be handed over again.
      expired();
    }
  }

  function changed(state, now) {
    watch = now;
    if (state === 'confirmed' || state === 'declined' || state === 'cancelled') {
      news(now.ticket);
    } else if (state === 'expired') {
      expired();
    } else if (state === 'error') {
      if (now.reason === 'unkept') { finish('error', text.unkept); } else { finish('error', text.failed, now.problem && now.problem.detail); }
    } else {
      paint();
    }
  }

  function expired() {
    finish('expired', text.expired);
  }

  // Whether it arrives or not: what is granted to a page that has gone is granted to nobody.
  function cancel() {
    page.send('POST', path + '/cancel', { body: {}, token: token }, page.ignore);
    finish('closed', text.gone);
  }

  function failed(status, problem, xhr, repeat) {
    var reason = (problem && problem.code) || '';
    var said = problem && problem.detail;
    if (status === 401 && token) {
      tokenRanOut();
    } else if (status === 401 || status === 404) {
      expired();
    } else if (reason === 'own_ticket') {
      finish('own', text.own);
      page.offer(text.without, function () { scan(null); });
    } else if (reason === 'already_scanned') {
      // Perhaps by this very browser, which can no longer prove it.
      finish('taken', unanswered ? text.refused : text.taken);
    } else if (status === 409) {
      lookAgain();
    } else if (status === 429 || status === 503) {
      finish('error', text.busy);
      page.offer(text.retry, repeat, page.retryAfterMs(xhr) || 5000);
    } else {
      if (status === 0) { finish('error', text.unreachable); } else { finish('error', text.failed, said); }
      page.offer(text.retry, repeat);
    }
  }

  // It is over already. For whoever scanned it before this page was loaded again, that can still be good news.
  function lookAgain() {
    page.send('GET', path, { token: token }, function (status, ticket) {
      if (status === 200 && ticket) {
        asked = asked || { presented_by: ticket.presented_by };
        news(ticket);
      } else {
        finish('taken', text.refused);
      }
    });
  }

  // ---- What is seen ----

  function finish(next, words, said) {
    if (watch) { watch.stop(); }
    watch = null;
    page.conclude(words, slots(), said);
    page.hideClaims();
    show(next);
  }

  // Focus goes to what the new view begins with, and a screen reader reads on from there.
  function show(next) {
    var title = document.querySelector((VIEWS[next] || '.view-outcome') + ' h1');
    view = next;
    paint();
    (view === 'sign-in' ? byId('name') : title).focus();
    setText('said', title.textContent);
    document.title = title.textContent + ' · ' + text.title;
  }

  function paint() {
    page.showTouch(view, watch);
    showCountdown();
  }

  function showCountdown() {
    var deadline = watch ? watch.deadline : 0;
    var secs = Math.max(0, Math.ceil((deadline - Date.now()) / 1000));
    setText('countdown', deadline ? page.phrase(page.text.left, { time: page.clock(secs) }) : '');
    page.mark(byId('dots'), 'data-beat', String(secs % 3));
  }

  function who() {
    return (asked && asked.presented_by && asked.presented_by.name) || text.someone;
  }

  function siteName() {
    return (asked && asked.client && asked.client.name) || text.some_site;
  }

  function slots() {
    return { who: who(), name: siteName(), me: person.name() };
  }

  start();
}());
