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
 * Each entry of #claims has data-claim="NAME" on its <dd>.
 *
 * ES5 and the browser API of 2014 only. The token lives in memory, never in a URL or in storage.
 */
(function () {
  'use strict';

  var TEXT = {
    en: {
      heading: 'Sign in', headingTo: 'Sign in to {name}', qr: 'QR code for signing in to {name}', someSite: 'this site',
      left: 'Expires in {time}', renew: 'New code', again: 'Sign in again', retry: 'Try again', retryIn: 'Try again in {time}',
      scanLink: 'Can’t scan? Open this link on your phone',
      someone: 'Someone', yes: 'yes', no: 'no',
      offline: 'You are offline. This goes on as soon as you are back.',
      reconnecting: 'Connection lost. Reconnecting…',
      loading: ['One moment', 'Your code is on its way.'],
      waiting: ['Scan this code', 'Point your phone’s camera at it, or your signed-in app.'],
      scanned: ['Now confirm on your phone', 'Check there who is asking, then confirm.'],
      returning: ['You are signed in', 'Taking you back to {name}…'],
      stuck: ['You are signed in', 'If {name} does not open, please sign in again.'],
      confirmed: ['You are signed in', 'This is what {name} is told about you.'],
      declined: ['Sign-in declined', 'It was declined on the phone. A mistake? Get a new code.'],
      closed: ['Sign-in closed', 'This code was withdrawn. Get a new one to go on.'],
      superseded: ['Replaced by a newer code', 'This browser has a newer code. Use that, or get a new one here.'],
      mismatch: ['That did not match', 'The answer on the phone was not right. Please try a new code.'],
      cancelled: ['Sign-in cancelled', 'Get a new code to go on.'],
      expired: ['This code has expired', 'Get a new one when you are ready.'],
      away: ['This code has expired', 'A new one comes as soon as you are back.'],
      failed: ['No code could be made', 'The sign-in service did not answer as expected. Please try again.'],
      unreachable: ['No connection', 'The sign-in service cannot be reached. Trying again by itself.'],
      busy: ['Please wait a little', 'Too many sign-ins at the moment. The next try comes by itself.'],
      longState: ['This link is not right', 'Its “state” is longer than 512 characters. Go back to the site and sign in from there.']
    },
    zh: {
      heading: '登录', headingTo: '登录 {name}', qr: '用于登录 {name} 的二维码', someSite: '本网站',
      left: '{time} 后过期', renew: '换一个', again: '重新登录', retry: '重试', retryIn: '{time} 后重试',
      scanLink: '无法扫码？请在手机上打开此链接',
      someone: '某位用户', yes: '是', no: '否',
      offline: '网络已断开，恢复后会自动继续。',
      reconnecting: '连接中断，正在重新连接…',
      loading: ['请稍候', '正在生成二维码。'],
      waiting: ['扫描二维码', '请用手机相机，或已登录的应用扫描。'],
      scanned: ['请在手机上确认', '在手机上核对是谁在请求登录，然后确认。'],
      returning: ['登录成功', '正在返回 {name}…'],
      stuck: ['登录成功', '如果没有打开 {name}，请重新登录。'],
      confirmed: ['登录成功', '{name} 将得到以下关于您的信息。'],
      declined: ['登录已被拒绝', '手机上拒绝了这次登录。如属误操作，请换一个二维码。'],
      closed: ['登录已关闭', '此二维码已撤回，请换一个继续。'],
      superseded: ['已有更新的二维码', '此浏览器中已生成新的二维码，请使用新的，或在这里再换一个。'],
      mismatch: ['验证不匹配', '手机上的回答不正确，请换一个二维码再试。'],
      cancelled: ['登录已取消', '请换一个二维码继续。'],
      expired: ['二维码已过期', '准备好后请换一个。'],
      away: ['二维码已过期', '您回来后会自动换新。'],
      failed: ['无法生成二维码', '登录服务没有正常应答，请重试。'],
      unreachable: ['无法连接', '暂时连不上登录服务，正在自动重试。'],
      busy: ['请稍候', '当前登录人数过多，稍后会自动重试。'],
      longState: ['链接有误', '“state” 超过 512 个字符。请返回网站重新登录。']
    }
  };

  var MAX_RENEWALS = 5;
  var MAX_STATE_CHARS = 512;
  var SILENCE_MS = 6000;       // a stream that is silent for so long is held back by a buffering proxy
  var GRACE_MS = 3000;         // how long after the deadline the gateway may still say so itself
  var BANNER_MS = 1000;        // a stream that is back within this was never worth a banner
  var POLL_WAIT_SECS = 25;
  var POLL_TIMEOUT_MS = 40000;
  var SEND_TIMEOUT_MS = 15000;
  var MAX_BACKOFF_MS = 15000;
  var STUCK_MS = 10000;
  var LOW_SECS = 15;
  var TIME_CLAIMS = { exp: 1, iat: 1, nbf: 1, auth_time: 1, updated_at: 1 };

  var query = readQuery(location.search);
  var lang = pickLanguage();
  var text = TEXT[lang];
  var ring = { path: byId('ring'), length: 0 };

  var run = 0;                 // counts the codes asked for; an answer that belongs to an older one is dropped
  var ticket = null;           // the one on show
  var client = null;
  var deadline = 0;            // of the ticket, or of the wait before the next try
  var lifeMs = 0;
  var renewals = 0;
  var renewOnReturn = false;
  var retryAt = 0;
  var overrun = false;         // the deadline has passed and the gateway has been asked about it
  var failures = 0;
  var view = 'loading';
  var message = text.loading;  // title and detail
  var detail = '';             // an error's own words, instead of ours
  var away = false;            // the connection is lost
  var silent = false;          // streams do not come through here: poll from now on
  var stream = null;
  var request = null;
  var timers = {};

  function start() {
    document.documentElement.lang = lang;
    ring.length = ring.path.getTotalLength ? ring.path.getTotalLength() : 976;
    ring.path.style.strokeDasharray = ring.length + ' ' + ring.length;
    translatePage();
    byId('refresh').onclick = refresh;
    byId('renew').onclick = refresh;
    byId('again').onclick = refresh;
    window.addEventListener('online', cameOnline, false);
    window.addEventListener('offline', wentOffline, false);
    window.addEventListener('pageshow', cameBack, false);
    document.addEventListener('visibilitychange', cameIntoView, false);
    setInterval(tick, 500);
    if ((query.state || '').length > MAX_STATE_CHARS) {
      show('error', text.longState);
      byId('refresh').hidden = true;
      return;
    }
    create();
  }

  // ---- A ticket from its making to its end ----

  function create() {
    var mine = ++run;
    var wish = {};
    leave();
    if (ticket && (view === 'waiting' || view === 'scanned')) {
      send('DELETE', ticket.poll + '?reason=superseded', null, SEND_TIMEOUT_MS, ignore);
    }
    ticket = null;
    deadline = retryAt = 0;
    renewOnReturn = false;
    if (query.client_id) { wish.client_id = query.client_id; }
    if (query.return_to) { wish.return_to = query.return_to; }
    show('loading', text.loading);
    send('POST', '/v1/tickets?qr=svg', wish, SEND_TIMEOUT_MS, function (status, body, xhr) {
      if (mine !== run) { return; }
      if (status === 201 && body && body.qr) { created(body); } else { notCreated(status, body, xhr); }
    });
  }

  function created(body) {
    failures = 0;
    away = false;
    ticket = body;
    client = body.client || null;
    setDeadline(body.expires_in);
    lifeMs = deadline - Date.now();
    showClient();
    byId('qr').src = body.qr.svg;
    byId('qr').hidden = false;
    showScanLink(body.scan_url);
    show('waiting', text.waiting);
    if (window.EventSource && !silent) { openStream(); } else { openPoll(); }
  }

  function notCreated(status, body, xhr) {
    var wait = retryAfterMs(body, xhr);
    if (status === 0) {
      away = true;
      retryAt = Date.now() + backoffMs();
      show('error', text.unreachable);
    } else if (status === 429 || status === 503) {
      retryAt = Date.now() + (wait || backoffMs());
      show('error', text.busy);
    } else {
      show('error', [(lang === 'en' && body && body.title) || text.failed[0], text.failed[1]], body && body.detail);
    }
  }

  // Every report about the ticket, from the stream or from a poll, ends here. Revisions make it idempotent.
  function take(news) {
    if (!ticket || news.ticket_id !== ticket.ticket_id || news.revision < ticket.revision) { return; }
    setDeadline(news.expires_in);
    if (news.revision === ticket.revision && news.state === ticket.state) { return; }
    ticket.revision = news.revision;
    ticket.state = news.state;
    if (news.state === 'scanned') {
      lifeMs = deadline - Date.now();
      showScanner(news.scanned_by || {});
      show('scanned', text.scanned);
    } else if (news.token) {
      confirmed(news);
    } else if (news.state === 'cancelled') {
      cancelled(news.reason);
    } else if (news.state === 'claimed') {
      // Collected elsewhere or too late: for this page the same as expired.
      expired();
    }
  }

  function confirmed(news) {
    leave();
    deadline = 0;
    renewals = 0;
    if (news.return_to && isWebUrl(news.return_to)) {
      show('confirmed', text.returning);
      handBack(news.return_to, news.token);
      timers.stuck = setTimeout(function () {
        byId('result').hidden = false;
        show('confirmed', text.stuck);
      }, STUCK_MS);
    } else {
      showClaims(news.token);
      show('confirmed', text.confirmed);
      byId('heading').focus();
    }
  }

  function cancelled(reason) {
    var known = { declined: 1, closed: 1, superseded: 1, mismatch: 1 };
    leave();
    deadline = 0;
    show(reason === 'declined' ? 'declined' : 'cancelled', known[reason] ? text[reason] : text.cancelled);
  }

  function expired() {
    leave();
    deadline = 0;
    ticket = null;
    if (renewals >= MAX_RENEWALS) {
      show('expired', text.expired);
    } else if (document.hidden || navigator.onLine === false) {
      // Nobody looks, or nobody can be asked: a code made now would run out unseen.
      show('expired', text.away);
      renewOnReturn = true;
    } else {
      renew();
    }
  }

  function renew() {
    renewals += 1;
    create();
  }

  function refresh() {
    renewals = 0;
    failures = 0;
    create();
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

  // ---- Transport: a stream where it works, otherwise a long poll ----

  function openStream() {
    var mine = run;
    var source = stream = new EventSource(ticket.events);
    var heard = false;

    function hear(event) {
      var news = parse(event.data);
      if (mine !== run || source !== stream || !news) { return; }
      heard = true;
      clearTimeout(timers.silence);
      backInTouch();
      if (event.type === 'expired') { expired(); } else { take(news); }
    }

    function listenForSilence() {
      clearTimeout(timers.silence);
      timers.silence = setTimeout(function () {
        silent = true;
        openPoll();
      }, SILENCE_MS);
    }

    document.body.setAttribute('data-transport', 'sse');
    ['pending', 'scanned', 'confirmed', 'cancelled', 'expired'].forEach(function (name) {
      source.addEventListener(name, hear, false);
    });
    source.onopen = function () {
      if (source === stream && !heard) { listenForSilence(); }
    };
    source.onerror = function () {
      if (source !== stream) { return; }
      clearTimeout(timers.silence);
      outOfTouch();
      // Closed for good. The poll finds out why, and goes on if there was no good reason.
      if (source.readyState === 2) { openPoll(); }
    };
    listenForSilence();
  }

  function openPoll() {
    leave();
    document.body.setAttribute('data-transport', 'poll');
    poll(true);
  }

  // The first one, and the first after a failure, does not wait: it tells at once whether the ticket still lives.
  function poll(first) {
    var mine = run;
    var asked = Date.now();
    var url = ticket.poll + (first ? '' : '?wait=' + POLL_WAIT_SECS + '&revision=' + ticket.revision);
    request = send('GET', url, null, first ? SEND_TIMEOUT_MS : POLL_TIMEOUT_MS, function (status, body, xhr) {
      var before = ticket && ticket.revision;
      if (mine !== run || xhr !== request) { return; }
      request = null;
      if (status === 200 && body) {
        failures = 0;
        backInTouch();
        take(body);
        // A gateway that answers at once with nothing new must not be asked in a tight loop.
        pollAgain(false, first || body.revision !== before || Date.now() - asked > 2000 ? 0 : (ticket && ticket.interval || 2) * 1000);
      } else {
        pollFailed(status, body, xhr);
      }
    });
  }

  function pollFailed(status, body, xhr) {
    if (status === 404) {
      expired();
    } else if (status === 401 || status === 403) {
      leave();
      deadline = 0;
      show('error', text.failed, body && body.detail);
    } else if (overrun) {
      expired();
    } else {
      outOfTouch();
      pollAgain(true, retryAfterMs(body, xhr) || backoffMs());
    }
  }

  function pollAgain(first, afterMs) {
    if (view !== 'waiting' && view !== 'scanned') { return; }
    clearTimeout(timers.poll);
    timers.poll = setTimeout(function () { poll(first); }, afterMs);
  }

  function leave() {
    var old = request;
    if (stream) { stream.close(); }
    stream = request = null;
    if (old) { old.abort(); }
    Object.keys(timers).forEach(function (name) { clearTimeout(timers[name]); });
    timers = {};
    document.body.removeAttribute('data-transport');
  }

  function reconnect() {
    leave();
    if (window.EventSource && !silent) { openStream(); } else { openPoll(); }
  }

  // ---- Coming and going ----

  // Not put off by the next failure: tries may follow each other faster than the banner comes.
  function outOfTouch() {
    timers.banner = timers.banner || setTimeout(function () { away = true; paint(); }, BANNER_MS);
  }

  function backInTouch() {
    clearTimeout(timers.banner);
    timers.banner = 0;
    if (away) { away = false; paint(); }
  }

  function wentOffline() {
    away = true;
    paint();
  }

  function cameOnline() {
    if (renewOnReturn) {
      cameIntoView();
    } else if (view === 'error' && retryAt) {
      create();
    } else if (view === 'waiting' || view === 'scanned') {
      reconnect();
    } else {
      backInTouch();
    }
  }

  function cameIntoView() {
    if (document.hidden) { return; }
    if (renewOnReturn && navigator.onLine !== false) { renew(); }
    tick();
  }

  // Back by the history, out of the browser's page cache: what is on show is old.
  function cameBack(event) {
    if (event.persisted) { refresh(); }
  }

  function tick() {
    var now = Date.now();
    if (retryAt && now >= retryAt && !document.hidden) {
      create();
    } else if (deadline && now >= deadline + GRACE_MS && !overrun) {
      askWhetherOver();
    }
    showCountdown();
  }

  // The gateway did not say that the time is over (a dead connection, a laptop that slept).
  function askWhetherOver() {
    overrun = true;
    if (navigator.onLine === false) { expired(); } else { openPoll(); }
  }

  // ---- What is seen ----

  function show(next, words, said) {
    view = next;
    message = words;
    detail = said || '';
    if (next !== 'confirmed') {
      byId('result').hidden = true;
      document.body.removeAttribute('data-result');
    }
    paint();
    moveFocus();
  }

  function paint() {
    var lost = away && (view === 'waiting' || view === 'scanned');
    var body = document.body;
    body.setAttribute('data-view', view);
    body.setAttribute('data-state', lost ? 'offline' : view);
    setText('banner', lost ? (navigator.onLine === false ? text.offline : text.reconnecting) : '');
    setText('title', fill(message[0]));
    setText('detail', detail || fill(message[1]));
    byId('detail').lang = detail ? 'en' : lang;
    byId('qr').setAttribute('aria-hidden', view === 'waiting' ? 'false' : 'true');
    document.title = view === 'waiting' || view === 'loading' ? heading() : fill(message[0]) + ' · ' + heading();
    showCountdown();
  }

  function showCountdown() {
    var now = Date.now();
    var left = deadline ? Math.max(0, deadline - now) : 0;
    var secs = Math.ceil(left / 1000);
    var wait = retryAt ? Math.max(0, Math.ceil((retryAt - now) / 1000)) : 0;
    setText('countdown', deadline ? text.left.replace('{time}', clock(secs)) : '');
    byId('stage').setAttribute('data-low', deadline && secs <= LOW_SECS ? 'yes' : 'no');
    ring.path.style.strokeDashoffset = view === 'confirmed' ? 0 : ring.length * (1 - Math.min(1, lifeMs ? left / lifeMs : 0));
    setText('refresh', view !== 'error' ? text.renew : wait && !away ? text.retryIn.replace('{time}', clock(wait)) : text.retry);
    // A gateway that named a time is not to be asked before it; an absent one may be tried at any moment.
    byId('refresh').disabled = wait > 0 && !away;
  }

  // Focus moves only where it would otherwise be lost: from nowhere, or from a control that has gone.
  function moveFocus() {
    var at = document.activeElement;
    var target = view === 'expired' || view === 'declined' || view === 'cancelled' || view === 'error' ? byId('refresh') : byId('heading');
    var lost = at && at !== document.body && !isSeen(at);
    if (lost || (target.id === 'refresh' && (!at || at === document.body))) { target.focus(); }
  }

  function isSeen(element) {
    return element.offsetWidth > 0 && window.getComputedStyle(element).visibility !== 'hidden';
  }

  function showClient() {
    var logo = client && client.logo;
    setText('heading', heading());
    byId('qr').alt = fill(text.qr);
    // Only our own origin: a sign-in page asks nothing of third parties.
    byId('logo').src = logo && /^\/(?![\/\\])/.test(logo) ? logo : '/static/favicon.svg';
  }

  function showScanLink(address) {
    var link = byId('scan-link');
    if (isWebUrl(address)) { link.href = address; } else { link.removeAttribute('href'); }
  }

  // The picture is left alone on purpose: loading it would tell a third party who signs in where.
  function showScanner(person) {
    var name = person.name || text.someone;
    setText('who', name);
    setText('initials', initials(name));
  }

  function showClaims(token) {
    var list = byId('claims');
    var claims = decodeJwt(token.access_token) || { expires_in: token.expires_in };
    while (list.firstChild) { list.removeChild(list.firstChild); }
    Object.keys(claims).forEach(function (name) { addClaim(list, name, claims[name]); });
    byId('result').hidden = false;
    document.body.setAttribute('data-result', 'yes');
  }

  function addClaim(list, name, value) {
    var row = document.createElement('div');
    var term = document.createElement('dt');
    var data = document.createElement('dd');
    term.textContent = name;
    data.textContent = claimText(name, value);
    data.setAttribute('data-claim', name);
    row.appendChild(term);
    row.appendChild(data);
    list.appendChild(row);
  }

  function claimText(name, value) {
    if (TIME_CLAIMS[name] && typeof value === 'number') { return new Date(value * 1000).toLocaleString(lang); }
    if (Array.isArray(value) && value.every(isPlain)) { return value.join(', '); }
    if (typeof value === 'boolean') { return value ? text.yes : text.no; }
    return isPlain(value) ? String(value) : JSON.stringify(value);
  }

  function isPlain(value) {
    return typeof value === 'string' || typeof value === 'number';
  }

  function heading() {
    return client && client.name ? text.headingTo.replace('{name}', literally(client.name)) : text.heading;
  }

  function fill(words) {
    return words.replace('{name}', literally((client && client.name) || text.someSite));
  }

  function translatePage() {
    var other = lang === 'zh' ? 'en' : 'zh';
    var link = byId('language');
    setText('heading', text.heading);
    setText('renew', text.renew);
    setText('again', text.again);
    setText('scan-link', text.scanLink);
    byId('qr').alt = fill(text.qr);
    link.textContent = other === 'zh' ? '中文' : 'English';
    link.lang = link.hreflang = other;
    link.href = location.pathname + queryWith('lang', other);
    paint();
  }

  // ---- Small things ----

  function send(method, url, body, timeoutMs, done) {
    var xhr = new XMLHttpRequest();
    xhr.open(method, url, true);
    xhr.timeout = timeoutMs;
    xhr.setRequestHeader('Accept', 'application/json');
    if (body) { xhr.setRequestHeader('Content-Type', 'application/json'); }
    xhr.onload = function () { done(xhr.status, parse(xhr.responseText), xhr); };
    xhr.onerror = xhr.ontimeout = function () { done(0, null, xhr); };
    xhr.send(body ? JSON.stringify(body) : null);
    return xhr;
  }

  function ignore() {
    // Fire and forget: a ticket that could not be cancelled expires.
  }

  function parse(json) {
    try { return JSON.parse(json); } catch (e) { return null; }
  }

  function retryAfterMs(body, xhr) {
    var header = xhr.status ? xhr.getResponseHeader('Retry-After') : null;
    var secs = parseFloat(header || (body && body.retry_after));
    return secs > 0 ? Math.min(secs, 3600) * 1000 : 0;
  }

  function backoffMs() {
    failures += 1;
    return Math.min(MAX_BACKOFF_MS, 500 * Math.pow(2, failures)) * (0.75 + Math.random() / 4);
  }

  function setDeadline(secs) {
    if (typeof secs !== 'number') { return; }
    deadline = Date.now() + secs * 1000;
    overrun = false;
  }

  function clock(secs) {
    return Math.floor(secs / 60) + ':' + ('0' + secs % 60).slice(-2);
  }

  function decodeJwt(token) {
    var part = String(token).split('.')[1] || '';
    try {
      part = atob(part.replace(/-/g, '+').replace(/_/g, '/'));
      return JSON.parse(decodeURIComponent(part.replace(/[\s\S]/g, function (byte) {
        return '%' + ('0' + byte.charCodeAt(0).toString(16)).slice(-2);
      })));
    } catch (e) {
      return null;
    }
  }

  // First and last initial; of a Chinese, Japanese or Korean name its last two characters.
  function initials(name) {
    var chars = name.match(/[\uD800-\uDBFF][\uDC00-\uDFFF]|\S/g) || ['?'];
    var parts = name.split(/\s+/).filter(Boolean);
    var last;
    if (/^[\u3040-\u30FF\u3400-\u9FFF\uAC00-\uD7AF]/.test(chars[0])) { return chars.slice(-2).join(''); }
    last = parts.length > 1 ? parts[parts.length - 1].match(/[\uD800-\uDBFF][\uDC00-\uDFFF]|\S/)[0] : '';
    return (chars[0] + last).toUpperCase();
  }

  function isWebUrl(address) {
    return /^https?:\/\//i.test(address);
  }

  // "$" has a meaning in a replacement, and names may have one.
  function literally(words) {
    return words.replace(/\$/g, '$$$$');
  }

  function readQuery(search) {
    var found = {};
    search.replace(/^\?/, '').split('&').forEach(function (pair) {
      var at = pair.indexOf('=');
      if (at > 0) { found[decode(pair.slice(0, at))] = decode(pair.slice(at + 1)); }
    });
    return found;
  }

  function queryWith(name, value) {
    var pairs = Object.keys(query).filter(function (key) { return key !== name; }).map(function (key) {
      return encodeURIComponent(key) + '=' + encodeURIComponent(query[key]);
    });
    return '?' + pairs.concat(name + '=' + value).join('&');
  }

  function decode(part) {
    try { return decodeURIComponent(part.replace(/\+/g, ' ')); } catch (e) { return ''; }
  }

  function pickLanguage() {
    var wishes = [query.lang].concat(navigator.languages || [], navigator.language || '');
    var known = wishes.map(function (wish) { return String(wish || '').slice(0, 2).toLowerCase(); }).filter(function (code) {
      return code === 'en' || code === 'zh';
    });
    return known[0] || 'en';
  }

  function setText(id, words) {
    var element = byId(id);
    // Writing the same words again would make a screen reader say them again.
    if (element.textContent !== words) { element.textContent = words; }
  }

  function byId(id) {
    return document.getElementById(id);
  }

  start();
}());
