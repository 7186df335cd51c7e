/*
 * Requests to the gateway and lists of request details, for the pages confirm, share and receive.
 *
 * Needs scangate.js and page.js. ES5 and the browser API of 2014 only.
 */
(function () {
  'use strict';

  var scangate = window.scangate;
  var page = window.scangatePage;

  var skewMs = 0;              // how far the gateway's clock is ahead of this device's
  var isLeaving = false;       // whether the browser is on its way to another page

  page.busy = false;

  // ---- Requests ----

  /* Sends a request as scangate.send does. `done` gets the status 0 if there is no response. */
  page.send = function (method, url, options, done) {
    return scangate.send(method, url, options, function (status, body, xhr) {
      var serverNow = status && Date.parse(xhr.getResponseHeader('Date') || '');
      if (serverNow) { skewMs = serverNow - Date.now(); }
      done(status, body, xhr);
    });
  };

  page.noop = function () {
    // For requests whose response does not matter: a ticket that could not be cancelled expires.
  };

  /* Returns the time to wait before a retry, from Retry-After, in milliseconds; 0 without it. */
  page.retryAfterMs = function (xhr) {
    return (xhr.status && parseFloat(xhr.getResponseHeader('Retry-After')) * 1000) || 0;
  };

  /* Converts a time of the gateway's clock into milliseconds of this device's clock, which may be wrong. */
  page.toLocalTime = function (stamp) {
    return Date.parse(stamp) - skewMs;
  };

  /* Sends a POST unless another one is in progress. Disables all buttons until the response arrives. */
  page.post = function (url, options, done) {
    var focused = document.activeElement;
    if (page.busy) { return; }
    setBusy(true);
    page.send('POST', url, options, function (status, body, xhr) {
      setBusy(false);
      done(status, body, xhr);
      // A disabled button loses the focus. Return the focus if the button is still visible.
      if (focused && document.activeElement === document.body && scangate.isVisible(focused)) { focused.focus(); }
    });
  };

  /* Leaves for another page. The buttons stay disabled until then, also for a person who comes back from there by history. */
  page.leave = function (url) {
    isLeaving = true;
    setBusy(true);
    location.href = url;
  };

  window.addEventListener('pageshow', function (event) {
    if (event.persisted && isLeaving) { location.reload(); }
  });

  function setBusy(busy) {
    page.busy = busy;
    document.body.setAttribute('data-busy', busy ? 'yes' : 'no');
    [].forEach.call(document.querySelectorAll('.view button'), function (button) { button.disabled = busy; });
  }

  // ---- The details of a request ----

  /* Lists details of a request. Each is a pair: the name of its text, and its value. */
  page.showFacts = function (list, facts) {
    page.empty(list);
    facts.forEach(function (fact) {
      page.addRow(list, 'data-fact', fact[0], page.text[fact[0]], fact[1] || page.text.unknown);
    });
  };

  /* Returns the names of claims in the page's language. */
  page.claimNames = function (claims) {
    return claims.map(page.claimName).join(page.text.comma);
  };

  page.claimName = function (claim) {
    return Object.prototype.hasOwnProperty.call(page.text.claims, claim) ? page.text.claims[claim] : claim;
  };

  /* Formats a time, in milliseconds of this device's clock, together with its age. */
  page.timeAgo = function (time) {
    var secs = Math.round((Date.now() - time) / 1000);
    var age = secs < 5 ? page.text.just_now
      : secs < 60 ? scangate.format(page.text.secs_ago, { n: secs - secs % 5 })
      : scangate.format(page.text.mins_ago, { n: Math.floor(secs / 60) });
    return time ? localTime(new Date(time)) + ' · ' + age : '';
  };

  function localTime(date) {
    try {
      return date.toLocaleTimeString(page.lang, { hour: 'numeric', minute: '2-digit' });
    } catch (e) {
      return date.toLocaleTimeString();
    }
  }

  /* Shows the time until a deadline in #countdown, or nothing without a deadline. Returns that time in seconds. */
  page.showCountdown = function (deadline) {
    var secs = Math.max(0, Math.ceil((deadline - Date.now()) / 1000));
    page.setText('countdown', deadline ? scangate.format(page.text.left, { time: scangate.formatTime(secs) }) : '');
    return secs;
  };

  // ---- People and clients ----

  // First and last initial; the last two characters of a Chinese, Japanese or Korean name.
  page.initials = function (name) {
    var chars = name.match(/[\uD800-\uDBFF][\uDC00-\uDFFF]|\S/g) || ['?'];
    var parts = name.split(/\s+/).filter(Boolean);
    var last;
    if (/^[\u3040-\u30FF\u3400-\u9FFF\uAC00-\uD7AF]/.test(chars[0])) { return chars.slice(-2).join(''); }
    last = parts.length > 1 ? parts[parts.length - 1].match(/[\uD800-\uDBFF][\uDC00-\uDFFF]|\S/)[0] : '';
    return (chars[0] + last).toUpperCase();
  };

  /* Replaces the gateway's own logo with the client's, if the client has one. */
  page.showLogo = function (id, client) {
    var own = page.byId(id);
    var logo = document.createElement('img');
    if (!client || !isOwnPath(client.logo)) { return; }
    logo.id = id;
    logo.className = 'logo';
    logo.alt = '';
    logo.width = logo.height = 44;
    logo.src = client.logo;
    own.parentNode.replaceChild(logo, own);
  };

  /* Applies the colours of a client that the page knows only after the scan. */
  page.applyTheme = function (client) {
    var link;
    if (!client || !isOwnPath(client.theme) || document.querySelector('link[href="' + client.theme + '"]')) { return; }
    link = document.createElement('link');
    link.rel = 'stylesheet';
    link.href = client.theme;
    document.head.appendChild(link);
  };

  // Accepts only paths of the gateway's origin: the pages request nothing from third parties.
  function isOwnPath(address) {
    return /^\/(?![\/\\])[\w.\/-]+$/.test(address || '');
  }

  // ---- Views ----

  /* Shows a view that waits for changes of `code`, with a banner while the connection is lost. */
  page.showLiveView = function (view, code) {
    page.showView(view, code);
    page.setText('banner', !code || !code.away ? '' : navigator.onLine === false ? page.text.offline : page.text.reconnecting);
  };
}());
