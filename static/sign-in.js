/*
 * The sign-in page: shows a QR code, waits for a phone to confirm it, and hands the JWT to the site that asked.
 *
 * Query string: client_id, return_to, state (kept here and given back to return_to), lang (en or zh).
 *
 * What tests and style sheets may rely on, all on <body>:
 *   data-state      loading | waiting | scanned | confirmed | declined | cancelled | expired | offline | error
 *   data-view       the same without "offline": what the stage shows while the connection is away
 *   data-result     yes while the claims are on show
 *   data-transport  sse | poll; absent while no ticket is watched
 * and the ids #qr, #countdown, #message (#title and #detail in it), #who, #claims, #banner, #scan-link, and the buttons
 *   #refresh (expired, declined, cancelled, error), #renew (a new code before its time), #again (after the claims).
 * #number stands with #who where the client has numbers compared; data-number on <body> says yes then.
 * Each entry of #claims has data-claim="NAME" on its <dd>.
 *
 * Needs page.js, watch.js and code.js. ES5 and the browser API of 2014 only. The token lives in memory, never in a URL or in storage.
 */
(function () {
  'use strict';

  var MAX_STATE_CHARS = 512;
  var STUCK_MS = 10000;

  var page = window.scangatePage;
  var byId = page.byId;
  var query = page.query;
  var text = page.begin();
  var number = '';             // what the phone is asked for
  var code = page.code({ wish: wish, made: made, news: news, slots: slots, shown: shown });

  function start() {
    byId('again').onclick = code.refresh;
    byId('share').hidden = !isDemo();
    if ((query.state || '').length > MAX_STATE_CHARS) {
      code.show('error', text.long_state);
      byId('refresh').hidden = true;
      return;
    }
    code.create();
  }

  // ---- A ticket from its making to its end ----

  function wish() {
    var body = {};
    if (query.client_id) { body.client_id = query.client_id; }
    if (query.return_to) { body.return_to = query.return_to; }
    return { body: body };
  }

  function made(ticket) {
    var link = byId('scan-link');
    if (isOfWechat(ticket)) {
      text.waiting = text.waiting_wechat;
      text.numbered = text.numbered_wechat;
      // Only WeChat itself knows what to do with it.
      byId('help').hidden = true;
    }
    if (page.isWebUrl(ticket.scan_url)) { link.href = ticket.scan_url; } else { link.removeAttribute('href'); }
  }

  function news(ticket) {
    if (ticket.state === 'scanned') {
      showScanner(ticket.scanned_by || {});
      showNumber(ticket.number);
      code.show('scanned', number ? text.numbered : text.scanned);
    } else if (ticket.token) {
      confirmed(ticket);
    } else if (ticket.state === 'cancelled') {
      cancelled(ticket.reason);
    } else if (ticket.state === 'claimed') {
      // Collected elsewhere or too late: for this page the same as expired.
      code.expire();
    }
  }

  function confirmed(ticket) {
    code.end();
    if (ticket.return_to && page.isWebUrl(ticket.return_to)) {
      code.show('confirmed', text.returning);
      handBack(ticket.return_to, ticket.token);
      setTimeout(stuck, STUCK_MS);
    } else {
      page.showClaims(byId('claims'), ticket.token);
      byId('result').hidden = false;
      document.body.setAttribute('data-result', 'yes');
      code.show('confirmed', text.confirmed);
      byId('heading').focus();
    }
  }

  function stuck() {
    if (code.view !== 'confirmed') { return; }
    byId('result').hidden = false;
    code.show('confirmed', text.stuck);
  }

  function cancelled(reason) {
    var known = { declined: 1, closed: 1, superseded: 1, mismatch: 1 };
    code.end();
    code.show(reason === 'declined' ? 'declined' : 'cancelled', known[reason] ? text[reason] : text.cancelled);
  }

  // OAuth 2.0 Form Post Response Mode: the token goes in a body, so it reaches neither a log nor the history.
  function handBack(address, token) {
    var form = document.createElement('form');
    form.method = 'post';
    form.action = address;
    form.hidden = true;
    addField(form, 'access_token', token.access_token);
    addField(form, 'token_type', token.token_type);
    addField(form, 'expires_in', token.expires_in);
    if (query.state) { addField(form, 'state', query.state); }
    document.body.appendChild(form);
    form.submit();
    setTimeout(function () { document.body.removeChild(form); }, 1000);
  }

  function addField(form, name, value) {
    var field = document.createElement('input');
    field.type = 'hidden';
    field.name = name;
    field.value = value;
    form.appendChild(field);
  }

  // ---- What is seen ----

  function shown(view) {
    if (view !== 'confirmed') {
      byId('result').hidden = true;
      document.body.removeAttribute('data-result');
    }
    return false;
  }

  // The picture is left alone on purpose: loading it would tell a third party who signs in where.
  function showScanner(person) {
    var name = person.name || text.someone;
    page.setText('who', name);
    page.setText('initials', page.initials(name));
  }

  function showNumber(shared) {
    number = shared || '';
    page.setText('number', number);
    document.body.setAttribute('data-number', number ? 'yes' : 'no');
  }

  function slots() {
    return { name: (code && code.client && code.client.name) || text.some_site, number: number };
  }

  /* Which is the same for every ticket of this page. */
  function isOfWechat(ticket) {
    return !!ticket.client && ticket.client.connector === 'wechat';
  }

  function isDemo() {
    var meta = document.querySelector('meta[name="scangate-identity"]');
    return !!meta && meta.getAttribute('content') === 'demo';
  }

  start();
}());
