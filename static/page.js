/*
 * What every page does: words, requests to the gateway, and lists of facts and claims.
 *
 * Everything that the pages' scripts share hangs on one global, scangatePage. This file makes it; person.js, number.js,
 * outcome.js, watch.js and code.js add to it on the pages that need them; a page's own script comes last.
 *
 * ES5 and the browser API of 2014 only.
 */
(function () {
  'use strict';

  var page = window.scangatePage = {};

  var SEND_TIMEOUT_MS = 15000;
  var MAX_BACKOFF_MS = 15000;
  var skewMs = 0;              // what the gateway's clock is ahead of this device's
  var TIME_CLAIMS = { exp: 1, iat: 1, nbf: 1, auth_time: 1, updated_at: 1 };

  page.query = readQuery(location.search);
  page.lang = document.documentElement.lang;
  page.text = {};
  page.busy = false;

  // ---- Words ----

  /* Reads the page's words, which the gateway has put beside them in the language of the page. Returns them. */
  page.begin = function () {
    page.text = page.parse(page.byId('texts').textContent);
    return page.text;
  };

  page.byId = function (id) {
    return document.getElementById(id);
  };

  page.setText = function (id, words) {
    page.setContent(page.byId(id), words);
  };

  // Writing the same words again would make a screen reader say them again.
  page.setContent = function (element, words) {
    if (element.textContent !== words) { element.textContent = words; }
  };

  /* Puts values in the place of their names in braces. */
  page.phrase = function (words, values) {
    return words.replace(/\{(\w+)\}/g, function (slot, name) {
      return values[name] === undefined ? slot : values[name];
    });
  };

  page.clock = function (secs) {
    return Math.floor(secs / 60) + ':' + ('0' + secs % 60).slice(-2);
  };

  // First and last initial; of a Chinese, Japanese or Korean name its last two characters.
  page.initials = function (name) {
    var chars = name.match(/[\uD800-\uDBFF][\uDC00-\uDFFF]|\S/g) || ['?'];
    var parts = name.split(/\s+/).filter(Boolean);
    var last;
    if (/^[\u3040-\u30FF\u3400-\u9FFF\uAC00-\uD7AF]/.test(chars[0])) { return chars.slice(-2).join(''); }
    last = parts.length > 1 ? parts[parts.length - 1].match(/[\uD800-\uDBFF][\uDC00-\uDFFF]|\S/)[0] : '';
    return (chars[0] + last).toUpperCase();
  };

  /* Says when something was, in this device's time. */
  page.ago = function (at) {
    var secs = Math.round((Date.now() - at) / 1000);
    var words = secs < 5 ? page.text.just_now
      : secs < 60 ? page.phrase(page.text.secs_ago, { n: secs - secs % 5 })
      : page.phrase(page.text.mins_ago, { n: Math.floor(secs / 60) });
    return at ? localTime(new Date(at)) + ' · ' + words : '';
  };

  function localTime(date) {
    try {
      return date.toLocaleTimeString(page.lang, { hour: 'numeric', minute: '2-digit' });
    } catch (e) {
      return date.toLocaleTimeString();
    }
  }

  /* Names claims as people call them. */
  page.claimNames = function (claims) {
    return claims.map(page.claimName).join(page.text.comma);
  };

  page.claimName = function (claim) {
    return Object.prototype.hasOwnProperty.call(page.text.claims, claim) ? page.text.claims[claim] : claim;
  };

  // ---- Lists and pictures ----

  page.empty = function (element) {
    while (element.firstChild) { element.removeChild(element.firstChild); }
  };

  /* Adds a term and its value to a <dl>; the value has `attribute`="name". */
  page.addRow = function (list, attribute, name, term, value) {
    var row = document.createElement('div');
    var left = document.createElement('dt');
    var right = document.createElement('dd');
    left.textContent = term;
    right.textContent = value;
    right.setAttribute(attribute, name);
    row.appendChild(left);
    row.appendChild(right);
    list.appendChild(row);
  };

  /* Lists facts, each by the name that is also its word. */
  page.showFacts = function (list, facts) {
    page.empty(list);
    facts.forEach(function (fact) {
      page.addRow(list, 'data-fact', fact[0], page.text[fact[0]], fact[1] || page.text.unknown);
    });
  };

  /* Lists what a JWT says. */
  page.showClaims = function (list, token) {
    var claims = page.decodeJwt(token.access_token) || { expires_in: token.expires_in };
    page.empty(list);
    Object.keys(claims).forEach(function (name) {
      page.addRow(list, 'data-claim', name, name, claimText(name, claims[name]));
    });
  };

  function claimText(name, value) {
    if (TIME_CLAIMS[name] && typeof value === 'number') { return new Date(value * 1000).toLocaleString(page.lang); }
    if (Array.isArray(value) && value.every(isPlain)) { return value.join(', '); }
    if (typeof value === 'boolean') { return value ? page.text.yes : page.text.no; }
    return isPlain(value) ? String(value) : JSON.stringify(value);
  }

  function isPlain(value) {
    return typeof value === 'string' || typeof value === 'number';
  }

  page.logoOf = function (client) {
    return client && isOurs(client.logo) ? client.logo : document.querySelector('link[rel="icon"]').href;
  };

  /* Puts on the colours of a client that the page has learnt of only now. */
  page.showTheme = function (client) {
    var link;
    if (!client || !isOurs(client.theme) || document.querySelector('link[href="' + client.theme + '"]')) { return; }
    link = document.createElement('link');
    link.rel = 'stylesheet';
    link.href = client.theme;
    document.head.appendChild(link);
  };

  // Only our own origin: the pages ask nothing of third parties.
  function isOurs(address) {
    return /^\/(?![\/\\])[\w.\/-]+$/.test(address || '');
  }

  /* Puts a view on show; its state has another name only while the connection is away. */
  page.showView = function (view, state) {
    document.body.setAttribute('data-view', view);
    document.body.setAttribute('data-state', state || view);
  };

  page.isSeen = function (element) {
    return element.offsetWidth > 0 && window.getComputedStyle(element).visibility !== 'hidden';
  };

  // ---- Requests ----

  /* Sends a request; `more` may have a body, a bearer token, and timeoutMs. `done` is given 0 if nothing came back. */
  page.send = function (method, url, more, done) {
    var xhr = new XMLHttpRequest();
    xhr.open(method, url, true);
    xhr.timeout = more.timeoutMs || SEND_TIMEOUT_MS;
    xhr.setRequestHeader('Accept', 'application/json');
    if (more.token) { xhr.setRequestHeader('Authorization', 'Bearer ' + more.token); }
    if (more.body) { xhr.setRequestHeader('Content-Type', 'application/json'); }
    xhr.onload = function () {
      var serverNow = Date.parse(xhr.getResponseHeader('Date') || '');
      if (serverNow) { skewMs = serverNow - Date.now(); }
      done(xhr.status, page.parse(xhr.responseText), xhr);
    };
    xhr.onerror = xhr.ontimeout = function () { done(0, null, xhr); };
    xhr.send(more.body ? JSON.stringify(more.body) : null);
    return xhr;
  };

  page.ignore = function () {
    // Fire and forget: a ticket that could not be cancelled expires.
  };

  page.parse = function (json) {
    try { return JSON.parse(json); } catch (e) { return null; }
  };

  page.retryAfterMs = function (body, xhr) {
    var header = xhr.status ? xhr.getResponseHeader('Retry-After') : null;
    var secs = parseFloat(header || (body && body.retry_after));
    return secs > 0 ? Math.min(secs, 3600) * 1000 : 0;
  };

  page.backoffMs = function (failures) {
    return Math.min(MAX_BACKOFF_MS, 500 * Math.pow(2, failures)) * (0.75 + Math.random() / 4);
  };

  /* Reads one of the gateway's times in this device's time, whose clock may be wrong. */
  page.timeOf = function (stamp) {
    return Date.parse(stamp) - skewMs;
  };

  /* Sends a POST unless another is on its way. Until it is answered no button can be pressed. */
  page.post = function (url, more, done) {
    var at = document.activeElement;
    if (page.busy) { return; }
    setBusy(true);
    page.send('POST', url, more, function (status, body, xhr) {
      setBusy(false);
      done(status, body, xhr);
      // A button that could not be pressed has lost the focus; it gets it back if it is still there.
      if (at && document.activeElement === document.body && page.isSeen(at)) { at.focus(); }
    });
  };

  function setBusy(yes) {
    page.busy = yes;
    document.body.setAttribute('data-busy', yes ? 'yes' : 'no');
    [].forEach.call(document.querySelectorAll('.view button'), function (button) { button.disabled = yes; });
  }

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
