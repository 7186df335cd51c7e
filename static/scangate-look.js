/*
 * The widget of scangate.js: the QR code, a ring that shows the time left, and instructions.
 *
 * Its elements have the classes scangate-NAME, with the names in ELEMENTS. The root has data-state, data-reason and
 * data-transport. The texts come from the options, or from the gateway in the language that the browser prefers.
 *
 * Needs scangate.js and dom.js; the gateway serves dom.js at the start of this file. ES5.
 */
(function () {
'use strict';

// The ring's path, which starts in the middle of its top, and the length of that path.
var ROUND = 'M132,3H237A24,24,0,0,1,261,27V237A24,24,0,0,1,237,261H27A24,24,0,0,1,3,237V27A24,24,0,0,1,27,3Z';
var RING = 991;
var LOW_SECS = 15;
var SVG = 'http://www.w3.org/2000/svg';
var ICONS = { confirmed: 'M20 33l8.5 8.5L44.5 24', declined: 'M23 23l18 18M41 23L23 41', cancelled: 'M23 23l18 18M41 23L23 41', error: 'M32 18v17M32 45v.1' };
// The elements: name, parent, tag, attributes. A comma in an attribute becomes a space.
var ELEMENTS = [
  'banner root p role=status',
  'stage root div',
  'ring stage svg viewBox=0,0,264,264 aria-hidden=true',
  'track ring path d=' + ROUND,
  'left ring path d=' + ROUND,
  'plate stage div',
  'qr plate img width=248 height=248',
  'spinner stage span aria-hidden=true',
  'person stage div',
  'avatar person span aria-hidden=true',
  'who person span',
  'number person span aria-hidden=true',
  'dots person span aria-hidden=true',
  'end stage div',
  'sign end svg viewBox=0,0,64,64 aria-hidden=true',
  'disc sign circle cx=32 cy=32 r=30',
  'mark sign path',
  'refresh end button type=button',
  'meta root p',
  'timer meta span role=timer',
  'renew meta button type=button',
  'message root div role=status',
  'title message strong',
  'detail message span',
  'help root p',
  'link help a target=_blank rel=noopener,noreferrer'
];

var scangate = window.scangate;
var setAttribute = scangate.setAttribute;
var setContent = scangate.setContent;

function append(parent, tag, attributes) {
  var isSvg = /^(svg|rect|circle|path)$/.test(tag);
  var element = isSvg ? scangate.doc('createElementNS', SVG, tag) : scangate.doc('createElement', tag);
  Object.keys(attributes).forEach(function (name) { element.setAttribute(name, attributes[name]); });
  return parent.appendChild(element);
}

// The page may have loaded the style sheet already, in its own HTML or for another code.
function loadStyle(gateway, path) {
  if (!scangate.doc('querySelector', 'link[rel=stylesheet][href*="' + path + '"]')) { append(scangate.doc('querySelector', 'head'), 'link', { rel: 'stylesheet', href: gateway + path }); }
}

/* Creates the widget inside `element`. Returns a function that updates the widget from `code`. */
scangate.look = function (element, code, options, gateway) {
  var text = options.texts || {};
  var elements = { root: append(element, 'div', { 'class': 'scangate', tabindex: '-1' }) };
  var isThemed = false;
  var hiddenFocus = null;      // the element that had the focus before it was hidden
  var failures = 0;
  var rendered = '';
  var blocks = 0;
  var hasWarned = false;       // whether the site's developer has been warned
  var unlisted = false;        // whether the gateway is reachable, but does not list this page's origin

  function textOf(name, values) {
    return scangate.format(text[name] || '', values || {});
  }

  function build() {
    ELEMENTS.forEach(function (line) {
      var fields = line.split(' ');
      var attributes = { 'class': 'scangate-' + fields[0] };
      fields.slice(3).forEach(function (pair) {
        attributes[pair.split('=')[0]] = pair.split('=')[1].replace(/,/g, ' ');
      });
      elements[fields[0]] = append(elements[fields[1]], fields[2], attributes);
    });
    [1, 2, 3].forEach(function () { append(elements.dots, 'i', {}); });
    elements.refresh.className += ' scangate-button';
    elements.left.setAttribute('stroke-dasharray', RING);
    elements.refresh.onclick = elements.renew.onclick = function (event) {
      // A click by keyboard has the detail 0, and is always accepted.
      if (!event.detail || !event.currentTarget.hasAttribute('aria-disabled')) { code.refresh(); }
    };
  }

  // The second click of a double click belongs to the previous state. Buttons are only marked as disabled, so they keep the
  // focus and work by keyboard.
  function blockClicks() {
    var buttons = [elements.refresh, elements.renew], block = blocks += 1;
    buttons.forEach(function (button) { button.setAttribute('aria-disabled', 'true'); });
    setTimeout(function () {
      if (block === blocks) { buttons.forEach(function (button) { button.removeAttribute('aria-disabled'); }); }
    }, scangate.CLICK_BLOCK_MS);
  }

  function render() {
    var active = scangate.own('activeElement');
    var focused = elements.root.contains(active) && active;
    if (elements.root.getAttribute('data-state') !== code.state) { blockClicks(); }
    setAttribute(elements.root, 'data-state', code.state);
    setAttribute(elements.root, 'data-reason', code.reason);
    setAttribute(elements.root, 'data-transport', code.transport);
    applyTheme();
    renderTicket(code.ticket || {});
    renderTexts();
    renderTime();
    keepFocus(focused);
  }

  // Moves the focus only if its element was hidden, and moves it back when the element is visible again.
  function keepFocus(focused) {
    if (focused && !scangate.isVisible(focused)) {
      hiddenFocus = focused;
      (scangate.isVisible(elements.refresh) ? elements.refresh : elements.root).focus();
    } else if (hiddenFocus && focused === elements.root && scangate.isVisible(hiddenFocus)) {
      hiddenFocus.focus();
      hiddenFocus = null;
    }
  }

  function applyTheme() {
    if (isThemed || !code.client) { return; }
    isThemed = true;
    if (code.client.theme) { loadStyle(gateway, code.client.theme); }
  }

  function renderTicket(ticket) {
    var person = (ticket.scanned_by || {}).name || text.someone || '';
    var hasLink = !connector() && /^https?:/.test(ticket.scan_url);
    if (code.qr) { setAttribute(elements.qr, 'src', code.qr); }
    if (elements.qr.hidden !== !code.qr) { elements.qr.hidden = !code.qr; }
    setAttribute(elements.qr, 'aria-hidden', code.state !== 'waiting');
    setAttribute(elements.mark, 'd', ICONS[code.state] || '');
    // Hidden but not removed, so that the layout does not move.
    if (elements.help.style.visibility !== (hasLink ? '' : 'hidden')) { elements.help.style.visibility = hasLink ? '' : 'hidden'; }
    if (hasLink) { setAttribute(elements.link, 'href', ticket.scan_url); }
    // The person's picture is not loaded, because its host would learn who signs in where.
    setContent(elements.who, person && scangate.isolate(person));
    setContent(elements.avatar, (/[\uD800-\uDBFF][\uDC00-\uDFFF]|\S/.exec(person) || [''])[0].toUpperCase());
    setContent(elements.number, ticket.number || '');
    setAttribute(elements.root, 'data-number', ticket.number ? 'yes' : 'no');
  }

  function renderTexts() {
    var values = { name: (code.client || {}).name || text.some_site, number: (code.ticket || {}).number };
    var pair = unlisted ? text.unlisted : text[code.reason + '_' + connector()] || text[code.reason] || text[code.state] || ['', ''];
    var problem = code.problem && code.problem.detail;
    setAttribute(elements.qr, 'alt', textOf('qr', values));
    setContent(elements.banner, code.away ? textOf(navigator.onLine === false ? 'offline' : 'reconnecting') : '');
    setContent(elements.link, textOf('scan_link'));
    setContent(elements.renew, textOf('renew'));
    setContent(elements.title, scangate.format(pair[0], values));
    setContent(elements.detail, code.reason === 'failed' && problem || scangate.format(pair[1], values));
    setAttribute(elements.detail, 'lang', code.reason === 'failed' && problem ? 'en' : elements.root.lang || scangate.own('documentElement').lang);
  }

  function renderTime() {
    var now = Date.now();
    // Whole seconds: ring, text and dots change together, in one repaint per second and without an animation.
    var left = Math.max(0, Math.ceil((code.deadline - now) / 1000));
    var wait = code.retryAt ? Math.max(0, Math.ceil((code.retryAt - now) / 1000)) : 0;
    var isOffline = code.reason === 'unreachable' || navigator.onLine === false;
    setContent(elements.timer, code.deadline ? textOf('left', { time: scangate.formatTime(left) }) : '');
    setAttribute(elements.stage, 'data-low', code.deadline && left <= LOW_SECS ? 'yes' : 'no');
    setAttribute(elements.left, 'stroke-dashoffset', code.state === 'confirmed' ? 0 : Math.round(RING * (1 - Math.min(1, left && left * 1000 / code.lifeMs))));
    setAttribute(elements.dots, 'data-beat', left % 3);
    setContent(elements.refresh, code.state !== 'error' ? textOf('renew') : textOf(wait && !isOffline ? 'retry_in' : 'retry', { time: scangate.formatTime(wait) }));
    // No retry before the time in Retry-After. If the gateway is unreachable, the person may retry at any time.
    if (elements.refresh.disabled !== (wait > 0 && !isOffline)) { elements.refresh.disabled = wait > 0 && !isOffline; }
  }

  function connector() {
    return (code.client || {}).connector;
  }

  function loadTexts() {
    var url = gateway + '/static/texts.json' + (options.lang ? '?lang=' + encodeURIComponent(options.lang) : '');
    scangate.send('GET', url, {}, function (status, table, xhr) {
      if (status !== 200 || !table) {
        // Retry until it works: without texts the buttons have no labels.
        setTimeout(loadTexts, scangate.pauseMs(xhr, ++failures));
        return;
      }
      text = table.texts;
      elements.root.lang = table.lang;
      render();
    });
  }

  /*
   * Distinguishes an unlisted origin from an unreachable gateway. The browser hides the gateway's responses from a page of
   * an unlisted origin, which looks like a lost connection; but any page may read texts.json. The query string is new each
   * time, so that the response does not come from the browser's cache.
   */
  function checkOrigin() {
    if (code.reason !== 'unreachable' || gateway === location.origin) { return; }
    scangate.send('GET', gateway + '/static/texts.json?at=' + Date.now(), {}, function (status) {
      if (status !== 200 || code.reason !== 'unreachable') { return; }
      unlisted = true;
      render();
      if (window.console && !hasWarned) {
        hasWarned = true;
        window.console.error('scangate: POST ' + gateway + '/v1/tickets was refused for this page. Add its origin, ' + location.origin
          + ', to `origins` of the client ' + (options.clientId || 'that is the first') + ' in the gateway\'s settings, and restart the gateway.');
      }
    });
  }

  // A hidden page renders only changes of the code. It renders the time again when it becomes visible.
  function update() {
    var ticket = code.ticket || {};
    var current = [code.state, code.reason, code.away, code.transport, ticket.ticket_id, ticket.revision].join(' ');
    if (current !== rendered) { unlisted = false; }
    if (!scangate.own('hidden') || current !== rendered) { render(); }
    if (current !== rendered) { checkOrigin(); }
    rendered = current;
  }

  build();
  loadStyle(gateway, '/static/scangate.css');
  if (!options.texts) { loadTexts(); }
  return update;
};
}());
