/*
 * The sign-in page: shows a QR code by scangate.js, and hands the JWT to the site that asked.
 *
 * Query string: client_id, return_to, state (kept here and given back to return_to). The gateway reads lang as well.
 *
 * What tests and style sheets may rely on:
 *   data-state on <body>   loading | waiting | scanned | confirmed | declined | cancelled | expired | offline | error
 *   data-view on <body>    the same without "offline": what the stage shows while the connection is away
 *   data-result on <body>  yes while the claims are on show
 *   .scangate-NAME         what scangate-look.js has made in #code
 *   #claims                what the site learns of the person, in words: each entry has data-claim="NAME" on its <dd>
 *   #raw                   folded away: all claims as they are, likewise in #raw-claims; #again is the button under it
 *   #fault                 why there is no code at all
 *
 * Needs scangate.js, scangate-look.js and page.js. ES5 and the browser API of 2014 only. The token lives in memory, never
 * in a URL or in storage.
 */
(function () {
  'use strict';

  var MAX_STATE_CHARS = 512;
  // A site that has not answered after this is slow, or something that does not say so has kept the form from being sent.
  var STUCK_MS = 10000;
  var STOPPED = { declined: 1, cancelled: 1, expired: 1, error: 1 };

  var page = window.scangatePage;
  var byId = page.byId;
  var query = page.query;
  var text = page.begin();
  var heading = byId('heading').textContent;
  var returning = text.returning;
  var claimsTold = text.confirmed;
  var shown = '';
  var options;
  var code;

  function start() {
    if ((query.state || '').length > MAX_STATE_CHARS) {
      byId('code').hidden = true;
      byId('fault').hidden = false;
      page.setText('fault-title', text.long_state[0]);
      page.setText('fault-detail', text.long_state[1]);
      page.showView('error');
      document.title = text.long_state[0] + ' · ' + heading;
      return;
    }
    options = { clientId: query.client_id, returnTo: query.return_to, texts: text, onState: show, onToken: signedIn };
    page.resume(options);
    code = window.scangate.start(byId('code'), options);
    byId('again').onclick = code.refresh;
    document.addEventListener('securitypolicyviolation', function (event) {
      if (/^form-action/.test(event.violatedDirective)) { stuck(text.blocked); }
    });
  }

  function show(state, now) {
    var words = text[now.reason] || text[state];
    var name = (now.client || {}).name || text.some_site;
    page.keepCode(options, state, now);
    page.showView(state, now);
    // By what was asked for: the ticket says it only with the JWT, and the look is drawn before this is told of that.
    text.confirmed = query.return_to ? returning : claimsTold;
    document.title = state === 'waiting' || state === 'loading' ? heading
      : page.phrase(words[0], { name: name, number: (now.ticket || {}).number }) + ' · ' + heading;
    if (state !== 'confirmed') { showResult(false); }
    // Where nobody's focus is, it goes to what can be done.
    if (STOPPED[state] && state !== shown && document.activeElement === document.body) { document.querySelector('.scangate-refresh').focus(); }
    shown = state;
  }

  function signedIn(token, now) {
    var ticket = now.ticket;
    if (page.isWebUrl(ticket.return_to)) {
      try {
        handBack(ticket.return_to, token);
      } catch (e) {
        stuck(text.blocked);
      }
      setTimeout(function () { if (code.ticket === ticket) { stuck(text.stuck); } }, STUCK_MS);
    } else {
      page.showClaims(token);
      showResult(true);
      byId('heading').focus();
    }
  }

  // Says why nothing happens, once, and what to do. The words are for this sign-in alone.
  function stuck(words) {
    if (code.state !== 'confirmed' || text.confirmed !== returning) { return; }
    text.confirmed = words;
    page.hideClaims();
    page.guard();
    showResult(true);
    byId('heading').focus();
  }

  function showResult(yes) {
    byId('result').hidden = !yes;
    document.body.setAttribute('data-result', yes ? 'yes' : 'no');
  }

  // OAuth 2.0 Form Post Response Mode: the token goes in a body, so it reaches neither a log nor the history.
  function handBack(address, token) {
    var form = document.createElement('form');
    form.setAttribute('method', 'post');
    form.setAttribute('action', address);
    form.setAttribute('hidden', '');
    addField(form, 'access_token', token.access_token);
    addField(form, 'token_type', token.token_type);
    addField(form, 'expires_in', token.expires_in);
    if (query.state) { addField(form, 'state', query.state); }
    document.body.appendChild(form);
    // Not by way of the form, where a field may be called so.
    HTMLFormElement.prototype.submit.call(form);
    setTimeout(function () { document.body.removeChild(form); }, 1000);
  }

  function addField(form, name, value) {
    var field = document.createElement('input');
    field.type = 'hidden';
    field.name = name;
    field.value = value;
    form.appendChild(field);
  }

  start();
}());
