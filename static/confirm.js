/*
 * The confirm page: shows a signed-in person who asks for a sign-in, and takes their answer.
 *
 * Opening it changes nothing. A ticket is scanned only when the person goes on by a button.
 *
 * What tests and style sheets may rely on: data-state on <body>, one of
 *   sign-in | no-identity | ready | scanned | confirmed | declined | expired | refused | error
 * and the ids #name, #sign-in, #continue, #other, #confirm, #decline, #countdown, #request (each <dd> has
 *   data-fact="site|browser|os|ip|time|release"), #outcome (#outcome-title, #outcome-detail), #retry, #back.
 * data-busy="yes" stands on <body> while an answer is awaited.
 *
 * Whose token it is says <meta name="scangate-identity">:
 *   demo    a made-up person, by POST /demo/sign-in; kept in sessionStorage "scangate.demo"
 *   bearer  the site's own sign-in put the person's token into sessionStorage "scangate.bearer" before coming here
 *
 * ES5 and the browser API of 2014 only.
 */
(function () {
  'use strict';

  var TEXT = {
    en: {
      title: 'Confirm a sign-in',
      signInHeading: 'Who are you?', signInLead: 'This is a demonstration. Make up a person, no password is needed.',
      signInAgain: 'That sign-in has run out. Please sign in again.',
      nameLabel: 'Name', nameMissing: 'Please type a name.', signIn: 'Sign in and continue',
      readyHeading: 'You are signed in', readyHeadingAs: 'You are signed in as {name}',
      readyLead: 'You scanned a code on another screen. Continue to see who is asking; nothing is decided yet.',
      goOn: 'Continue', other: 'Not you? Sign in as someone else',
      question: 'Sign in to {name}?', someSite: 'this site', as: 'as {name}',
      site: 'Site', browser: 'Browser', os: 'System', ip: 'Address', time: 'Asked', release: 'Shared', unknown: 'not known',
      secsAgo: '{n} s ago', minsAgo: '{n} min ago', justNow: 'just now',
      warning: 'Only confirm if you are looking at this code on your own screen right now.',
      decline: 'Decline', confirm: 'Confirm', left: 'Expires in {time}',
      confirmed: ['Confirmed', 'You can go back to your other screen: you are signed in to {name} there.'],
      declined: ['Declined', 'Nobody was signed in. If you did not ask for this, there is nothing more to do.'],
      expired: ['This code has expired', 'Get a new code on the other screen and scan that one.'],
      taken: ['Already scanned', 'Someone else has scanned this code. If it is yours, get a new code on the other screen.'],
      refused: ['This did not go through', 'Get a new code on the other screen and scan that one.'],
      forApps: ['This code is for an app', 'It hands a sign-in over to an app on this phone. Scan it from within that app.'],
      noIdentity: ['Please sign in first', 'Open this link with the site’s own app, or sign in to the site in this browser and then scan the code again.'],
      ranOut: ['Your sign-in has run out', 'Sign in to the site again, in its app or in this browser, and then scan the code again.'],
      failed: ['That did not work', 'The sign-in service did not answer as expected. Please try again.'],
      unreachable: ['No connection', 'Your answer may not have arrived. Check the connection, then try again.'],
      busy: ['Please wait a little', 'There were too many tries. It can be tried again soon.'],
      retry: 'Try again', retryIn: 'Try again in {time}', check: 'I have signed in', back: 'Back to the request',
      claims: { sub: 'account', name: 'name', email: 'e-mail', picture: 'picture', phone_number: 'phone number', groups: 'groups', roles: 'roles', locale: 'language' }, comma: ', '
    },
    zh: {
      title: '确认登录',
      signInHeading: '您是谁？', signInLead: '这是演示，随便填写一个姓名即可，无需密码。',
      signInAgain: '登录状态已失效，请重新登录。',
      nameLabel: '姓名', nameMissing: '请填写姓名。', signIn: '登录并继续',
      readyHeading: '您已登录', readyHeadingAs: '您已登录为 {name}',
      readyLead: '您扫描了另一个屏幕上的二维码。继续后可查看是谁在请求，此时尚未作出任何决定。',
      goOn: '继续', other: '不是您？换个身份登录',
      question: '要登录 {name} 吗？', someSite: '本网站', as: '以 {name} 的身份',
      site: '网站', browser: '浏览器', os: '系统', ip: '地址', time: '请求时间', release: '将提供', unknown: '未知',
      secsAgo: '{n} 秒前', minsAgo: '{n} 分钟前', justNow: '刚刚',
      warning: '仅当您此刻正在自己的屏幕上看到该二维码时，才可确认。',
      decline: '拒绝', confirm: '确认', left: '{time} 后过期',
      confirmed: ['已确认', '请回到另一个屏幕，您已在那里登录 {name}。'],
      declined: ['已拒绝', '没有人登录。如果不是您发起的请求，无需再做任何操作。'],
      expired: ['二维码已过期', '请在另一个屏幕上换一个二维码，再重新扫描。'],
      taken: ['已被他人扫描', '此二维码已被其他人扫描。如果是您的，请在另一个屏幕上换一个二维码。'],
      refused: ['未能完成', '请在另一个屏幕上换一个二维码，再重新扫描。'],
      forApps: ['此二维码供应用使用', '它用于把登录状态交给本机上的应用，请在该应用内扫描。'],
      noIdentity: ['请先登录', '请用该网站的应用打开此链接，或先在此浏览器中登录该网站，再重新扫描二维码。'],
      ranOut: ['登录状态已失效', '请在应用或此浏览器中重新登录该网站，再重新扫描二维码。'],
      failed: ['操作失败', '登录服务没有正常应答，请重试。'],
      unreachable: ['无法连接', '您的回答可能没有送达。请检查网络后重试。'],
      busy: ['请稍候', '尝试次数过多，稍后可以再试。'],
      retry: '重试', retryIn: '{time} 后重试', check: '我已登录', back: '返回该请求',
      claims: { sub: '账号', name: '姓名', email: '邮箱', picture: '头像', phone_number: '手机号', groups: '群组', roles: '角色', locale: '语言' }, comma: '、'
    }
  };

  var SEND_TIMEOUT_MS = 15000;

  var lang = pickLanguage();
  var text = TEXT[lang];
  var demo = identityMode() === 'demo';
  var storageKey = demo ? 'scangate.demo' : 'scangate.bearer';
  var ticketId = (/\/s\/([A-Za-z0-9_-]+)\/?$/.exec(location.pathname) || [])[1];

  var token = stored();
  var asked = null;            // the answer to the scan: who asks for what
  var askedAt = 0;             // in this device's time, the server's put right by its Date header
  var deadline = 0;
  var retryAt = 0;
  var again = null;            // what the retry button does
  var busy = false;

  function start() {
    document.documentElement.lang = lang;
    translatePage();
    byId('sign-in-form').onsubmit = signIn;
    byId('continue').onclick = scan;
    byId('other').onclick = forget;
    byId('confirm').onclick = confirm;
    byId('decline').onclick = decline;
    byId('retry').onclick = retry;
    byId('back').onclick = function () { show('scanned'); };
    setInterval(tick, 500);
    if (ticketId) { welcome(); } else { finish('expired', text.expired); }
  }

  function welcome() {
    if (token) {
      showPerson();
      show('ready');
    } else if (demo) {
      show('sign-in');
    } else {
      noIdentity(text.noIdentity);
    }
  }

  // ---- Who is deciding ----

  function signIn(event) {
    var name = byId('name').value.replace(/^\s+|\s+$/g, '');
    if (event) { event.preventDefault(); }
    nameFault(name ? '' : text.nameMissing);
    if (!name) { return; }
    send('/demo/sign-in', { name: name }, function (status, body, xhr) {
      if (status === 200 && body && body.access_token) {
        store(body.access_token);
        showPerson();
        scan();
      } else if (status === 400 || status === 422) {
        nameFault((body && body.detail) || text.nameMissing);
      } else {
        failed(status, body, xhr, signIn);
      }
    });
  }

  function forget() {
    store(null);
    asked = null;
    deadline = 0;
    setText('sign-in-lead', text.signInLead);
    welcome();
  }

  function tokenRanOut() {
    store(null);
    if (demo) {
      setText('sign-in-lead', text.signInAgain);
      show('sign-in');
    } else {
      noIdentity(text.ranOut);
    }
  }

  function noIdentity(words) {
    again = function () {
      token = stored();
      welcome();
    };
    finish('no-identity', words);
  }

  // ---- The request and the answer to it ----

  function scan() {
    call('scan', null, scan, function (body, xhr) {
      var serverNow = Date.parse(xhr.getResponseHeader('Date') || '');
      asked = body;
      askedAt = Date.parse((body.requester || {}).created_at) - (serverNow ? serverNow - Date.now() : 0);
      deadline = Date.now() + (body.expires_in || 60) * 1000;
      if (body.flow && body.flow !== 'login') {
        finish('refused', text.forApps);
      } else {
        showRequest();
        show('scanned');
      }
    });
  }

  function confirm() {
    call('confirm', {}, confirm, function () { finish('confirmed', text.confirmed); });
  }

  function decline() {
    call('cancel', null, decline, function () { finish('declined', text.declined); });
  }

  function call(action, body, repeat, done) {
    send('/v1/tickets/' + ticketId + '/' + action, body, function (status, answer, xhr) {
      if (status === 200 && answer) { done(answer, xhr); } else { failed(status, answer, xhr, repeat); }
    });
  }

  function failed(status, problem, xhr, repeat) {
    var code = (problem && problem.code) || '';
    var said = problem && problem.detail;
    var wait = retryAfterMs(problem, xhr);
    again = repeat;
    if (status === 401) {
      tokenRanOut();
    } else if (status === 404) {
      finish('expired', text.expired);
    } else if (status === 409 && code === 'already_scanned') {
      finish('refused', text.taken);
    } else if (status === 403 || status === 409) {
      finish('refused', text.refused, said);
    } else if (status === 429 || status === 503) {
      retryAt = Date.now() + (wait || 5000);
      finish('error', text.busy);
    } else if (status === 0) {
      finish('error', text.unreachable);
    } else {
      finish('error', text.failed, said);
    }
  }

  function retry() {
    if (again && Date.now() >= retryAt) { again(); }
  }

  function finish(state, words, said) {
    if (state !== 'error') { deadline = retryAt = 0; }
    setText('outcome-title', fill(words[0]));
    setText('outcome-detail', said || fill(words[1]));
    byId('outcome-detail').lang = said ? 'en' : lang;
    byId('retry').hidden = state !== 'error' && state !== 'no-identity';
    byId('back').parentNode.hidden = state !== 'error' || !asked;
    show(state);
  }

  function tick() {
    // Here the clock may speak for the gateway: an answer that comes later would be refused anyway.
    if (deadline && Date.now() >= deadline && !busy) { finish('expired', text.expired); }
    showTimes();
  }

  // ---- What is seen ----

  function show(state) {
    var message;
    document.body.setAttribute('data-state', state);
    showTimes();
    message = focusOn(state);
    setText('message', message);
    document.title = message + ' · ' + text.title;
  }

  // Focus goes to what the new view begins with, and a screen reader reads on from there.
  function focusOn(state) {
    var first = { 'sign-in': '.view-sign-in', ready: '.view-ready', scanned: '.view-scanned' }[state] || '.view-outcome';
    var title = document.querySelector(first + ' h1');
    (state === 'sign-in' ? byId('name') : title).focus();
    return title.textContent;
  }

  function showPerson() {
    var name = personName();
    setText('ready-heading', name ? text.readyHeadingAs.replace('{name}', literally(name)) : text.readyHeading);
    setText('scanned-as', name ? text.as.replace('{name}', literally(name)) : '');
    setText('initials', initials(name || '✓'));
    byId('other').parentNode.hidden = !demo;
  }

  function showRequest() {
    var requester = asked.requester || {};
    var client = asked.client || {};
    var list = byId('request');
    while (list.firstChild) { list.removeChild(list.firstChild); }
    setText('scanned-heading', fill(text.question));
    // Only our own origin: this page asks nothing of third parties.
    byId('logo').src = client.logo && /^\/(?![\/\\])/.test(client.logo) ? client.logo : '/static/favicon.svg';
    addFact(list, 'site', siteName());
    addFact(list, 'browser', requester.browser);
    addFact(list, 'os', requester.os);
    addFact(list, 'ip', requester.ip);
    addFact(list, 'time', timeText());
    if (asked.release && asked.release.length) {
      addFact(list, 'release', asked.release.map(function (claim) { return text.claims[claim] || claim; }).join(text.comma));
    }
  }

  function addFact(list, name, value) {
    var row = document.createElement('div');
    var term = document.createElement('dt');
    var data = document.createElement('dd');
    term.textContent = text[name];
    data.textContent = value || text.unknown;
    data.setAttribute('data-fact', name);
    row.appendChild(term);
    row.appendChild(data);
    list.appendChild(row);
  }

  function showTimes() {
    var now = Date.now();
    var wait = Math.max(0, Math.ceil((retryAt - now) / 1000));
    var state = document.body.getAttribute('data-state');
    var time = document.querySelector('[data-fact="time"]');
    setText('countdown', deadline ? text.left.replace('{time}', clock(Math.max(0, Math.ceil((deadline - now) / 1000)))) : '');
    setText('retry', state === 'no-identity' ? text.check : wait ? text.retryIn.replace('{time}', clock(wait)) : text.retry);
    byId('retry').disabled = busy || wait > 0;
    if (time && asked) { setContent(time, timeText()); }
  }

  function timeText() {
    var ago = Math.round((Date.now() - askedAt) / 1000);
    var words = ago < 5 ? text.justNow : ago < 60 ? text.secsAgo.replace('{n}', ago - ago % 5) : text.minsAgo.replace('{n}', Math.floor(ago / 60));
    return askedAt ? localTime(new Date(askedAt)) + ' · ' + words : '';
  }

  function localTime(date) {
    try {
      return date.toLocaleTimeString(lang, { hour: 'numeric', minute: '2-digit' });
    } catch (e) {
      return date.toLocaleTimeString();
    }
  }

  function setBusy(yes) {
    busy = yes;
    document.body.setAttribute('data-busy', yes ? 'yes' : 'no');
    ['sign-in', 'continue', 'other', 'confirm', 'decline', 'retry', 'back'].forEach(function (id) { byId(id).disabled = yes; });
  }

  function nameFault(words) {
    setText('name-fault', words);
    byId('name').setAttribute('aria-invalid', words ? 'true' : 'false');
    if (words) { byId('name').focus(); }
  }

  function siteName() {
    return (asked && asked.client && asked.client.name) || text.someSite;
  }

  function fill(words) {
    return words.replace('{name}', literally(siteName()));
  }

  function translatePage() {
    var other = lang === 'zh' ? 'en' : 'zh';
    var link = byId('language');
    [].forEach.call(document.querySelectorAll('[data-text]'), function (element) {
      element.textContent = text[element.getAttribute('data-text')];
    });
    setText('sign-in-lead', text.signInLead);
    document.title = text.title;
    link.textContent = other === 'zh' ? '中文' : 'English';
    link.lang = link.hreflang = other;
    link.href = location.pathname + '?lang=' + other;
  }

  // ---- Small things ----

  function send(url, body, done) {
    var xhr = new XMLHttpRequest();
    if (busy) { return; }
    setBusy(true);
    xhr.open('POST', url, true);
    xhr.timeout = SEND_TIMEOUT_MS;
    xhr.setRequestHeader('Accept', 'application/json');
    if (token) { xhr.setRequestHeader('Authorization', 'Bearer ' + token); }
    if (body) { xhr.setRequestHeader('Content-Type', 'application/json'); }
    xhr.onload = function () {
      setBusy(false);
      done(xhr.status, parse(xhr.responseText), xhr);
    };
    xhr.onerror = xhr.ontimeout = function () {
      setBusy(false);
      done(0, null, xhr);
    };
    xhr.send(body ? JSON.stringify(body) : null);
  }

  function parse(json) {
    try { return JSON.parse(json); } catch (e) { return null; }
  }

  function retryAfterMs(body, xhr) {
    var header = xhr.status ? xhr.getResponseHeader('Retry-After') : null;
    var secs = parseFloat(header || (body && body.retry_after));
    return secs > 0 ? Math.min(secs, 3600) * 1000 : 0;
  }

  // Storage may be switched off; the token then lasts as long as the page.
  function store(value) {
    token = value;
    try {
      if (value) { sessionStorage.setItem(storageKey, value); } else { sessionStorage.removeItem(storageKey); }
    } catch (e) { /* see above */ }
  }

  function stored() {
    try { return sessionStorage.getItem(storageKey); } catch (e) { return null; }
  }

  function identityMode() {
    var meta = document.querySelector('meta[name="scangate-identity"]');
    return meta ? meta.getAttribute('content') : 'bearer';
  }

  // For show only: who the person is, the gateway reads from the token that it has verified.
  function personName() {
    var part = String(token).split('.')[1] || '';
    try {
      part = atob(part.replace(/-/g, '+').replace(/_/g, '/'));
      return String(JSON.parse(decodeURIComponent(part.replace(/[\s\S]/g, function (byte) {
        return '%' + ('0' + byte.charCodeAt(0).toString(16)).slice(-2);
      }))).name || '');
    } catch (e) {
      return '';
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

  function clock(secs) {
    return Math.floor(secs / 60) + ':' + ('0' + secs % 60).slice(-2);
  }

  // "$" has a meaning in a replacement, and names may have one.
  function literally(words) {
    return words.replace(/\$/g, '$$$$');
  }

  function pickLanguage() {
    var wish = (/[?&]lang=(\w+)/.exec(location.search) || [])[1];
    var known = [wish].concat(navigator.languages || [], navigator.language || '').map(function (tag) {
      return String(tag || '').slice(0, 2).toLowerCase();
    }).filter(function (code) {
      return code === 'en' || code === 'zh';
    });
    return known[0] || 'en';
  }

  function setText(id, words) {
    setContent(byId(id), words);
  }

  // Writing the same words again would make a screen reader say them again.
  function setContent(element, words) {
    if (element.textContent !== words) { element.textContent = words; }
  }

  function byId(id) {
    return document.getElementById(id);
  }

  start();
}());
