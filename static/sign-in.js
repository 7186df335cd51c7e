/*
 * The sign-in page: shows a QR code with scangate.js. For an authorization request it then leads to the answer; otherwise it shows
 * what the JWT says.
 *
 * An authorization request is in the query string, and data-authorization on <body> is `yes`. The ticket is created with the query
 * as it is, and the page reads none of it.
 *
 * Query string of a page without one: client_id. The gateway also reads lang.
 *
 * Tests and style sheets may rely on:
 *   data-state on <body>   loading | waiting | scanned | confirmed | declined | cancelled | expired | offline | error
 *   data-view on <body>    the same without "offline": the state that the widget shows while the connection is lost
 *   data-result on <body>  yes while the claims are visible
 *   .scangate-NAME         the widget of scangate-look.js in #code
 *   #claims                the claims that have a name in the page's language: each <dd> has data-claim="NAME"
 *   #raw                   all claims unchanged, collapsed, as above in #raw-claims; #again is the button below
 *
 * Needs scangate.js, scangate-look.js and page.js. ES5 and the browser API of 2014 only. The token is kept in memory, never
 * in a URL or in storage.
 */
(function () {
  'use strict';

  // The address that answers an authorization request whose ticket is confirmed, in the language of this page.
  var DONE = '/oauth2/authorize/done?lang=' + document.documentElement.lang + '&ticket=';
  // If the site has not responded after this time, it is slow, or something in the browser keeps it from opening.
  var REDIRECT_TIMEOUT_MS = 10000;
  var STOPPED = { declined: 1, cancelled: 1, expired: 1, error: 1 };

  var scangate = window.scangate;
  var page = window.scangatePage;
  var byId = page.byId;
  var query = page.query;
  var text = page.loadTexts();
  var heading = byId('heading').textContent;
  var returningTexts = text.returning;
  var claimsTexts = text.confirmed;
  var shownState = '';
  var options;
  var code;

  function start() {
    options = { clientId: query.client_id, texts: text, onState: onState, onToken: onToken };
    if (page.isAuthorization) { options = { authorization: location.search.slice(1), texts: text, onState: onState }; }
    page.resumeCode(options);
    code = scangate.start(byId('code'), options);
    byId('again').onclick = code.refresh;
  }

  function onState(state, now) {
    var texts = text[now.reason] || text[state];
    var name = (now.client || {}).name || text.some_site;
    page.storeCode(options, state, now);
    page.showView(state, now);
    text.confirmed = page.isAuthorization ? returningTexts : claimsTexts;
    document.title = state === 'waiting' || state === 'loading' ? heading
      : scangate.format(texts[0], { name: name, number: (now.ticket || {}).number }) + ' · ' + heading;
    if (state !== 'confirmed') { showResult(false); }
    if (page.isAuthorization && state === 'confirmed') { leave(now.ticket); }
    // If no element has the focus, moves it to the next action.
    if (STOPPED[state] && state !== shownState && document.activeElement === document.body) { document.querySelector('.scangate-refresh').focus(); }
    shownState = state;
  }

  // This replaces the page's entry in the history, so the back button in the app skips the page.
  function leave(ticket) {
    location.replace(DONE + ticket.ticket_id);
    setTimeout(function () { if (code.ticket === ticket) { showRedirectFailure(text.stuck); } }, REDIRECT_TIMEOUT_MS);
  }

  function onToken(token) {
    page.showClaims(token);
    showResult(true);
    byId('heading').focus();
  }

  // Shows once why the site does not open and what to do. The texts are for this sign-in only.
  function showRedirectFailure(texts) {
    if (code.state !== 'confirmed' || text.confirmed !== returningTexts) { return; }
    text.confirmed = texts;
    page.hideClaims();
    page.blockClicks();
    showResult(true);
    byId('heading').focus();
  }

  function showResult(isVisible) {
    byId('result').hidden = !isVisible;
    document.body.setAttribute('data-result', isVisible ? 'yes' : 'no');
  }

  start();
}());
