/*
 * What every page does: words, views, and a list of what a JWT says.
 *
 * Everything that the pages' scripts share hangs on one global, scangatePage. This file makes it; request.js, person.js, number.js
 * and outcome.js add to it on the pages that need them; a page's own script comes last.
 *
 * ES5 and the browser API of 2014 only.
 */
(function () {
  'use strict';

  var page = window.scangatePage = {};

  var TICK_MS = 500;
  // How long two taps may be apart to be a double tap: so long, what has just come takes none.
  var GUARD_MS = 500;
  var TIME_CLAIMS = { exp: 1, iat: 1, nbf: 1, auth_time: 1, confirmed_at: 1, updated_at: 1 };
  var ISOLATES = /[\u2066-\u2069]/;
  // What turns text around (Unicode TR 9); the gateway takes it out of names as well.
  var DIRECTIONS = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

  var guards = 0;

  page.query = readQuery(location.search);
  page.lang = document.documentElement.lang;
  page.text = {};

  // ---- Words ----

  /* Reads the page's words, which the gateway has put beside them in the language of the page. Returns them. */
  page.begin = function () {
    page.text = JSON.parse(page.byId('texts').textContent);
    return page.text;
  };

  page.byId = function (id) {
    return document.getElementById(id);
  };

  page.setText = function (id, words) {
    page.setContent(page.byId(id), words);
  };

  // Writing the same words again would make a screen reader say them again. What is isolated becomes a <bdi>.
  page.setContent = function (element, words) {
    var parts = String(words).split(ISOLATES);
    if (element.textContent === parts.join('')) { return; }
    page.empty(element);
    parts.forEach(function (part, i) {
      var at = i % 2 ? element.appendChild(document.createElement('bdi')) : element;
      if (part) { at.appendChild(document.createTextNode(part)); }
    });
  };

  // Setting what is there already makes a browser style and lay out again.
  page.mark = function (element, name, value) {
    if (element.getAttribute(name) !== value) { element.setAttribute(name, value); }
  };

  /* Isolates a name that others chose (Unicode TR 9, 2068 and 2069): whichever way it is written, it turns nothing around it. */
  page.isolate = function (name) {
    return '\u2068' + String(name).replace(DIRECTIONS, '') + '\u2069';
  };

  /* Puts values in the place of their names in braces, each isolated but for times and numbers. */
  page.phrase = function (words, values) {
    return words.replace(/\{(\w+)\}/g, function (slot, name) {
      var value = values[name];
      return value === undefined ? slot : /^[\d:]*$/.test(value) ? value : page.isolate(value);
    });
  };

  // ---- Time ----

  /*
   * Calls `step` twice a second, so that no second is left out, while somebody looks; and at once when they look again.
   * What a step shows changes once a second at most: a page that repaints more often costs the visitor's battery.
   */
  page.eachSecond = function (step) {
    function look() {
      if (!document.hidden) { step(); }
    }
    setInterval(look, TICK_MS);
    document.addEventListener('visibilitychange', look);
  };

  // ---- Lists ----

  page.empty = function (element) {
    while (element.firstChild) { element.removeChild(element.firstChild); }
  };

  /* Adds a term and its value to a <dl>; the value has `attribute`="name". */
  page.addRow = function (list, attribute, name, term, value) {
    var row = document.createElement('div');
    var left = document.createElement('dt');
    var right = document.createElement('dd');
    left.textContent = term;
    page.setContent(right, page.isolate(value));
    right.setAttribute(attribute, name);
    row.className = 'fact-' + name;
    row.appendChild(left);
    row.appendChild(right);
    list.appendChild(row);
  };

  /* Says in words what a site learns by a JWT, and lists all claims as they are, folded away. */
  page.showClaims = function (token) {
    var claims = page.decodeJwt(token.access_token) || {};
    page.hideClaims();
    Object.keys(page.text.claims).forEach(function (name) {
      if (has(claims, name)) { page.addRow(page.byId('claims'), 'data-claim', name, page.text.claims[name], claimText(name, claims[name])); }
    });
    if (claims.exp) { page.addRow(page.byId('claims'), 'data-claim', 'exp', page.text.until, claimText('exp', claims.exp)); }
    Object.keys(claims).forEach(function (name) {
      page.addRow(page.byId('raw-claims'), 'data-claim', name, name, claimText(name, claims[name]));
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

  function claimText(name, value) {
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
   * Lets no tap through that was meant for what stood here before: the second of a double tap would answer what nobody has
   * read. Buttons are said to be disabled and are not, so that none loses the focus. Keys work: they go to where the focus
   * is, which never moves to a button that decides.
   */
  page.guard = function () {
    var mine = guards += 1;
    [].forEach.call(document.querySelectorAll('.button, .link'), function (button) { button.setAttribute('aria-disabled', 'true'); });
    setTimeout(function () {
      if (mine !== guards) { return; }
      [].forEach.call(document.querySelectorAll('.button, .link'), function (button) { button.removeAttribute('aria-disabled'); });
    }, GUARD_MS);
  };

  document.addEventListener('click', function (event) {
    var at = event.target;
    while (at && at.nodeName !== 'BUTTON') { at = at.parentNode; }
    // A key's click has no count.
    if (event.detail && at && at.getAttribute('aria-disabled') === 'true') {
      event.preventDefault();
      event.stopPropagation();
    }
  }, true);

  /* Puts a view on show; its state has another name only while the connection is away. `code` is what waits for news. */
  page.showView = function (view, code) {
    if (document.body.getAttribute('data-view') !== view) { page.guard(); }
    page.mark(document.body, 'data-view', view);
    page.mark(document.body, 'data-state', code && code.away ? 'offline' : view);
    page.mark(document.body, 'data-transport', (code && code.transport) || 'none');
  };

  // For show only: what counts is what the gateway has verified, or the site that is handed the JWT verifies.
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

  // ---- A code across a reload ----

  // The ticket's id, which proves nothing by itself: that does the cookie, or the person's token.
  var KEPT = 'scangate.ticket';

  /* Has scangate.js go on with the code that this tab had for the same purpose before it was loaded again, if it had one. */
  page.resume = function (options) {
    var kept;
    try { kept = JSON.parse(sessionStorage.getItem(KEPT)); } catch (e) { /* storage may be switched off */ }
    if (kept && kept.purpose === purpose()) { options.resume = kept; }
  };

  /* Keeps the code on show for that, and forgets one that is over. A bearer secret is never kept: such a code is withdrawn
     when the page goes. */
  page.keepCode = function (options, state, code) {
    var ticket = code.ticket || {};
    if (state === 'loading' || (state === 'scanned' && options.resumable)) { return; }
    options.resumable = false;
    try {
      if ((state === 'waiting' || state === 'scanned') && !ticket.ticket_secret) {
        sessionStorage.setItem(KEPT, JSON.stringify({ purpose: purpose(), ticket_id: ticket.ticket_id, client: code.client }));
        options.resumable = true;
      } else {
        sessionStorage.removeItem(KEPT);
      }
    } catch (e) { /* see above */ }
  };

  function purpose() {
    return [location.pathname, page.query.client_id, page.query.return_to].join(' ');
  }

  // ---- The query string ----

  function readQuery(search) {
    var found = {};
    search.replace(/^\?/, '').split('&').forEach(function (pair) {
      var at = pair.indexOf('=');
      if (at > 0) { found[decode(pair.slice(0, at))] = decode(pair.slice(at + 1)); }
    });
    return found;
  }

  function decode(part) {
    try { return decodeURIComponent(part.replace(/\+/g, ' ')); } catch (e) { return ''; }
  }
}());
