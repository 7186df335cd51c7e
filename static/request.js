/*
 * What the pages of those who decide or ask do, beside the sign-in page: requests of their own, and facts about one.
 *
 * Needs scangate.js and page.js. ES5 and the browser API of 2014 only.
 */
(function () {
  'use strict';

  var page = window.scangatePage;

  var skewMs = 0;              // what the gateway's clock is ahead of this device's

  page.busy = false;

  // ---- Requests ----

  /* Sends a request, as scangate.js does. `done` is given 0 if nothing came back. */
  page.send = function (method, url, more, done) {
    return window.scangate.send(method, url, more, function (status, body, xhr) {
      var serverNow = status && Date.parse(xhr.getResponseHeader('Date') || '');
      if (serverNow) { skewMs = serverNow - Date.now(); }
      done(status, body, xhr);
    });
  };

  page.ignore = function () {
    // Fire and forget: a ticket that could not be cancelled expires.
  };

  /* What the gateway says to wait before another try, or 0. */
  page.retryAfterMs = function (xhr) {
    return (xhr.status && parseFloat(xhr.getResponseHeader('Retry-After')) * 1000) || 0;
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

  // ---- Facts ----

  /* Lists facts, each by the name that is also its word. */
  page.showFacts = function (list, facts) {
    page.empty(list);
    facts.forEach(function (fact) {
      page.addRow(list, 'data-fact', fact[0], page.text[fact[0]], fact[1] || page.text.unknown);
    });
  };

  /* Names claims as people call them. */
  page.claimNames = function (claims) {
    return claims.map(page.claimName).join(page.text.comma);
  };

  page.claimName = function (claim) {
    return Object.prototype.hasOwnProperty.call(page.text.claims, claim) ? page.text.claims[claim] : claim;
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

  page.clock = function (secs) {
    return Math.floor(secs / 60) + ':' + ('0' + secs % 60).slice(-2);
  };

  // ---- People and clients ----

  // First and last initial; of a Chinese, Japanese or Korean name its last two characters.
  page.initials = function (name) {
    var chars = name.match(/[\uD800-\uDBFF][\uDC00-\uDFFF]|\S/g) || ['?'];
    var parts = name.split(/\s+/).filter(Boolean);
    var last;
    if (/^[\u3040-\u30FF\u3400-\u9FFF\uAC00-\uD7AF]/.test(chars[0])) { return chars.slice(-2).join(''); }
    last = parts.length > 1 ? parts[parts.length - 1].match(/[\uD800-\uDBFF][\uDC00-\uDFFF]|\S/)[0] : '';
    return (chars[0] + last).toUpperCase();
  };

  /* Puts a client's logo in the place of the gateway's own, which is drawn in the client's colours. */
  page.showLogo = function (id, client) {
    var own = page.byId(id);
    var logo = document.createElement('img');
    if (!client || !isOurs(client.logo)) { return; }
    logo.id = id;
    logo.className = 'logo';
    logo.alt = '';
    logo.width = logo.height = 44;
    logo.src = client.logo;
    own.parentNode.replaceChild(logo, own);
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

  // ---- Views ----

  /* Puts a view on show that waits for news, and says in words when the connection is away. */
  page.showTouch = function (view, code) {
    page.showView(view, code);
    page.setText('banner', !code || !code.away ? '' : navigator.onLine === false ? page.text.offline : page.text.reconnecting);
  };

  page.isSeen = function (element) {
    return element.offsetWidth > 0 && window.getComputedStyle(element).visibility !== 'hidden';
  };
}());
