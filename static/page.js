/*
 * Shared by all pages: texts, views, the query string, and the claims of a JWT.
 *
 * The pages' scripts share one global, scangatePage. This file creates it; request.js, person.js, number.js and outcome.js
 * add to it on the pages that need them; the page's own script comes last.
 *
 * Needs scangate.js and dom.js. ES5 and the browser API of 2014 only.
 */
(function () {
  'use strict';

  var scangate = window.scangate;
  var page = window.scangatePage = {};

  var TICK_MS = 500;
  // Without the widget's refresh button: the widget blocks clicks on its own buttons.
  var BUTTONS = '.scangate-button:not(.scangate-refresh), .link';
  var TIME_CLAIMS = { exp: 1, iat: 1, nbf: 1, auth_time: 1, confirmed_at: 1, updated_at: 1 };

  var blocks = 0;

  page.query = readQuery(location.search);
  page.isAuthorization = document.body.getAttribute('data-authorization') === 'yes';
  page.lang = document.documentElement.lang;
  page.text = {};

  // ---- Texts ----

  /* Reads and returns the texts that the gateway has embedded in the page, in the page's language. */
  page.loadTexts = function () {
    page.text = JSON.parse(page.byId('texts').textContent);
    return page.text;
  };

  page.byId = function (id) {
    return document.getElementById(id);
  };

  page.setText = function (id, text) {
    scangate.setContent(page.byId(id), text);
  };

  // ---- Time ----

  /*
   * Calls `step` when the page becomes visible, and then twice a second while it is visible, so that no second is skipped.
   * A step should change the display at most once a second: more repaints drain the device's battery.
   */
  page.whileVisible = function (step) {
    function callIfVisible() {
      if (!document.hidden) { step(); }
    }
    setInterval(callIfVisible, TICK_MS);
    document.addEventListener('visibilitychange', callIfVisible);
  };

  // ---- Lists ----

  page.empty = function (element) {
    while (element.firstChild) { element.removeChild(element.firstChild); }
  };

  /* Adds a term and its value to a <dl>. The value has `attribute`="name". */
  page.addRow = function (list, attribute, name, term, value) {
    var row = document.createElement('div');
    var termElement = document.createElement('dt');
    var valueElement = document.createElement('dd');
    termElement.textContent = term;
    scangate.setContent(valueElement, scangate.isolate(value));
    valueElement.setAttribute(attribute, name);
    row.className = 'fact-' + name;
    row.appendChild(termElement);
    row.appendChild(valueElement);
    list.appendChild(row);
  };

  /* Lists the claims of a JWT that have a name in the page's language, and, collapsed, all claims unchanged. */
  page.showClaims = function (token) {
    var claims = page.decodeJwt(token.access_token) || {};
    page.hideClaims();
    Object.keys(page.text.claims).forEach(function (name) {
      if (has(claims, name)) { page.addRow(page.byId('claims'), 'data-claim', name, page.text.claims[name], formatClaim(name, claims[name])); }
    });
    if (claims.exp) { page.addRow(page.byId('claims'), 'data-claim', 'exp', page.text.until, formatClaim('exp', claims.exp)); }
    Object.keys(claims).forEach(function (name) {
      page.addRow(page.byId('raw-claims'), 'data-claim', name, name, formatClaim(name, claims[name]));
    });
    page.byId('raw').hidden = false;
  };

  page.hideClaims = function () {
    page.empty(page.byId('claims'));
    page.empty(page.byId('raw-claims'));
    page.byId('raw').hidden = true;
  };

  function has(object, name) {
    return Object.prototype.hasOwnProperty.call(object, name);
  }

  function formatClaim(name, value) {
    if (TIME_CLAIMS[name] && typeof value === 'number') { return new Date(value * 1000).toLocaleString(page.lang); }
    if (Array.isArray(value) && value.every(isPlain)) { return value.join(', '); }
    if (typeof value === 'boolean') { return value ? page.text.yes : page.text.no; }
    return isPlain(value) ? String(value) : JSON.stringify(value);
  }

  function isPlain(value) {
    return typeof value === 'string' || typeof value === 'number';
  }

  // ---- Views ----

  /*
   * Makes buttons ignore clicks for scangate.CLICK_BLOCK_MS || 500. The second tap of a double tap was meant for the previous view,
   * and would answer an unread question. Buttons are only marked as disabled, so they keep the focus and work by keyboard,
   * which is safe because the focus never moves to a button that confirms or declines.
   */
  page.blockClicks = function () {
    var block = blocks += 1;
    [].forEach.call(document.querySelectorAll(BUTTONS), function (button) { button.setAttribute('aria-disabled', 'true'); });
    setTimeout(function () {
      if (block !== blocks) { return; }
      [].forEach.call(document.querySelectorAll(BUTTONS), function (button) { button.removeAttribute('aria-disabled'); });
    }, scangate.CLICK_BLOCK_MS);
  };

  document.addEventListener('click', function (event) {
    var button = event.target;
    while (button && button.nodeName !== 'BUTTON') { button = button.parentNode; }
    // A click by keyboard has the detail 0, and is always accepted.
    if (event.detail && button && button.getAttribute('aria-disabled') === 'true') {
      event.preventDefault();
      event.stopPropagation();
    }
  }, true);

  /* Shows a view. data-state is the view's name, or `offline` while the connection of `code` is lost. */
  page.showView = function (view, code) {
    if (document.body.getAttribute('data-view') !== view) { page.blockClicks(); }
    scangate.setAttribute(document.body, 'data-view', view);
    scangate.setAttribute(document.body, 'data-state', code && code.away ? 'offline' : view);
    scangate.setAttribute(document.body, 'data-transport', (code && code.transport) || 'none');
  };

  // For display only, without verification: the receiving site verifies the JWT.
  page.decodeJwt = function (token) {
    var part = String(token).split('.')[1] || '';
    try {
      part = atob(part.replace(/-/g, '+').replace(/_/g, '/'));
      return JSON.parse(decodeURIComponent(part.replace(/[\s\S]/g, function (byte) {
        return '%' + ('0' + byte.charCodeAt(0).toString(16)).slice(-2);
      })));
    } catch (e) {
      return null;
    }
  };

  page.isWebUrl = function (address) {
    return /^https?:\/\//i.test(address);
  };

  // ---- What this tab remembers: nothing that is secret ----

  /* Returns what `store` has kept in this tab; null if storage is disabled. */
  page.stored = function (key) {
    try { return sessionStorage.getItem(key); } catch (e) { return null; }
  };

  /* Keeps a text in this tab, or removes it. Returns whether storage is enabled. */
  page.store = function (key, text) {
    try {
      if (text === null) { sessionStorage.removeItem(key); } else { sessionStorage.setItem(key, text); }
      return true;
    } catch (e) {
      return false;
    }
  };

  // ---- A code across a reload ----

  // The key of the stored ticket id. The id is not a secret: requests are authenticated by cookies.
  var STORED = 'scangate.ticket';

  /* Makes scangate.js continue with the code that this tab showed for the same purpose before a reload. */
  page.resumeCode = function (options) {
    var stored;
    try { stored = JSON.parse(page.stored(STORED)); } catch (e) { /* not ours */ }
    if (stored && stored.purpose === purpose()) { options.resume = stored; }
  };

  /* Stores the code for resumeCode, or removes a code that has ended. Never stores a code with a bearer secret; scangate.js
     withdraws that code when the page is closed. */
  page.storeCode = function (options, state, code) {
    var ticket = code.ticket || {};
    if (state === 'loading' || (state === 'scanned' && options.resumable)) { return; }
    options.resumable = false;
    if ((state === 'waiting' || state === 'scanned') && !ticket.ticket_secret) {
      options.resumable = page.store(STORED, JSON.stringify({ purpose: purpose(), ticket_id: ticket.ticket_id, client: code.client }));
    } else {
      page.store(STORED, null);
    }
  };

  // An authorization request is a purpose of its own, in whichever language.
  function purpose() {
    return page.isAuthorization ? location.search.replace(/&lang=[^&]*/g, '')
      : [location.pathname, page.query.client_id].join(' ');
  }

  // ---- The query string ----

  function readQuery(search) {
    var found = {};
    search.replace(/^\?/, '').split('&').forEach(function (pair) {
      var equals = pair.indexOf('=');
      if (equals > 0) { found[decode(pair.slice(0, equals))] = decode(pair.slice(equals + 1)); }
    });
    return found;
  }

  function decode(part) {
    try { return decodeURIComponent(part.replace(/\+/g, ' ')); } catch (e) { return ''; }
  }
}());
