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

  var TEXT = {
    en: {
      heading: 'Sign in', headingTo: 'Sign in to {name}', qr: 'QR code for signing in to {name}',
      again: 'Sign in again', share: 'Share a sign-in instead',
      scanLink: 'Can’t scan? Open this link on your phone',
      loading: ['One moment', 'Your code is on its way.'],
      waiting: ['Scan this code', 'Point your phone’s camera at it, or your signed-in app.'],
      waitingWechat: ['Scan with WeChat', 'WeChat takes you to a chat. What to do next stands there and here.'],
      scanned: ['Now confirm on your phone', 'Check there who is asking, then confirm.'],
      numbered: ['Your number is {number}', 'Your phone asks for it. Check there who is asking, then choose or type it.'],
      numberedWechat: ['Your number is {number}', 'WeChat asks for it in the chat. Check there who is asking, then send it.'],
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
      heading: '登录', headingTo: '登录 {name}', qr: '用于登录 {name} 的二维码',
      again: '重新登录', share: '改为分享登录',
      scanLink: '无法扫码？请在手机上打开此链接',
      loading: ['请稍候', '正在生成二维码。'],
      waiting: ['扫描二维码', '请用手机相机，或已登录的应用扫描。'],
      waitingWechat: ['请用微信扫描', '扫描后请在微信会话中继续。'],
      scanned: ['请在手机上确认', '在手机上核对是谁在请求登录，然后确认。'],
      numbered: ['您的数字是 {number}', '手机上会询问此数字。请先核对是谁在请求登录，再选择或输入。'],
      numberedWechat: ['您的数字是 {number}', '请先在微信会话中核对是谁在请求登录，再回复此数字。'],
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

  var MAX_STATE_CHARS = 512;
  var STUCK_MS = 10000;

  var page = window.scangatePage;
  var byId = page.byId;
  var query = page.query;
  var text = page.begin(TEXT);
  var number = '';             // what the phone is asked for
  var code = page.code({ wish: wish, made: made, news: news, slots: slots, shown: shown });

  function start() {
    byId('again').onclick = code.refresh;
    byId('share').hidden = !isDemo();
    if ((query.state || '').length > MAX_STATE_CHARS) {
      code.show('error', text.longState);
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
      text.waiting = text.waitingWechat;
      text.numbered = text.numberedWechat;
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
    return { name: (code && code.client && code.client.name) || text.someSite, number: number };
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
