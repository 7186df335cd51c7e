/*
 * The ready-made look of scangate.js: a code, a ring that shows the time that is left, and what to do in words.
 *
 * Classes of its elements are scangate-NAME, by the names in LOOK; data-state, data-reason and data-transport stand on the
 * root. Words come with the options, or from the gateway in the reader's language. ES5.
 */
(function () {
'use strict';

// The ring, from the middle of its top, and its length.
var ROUND = 'M132,3H237A24,24,0,0,1,261,27V237A24,24,0,0,1,237,261H27A24,24,0,0,1,3,237V27A24,24,0,0,1,27,3Z';
var RING = 991;
var LOW_SECS = 15;
// How long two clicks may be apart to be a double click: so long, a state that has just come takes none.
var GUARD_MS = 500;
var ISOLATES = /[\u2066-\u2069]/;
var SVG = 'http://www.w3.org/2000/svg';
var SIGNS = { confirmed: 'M20 33l8.5 8.5L44.5 24', declined: 'M23 23l18 18M41 23L23 41', cancelled: 'M23 23l18 18M41 23L23 41', error: 'M32 18v17M32 45v.1' };
// What it is made of: a name, what it stands in, a tag, attributes (a comma is a space).
var LOOK = [
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

function make(parent, tag, attributes) {
  var drawn = /^(svg|rect|circle|path)$/.test(tag);
  var made = drawn ? scangate.doc('createElementNS', SVG, tag) : scangate.doc('createElement', tag);
  Object.keys(attributes).forEach(function (name) { made.setAttribute(name, attributes[name]); });
  return parent.appendChild(made);
}

// The page may have it already: from its own HTML, or for another code.
function style(gateway, path) {
  if (!scangate.doc('querySelector', 'link[rel=stylesheet][href*="' + path + '"]')) { make(scangate.doc('querySelector', 'head'), 'link', { rel: 'stylesheet', href: gateway + path }); }
}

// Writing the same words again would make a screen reader say them again. What is isolated becomes a <bdi>.
function write(at, words) {
  var parts = String(words).split(ISOLATES);
  if (at.textContent === parts.join('')) { return; }
  at.textContent = '';
  parts.forEach(function (part, i) {
    (i % 2 ? make(at, 'bdi', {}) : at).appendChild(scangate.doc('createTextNode', part));
  });
}

// Whichever way a name is written, it turns nothing around it (Unicode TR 9, 2068 and 2069).
function isolate(name) {
  return '\u2068' + String(name).split(ISOLATES).join('') + '\u2069';
}

// Setting what is there already makes a browser style and lay out again, and it is painted twice a second.
function mark(at, name, value) {
  value = String(value);
  if (at.getAttribute(name) !== value) { at.setAttribute(name, value); }
}

function phrase(words, values) {
  return words.replace(/\{(\w+)\}/g, function (slot, name) {
    var value = values[name];
    return value === undefined ? slot : /^[\d:]*$/.test(value) ? value : isolate(value);
  });
}

function clock(secs) {
  return Math.floor(secs / 60) + ':' + ('0' + secs % 60).slice(-2);
}

/* Makes the look inside `element`; returns what brings it up to date with `code`. */
scangate.look = function (element, code, options, gateway) {
  var text = options.texts || {};
  var at = { root: make(element, 'div', { 'class': 'scangate', tabindex: '-1' }) };
  var themed = false;
  var parked = null;           // what had the focus before it went out of sight
  var failures = 0;
  var painted = '';
  var guards = 0;
  var isSaid = false;          // to the site's developer, once
  var unlisted = false;        // what is not there is not the gateway, but this page's leave

  function word(name, values) {
    return phrase(text[name] || '', values || {});
  }

  function build() {
    LOOK.forEach(function (line) {
      var words = line.split(' ');
      var attributes = { 'class': 'scangate-' + words[0] };
      words.slice(3).forEach(function (pair) {
        attributes[pair.split('=')[0]] = pair.split('=')[1].replace(/,/g, ' ');
      });
      at[words[0]] = make(at[words[1]], words[2], attributes);
    });
    [1, 2, 3].forEach(function () { make(at.dots, 'i', {}); });
    at.left.setAttribute('stroke-dasharray', RING);
    at.refresh.onclick = at.renew.onclick = function (event) {
      // A key's click has no count.
      if (!event.detail || !event.currentTarget.hasAttribute('aria-disabled')) { code.refresh(); }
    };
  }

  // The second of a double click is not meant for what the first has brought. The focus stays, and keys work.
  function guard() {
    var buttons = [at.refresh, at.renew], mine = guards += 1;
    buttons.forEach(function (button) { button.setAttribute('aria-disabled', 'true'); });
    setTimeout(function () {
      if (mine === guards) { buttons.forEach(function (button) { button.removeAttribute('aria-disabled'); }); }
    }, GUARD_MS);
  }

  function paint() {
    var active = scangate.own('activeElement');
    var held = at.root.contains(active) && active;
    if (at.root.getAttribute('data-state') !== code.state) { guard(); }
    mark(at.root, 'data-state', code.state);
    mark(at.root, 'data-reason', code.reason);
    mark(at.root, 'data-transport', code.transport);
    showClient();
    showTicket(code.ticket || {});
    showWords();
    showTime();
    keepFocus(held);
  }

  // Focus moves only where it would otherwise be lost, and back when its place is there again.
  function keepFocus(held) {
    if (held && !isSeen(held)) {
      parked = held;
      (isSeen(at.refresh) ? at.refresh : at.root).focus();
    } else if (parked && held === at.root && isSeen(parked)) {
      parked.focus();
      parked = null;
    }
  }

  function showClient() {
    if (themed || !code.client) { return; }
    themed = true;
    if (code.client.theme) { style(gateway, code.client.theme); }
  }

  function showTicket(ticket) {
    var person = (ticket.scanned_by || {}).name || text.someone || '';
    var opens = !connector() && /^https?:/.test(ticket.scan_url);
    if (code.qr) { mark(at.qr, 'src', code.qr); }
    if (at.qr.hidden !== !code.qr) { at.qr.hidden = !code.qr; }
    mark(at.qr, 'aria-hidden', code.state !== 'waiting');
    mark(at.mark, 'd', SIGNS[code.state] || '');
    // It keeps its place also where there is nothing to open.
    if (at.help.style.visibility !== (opens ? '' : 'hidden')) { at.help.style.visibility = opens ? '' : 'hidden'; }
    if (opens) { mark(at.link, 'href', ticket.scan_url); }
    // The picture is left alone on purpose: loading it would tell a third party who signs in where.
    write(at.who, person && isolate(person));
    write(at.avatar, (/[\uD800-\uDBFF][\uDC00-\uDFFF]|\S/.exec(person) || [''])[0].toUpperCase());
    write(at.number, ticket.number || '');
    mark(at.root, 'data-number', ticket.number ? 'yes' : 'no');
  }

  function showWords() {
    var values = { name: (code.client || {}).name || text.some_site, number: (code.ticket || {}).number };
    var said = unlisted ? text.unlisted : text[code.reason + '_' + connector()] || text[code.reason] || text[code.state] || ['', ''];
    var problem = code.problem && code.problem.detail;
    mark(at.qr, 'alt', word('qr', values));
    write(at.banner, code.away ? word(navigator.onLine === false ? 'offline' : 'reconnecting') : '');
    write(at.link, word('scan_link'));
    write(at.renew, word('renew'));
    write(at.title, phrase(said[0], values));
    write(at.detail, code.reason === 'failed' && problem || phrase(said[1], values));
    mark(at.detail, 'lang', code.reason === 'failed' && problem ? 'en' : at.root.lang || scangate.own('documentElement').lang);
  }

  function showTime() {
    var now = Date.now();
    // In whole seconds, so that ring, words and dots change together: one repaint a second and no animation.
    var left = Math.max(0, Math.ceil((code.deadline - now) / 1000));
    var wait = code.retryAt ? Math.max(0, Math.ceil((code.retryAt - now) / 1000)) : 0;
    var absent = code.reason === 'unreachable' || navigator.onLine === false;
    write(at.timer, code.deadline ? word('left', { time: clock(left) }) : '');
    mark(at.stage, 'data-low', code.deadline && left <= LOW_SECS ? 'yes' : 'no');
    mark(at.left, 'stroke-dashoffset', code.state === 'confirmed' ? 0 : Math.round(RING * (1 - Math.min(1, left && left * 1000 / code.lifeMs))));
    mark(at.dots, 'data-beat', left % 3);
    write(at.refresh, code.state !== 'error' ? word('renew') : word(wait && !absent ? 'retry_in' : 'retry', { time: clock(wait) }));
    // A gateway that named a time is not to be asked before it; an absent one may be tried at any moment.
    if (at.refresh.disabled !== (wait > 0 && !absent)) { at.refresh.disabled = wait > 0 && !absent; }
  }

  function connector() {
    return (code.client || {}).connector;
  }

  function isSeen(node) {
    return node.offsetWidth > 0 && window.getComputedStyle(node).visibility !== 'hidden';
  }

  function learnWords() {
    var url = gateway + '/static/texts.json' + (options.lang ? '?lang=' + encodeURIComponent(options.lang) : '');
    scangate.send('GET', url, {}, function (status, table, xhr) {
      if (status !== 200 || !table) {
        // Without words the look says nothing, and its buttons have no names.
        setTimeout(learnWords, scangate.pauseMs(xhr, ++failures));
        return;
      }
      text = table.texts;
      at.root.lang = table.lang;
      paint();
    });
  }

  /*
   * A page whose origin the gateway does not list is given no answer that it may read, as if the gateway were away; but what
   * every page may read comes. The address is new each time: what the browser has kept says nothing.
   */
  function askWhy() {
    if (code.reason !== 'unreachable' || gateway === location.origin) { return; }
    scangate.send('GET', gateway + '/static/texts.json?at=' + Date.now(), {}, function (status) {
      if (status !== 200 || code.reason !== 'unreachable') { return; }
      unlisted = true;
      paint();
      if (window.console && !isSaid) {
        isSaid = true;
        window.console.error('scangate: POST ' + gateway + '/v1/tickets was refused to this page. Add its origin, ' + location.origin
          + ', to `origins` of the client ' + (options.clientId || 'that is the first') + ' in the gateway\'s settings, and restart the gateway.');
      }
    });
  }

  // Where nobody looks, only news are painted: what the time shows is brought up to date when somebody looks again.
  function update() {
    var ticket = code.ticket || {};
    var news = [code.state, code.reason, code.away, code.transport, ticket.ticket_id, ticket.revision].join(' ');
    if (news !== painted) { unlisted = false; }
    if (!scangate.own('hidden') || news !== painted) { paint(); }
    if (news !== painted) { askWhy(); }
    painted = news;
  }

  build();
  style(gateway, '/static/scangate.css');
  if (!options.texts) { learnWords(); }
  return update;
};
}());
