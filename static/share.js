/*
 * The presenter's page: somebody who is signed in shows a code, sees who has scanned it, and decides what they get.
 *
 * Query string: client_id, lang (en or zh).
 *
 * What tests and style sheets may rely on, on <body>:
 *   data-state      sign-in | no-identity | loading | waiting | scanned | granted | declined | closed | mismatch | late |
 *                   expired | offline | error
 *   data-view       the same without "offline"
 *   data-transport  sse | poll; absent while no ticket is watched
 *   data-busy       yes while an answer is awaited
 * and the ids #name, #sign-in; #qr, #countdown, #offer, #scan-link, #stop, #other, #renew, #refresh (expired, error);
 *   #request (each <dd> has data-fact="site|browser|os|ip|time"), #release (a checkbox with data-claim for each claim),
 *   #confirm, #decline, #notice, #fault; #outcome (#outcome-title, #outcome-detail), #granted, #retry. For the number see
 *   number.js, for who is signed in see person.js.
 *
 * Needs all of the shared files. ES5 and the browser API of 2014 only.
 */
(function () {
  'use strict';

  var TEXT = {
    en: {
      heading: 'Share your sign-in', headingTo: 'Share your sign-in to {name}', qr: 'QR code for sharing your sign-in to {name}',
      as: 'You are', offered: 'Offered', granted: 'Shared', time: 'Scanned', stop: 'Stop sharing',
      scanLink: 'Can’t scan? Use this link on the other device',
      loading: ['One moment', 'Your code is on its way.'],
      waiting: ['Let them scan this code', 'You then see who it is, and decide what they get.'],
      scanned: ['Share with {who}?', ''],
      stranger: 'someone who is not signed in', strangerHeading: 'Share with someone who is not signed in?',
      signedIn: 'Signed in under this name',
      grantLegend: 'What they get', grantHint: 'Always with it: your account.', grantOnly: 'Your account, and nothing else.',
      chooseHint: 'Choosing it grants what is ticked.',
      warning: 'Only grant to a device that you see in front of you. It will be signed in to {name} as you.',
      decline: 'Decline', grant: 'Grant',
      changed: 'Somebody else is there now. Look again before you decide.',
      done: ['Shared', '{who} is signed in to {name} as you.'], doneStranger: ['Shared', 'The other device is signed in to {name} as you.'],
      declined: ['Declined', 'Nothing was shared.'],
      stopped: ['Sharing stopped', 'The code no longer works. Nothing was shared.'],
      closed: ['They left', 'The other device stopped asking. Nothing was shared.'],
      superseded: ['Replaced by a newer code', 'You have shown a newer code elsewhere. Nothing was shared by this one.'],
      mismatch: ['That did not match', 'The sharing was stopped, and nothing was shared. Get a new code to try again.'],
      late: ['The time is over', 'Nothing was shared. Get a new code to try again.'],
      expired: ['This code has expired', 'Get a new one when you are ready.'],
      away: ['This code has expired', 'A new one comes as soon as you are back.'],
      noIdentity: ['Please sign in first', 'Open this page from the site’s own app, or sign in to the site in this browser and then come back.'],
      ranOut: ['You are no longer signed in', 'Sign in to the site again, in its app or in this browser, and then come back.'],
      failed: ['That did not work', 'The sign-in service did not answer as expected. Please try again.'],
      unreachable: ['No connection', 'The sign-in service cannot be reached. Trying again by itself.'],
      unsent: 'No connection: your answer may not have arrived. Please try again.',
      busy: ['Please wait a little', 'There were too many tries. The next one comes by itself.'],
      tooMany: 'There were too many tries. Please wait a little, then try again.'
    },
    zh: {
      heading: '分享您的登录', headingTo: '分享您在 {name} 的登录', qr: '用于分享 {name} 登录的二维码',
      as: '您是', offered: '可提供', granted: '已提供', time: '扫描时间', stop: '停止分享',
      scanLink: '无法扫码？请在另一台设备上打开此链接',
      loading: ['请稍候', '正在生成二维码。'],
      waiting: ['请对方扫描此二维码', '之后您会看到对方是谁，再决定提供什么。'],
      scanned: ['分享给 {who} 吗？', ''],
      stranger: '未登录的人', strangerHeading: '分享给未登录的人吗？',
      signedIn: '已用此姓名登录',
      grantLegend: '对方将得到', grantHint: '始终包含：您的账号。', grantOnly: '仅您的账号，别无其他。',
      chooseHint: '选择即为同意提供所勾选的内容。',
      warning: '仅当对方设备就在您眼前时才可同意。该设备将以您的身份登录 {name}。',
      decline: '拒绝', grant: '同意',
      changed: '对方已换了人。请重新核对后再决定。',
      done: ['已分享', '{who} 已以您的身份登录 {name}。'], doneStranger: ['已分享', '对方设备已以您的身份登录 {name}。'],
      declined: ['已拒绝', '没有分享任何内容。'],
      stopped: ['已停止分享', '此二维码已失效，没有分享任何内容。'],
      closed: ['对方已离开', '对方设备已停止请求，没有分享任何内容。'],
      superseded: ['已有更新的二维码', '您在别处生成了新的二维码，此码没有分享任何内容。'],
      mismatch: ['数字不匹配', '分享已停止，没有分享任何内容。如需再试，请换一个二维码。'],
      late: ['时间已到', '没有分享任何内容。如需再试，请换一个二维码。'],
      expired: ['二维码已过期', '准备好后请换一个。'],
      away: ['二维码已过期', '您回来后会自动换新。'],
      noIdentity: ['请先登录', '请从该网站的应用打开此页面，或先在此浏览器中登录该网站，再回到这里。'],
      ranOut: ['登录状态已失效', '请在应用或此浏览器中重新登录该网站，再回到这里。'],
      failed: ['操作失败', '登录服务没有正常应答，请重试。'],
      unreachable: ['无法连接', '暂时连不上登录服务，正在自动重试。'],
      unsent: '无法连接，您的回答可能没有送达。请重试。',
      busy: ['请稍候', '尝试次数过多，稍后会自动重试。'],
      tooMany: '尝试次数过多，请稍候再试。'
    }
  };

  var ON_STAGE = { loading: 1, waiting: 1, expired: 1, error: 1 };

  var page = window.scangatePage;
  var person = page.person;
  var byId = page.byId;
  var setText = page.setText;
  var text = page.begin(TEXT);
  var scanner = null;          // who has scanned
  var match = 'none';
  var scannedAt = 0;
  var code = page.code({ wish: wish, made: made, news: news, slots: slots, shown: shown, over: over, refused: refused });

  function start() {
    byId('sign-in-form').onsubmit = signIn;
    byId('stop').onclick = stop;
    byId('other').onclick = forget;
    byId('other').hidden = !person.demo;
    byId('answer').onsubmit = answer;
    byId('decline').onclick = decline;
    setInterval(showTime, 1000);
    welcome();
  }

  function welcome() {
    if (person.token) {
      code.refresh();
    } else if (person.demo) {
      person.ask(false);
      code.show('sign-in', [text.signInHeading, '']);
    } else {
      noIdentity(text.noIdentity);
    }
  }

  // ---- Who shares ----

  function signIn(event) {
    if (event) { event.preventDefault(); }
    person.signIn(code.refresh, function (status, problem) { person.fault(wordsFor(status, problem)); });
  }

  function forget() {
    close();
    person.keep(null);
    welcome();
  }

  function tokenRanOut() {
    code.end();
    person.keep(null);
    if (person.demo) {
      person.ask(true);
      code.show('sign-in', [text.signInHeading, '']);
    } else {
      noIdentity(text.ranOut);
    }
  }

  function noIdentity(words) {
    finish('no-identity', words);
    page.offer(text.check, function () {
      person.look();
      welcome();
    });
  }

  // ---- The code ----

  function wish() {
    var body = { flow: 'share' };
    if (page.query.client_id) { body.client_id = page.query.client_id; }
    return { body: body, token: person.token };
  }

  function made(ticket) {
    var list = byId('offer');
    scanner = null;
    page.empty(list);
    page.addRow(list, 'data-fact', 'as', text.as, person.name() || text.someone);
    page.addRow(list, 'data-fact', 'release', text.offered, withAccount(ticket.release));
    if (page.isWebUrl(ticket.scan_url)) { byId('scan-link').href = ticket.scan_url; }
  }

  function news(ticket) {
    if (ticket.state === 'scanned') {
      decide(ticket);
    } else if (ticket.state === 'confirmed' || ticket.state === 'claimed') {
      granted(ticket);
    } else if (ticket.state === 'cancelled') {
      // A scanner that goes away has the same reason as a presenter who stops; but that one knows already.
      ended(ticket.reason, text[ticket.reason] || text.closed);
    }
  }

  // A code that nobody has scanned is followed by another; somebody whom the presenter kept waiting is not.
  function over() {
    if (scanner) { finishAgain('late', text.late); }
    return !!scanner;
  }

  function refused(status) {
    if (status === 401) { tokenRanOut(); }
    return status === 401;
  }

  function stop() {
    close();
    finishAgain('closed', text.stopped);
  }

  // Whether it arrives or not: without this page nobody can be granted anything.
  function close() {
    if (code.ticket) { page.send('DELETE', code.ticket.poll, { token: person.token }, page.ignore); }
    code.end();
  }

  // ---- The decision ----

  function decide(ticket) {
    var from;
    scanner = ticket.scanned_by;
    from = scanner.from || {};
    match = ticket.match || 'none';
    scannedAt = Date.now();
    setText('scanned-heading', scanner.signed_in ? page.phrase(text.scanned[0], slots()) : text.strangerHeading);
    setText('scanned-as', scanner.signed_in ? text.signedIn : '');
    setText('initials', scanner.signed_in ? page.initials(who()) : '?');
    setText('notice', '');
    setText('fault', '');
    setText('warning', page.phrase(text.warning, slots()));
    page.showFacts(byId('request'), [
      ['site', siteName()], ['browser', from.browser], ['os', from.os], ['ip', from.ip], ['time', page.ago(scannedAt)]
    ]);
    showRelease(ticket.release || []);
    page.number.ask(match, ticket.choices, grant);
    code.show('scanned', scanner.signed_in ? text.scanned : [text.strangerHeading, '']);
  }

  function showRelease(claims) {
    var list = byId('release');
    page.empty(list);
    setText('grant-hint', claims.length ? text.grantHint : text.grantOnly);
    claims.forEach(function (claim) {
      var label = document.createElement('label');
      var box = document.createElement('input');
      label.className = 'check';
      box.type = 'checkbox';
      box.checked = true;
      box.setAttribute('data-claim', claim);
      label.appendChild(box);
      label.appendChild(document.createTextNode(page.claimName(claim)));
      list.appendChild(label);
    });
  }

  function ticked() {
    return [].filter.call(document.querySelectorAll('#release input'), function (box) { return box.checked; })
      .map(function (box) { return box.getAttribute('data-claim'); });
  }

  function answer(event) {
    var number;
    event.preventDefault();
    if (match === 'choose') { return; }
    number = match === 'type' ? page.number.read() : null;
    if (number !== '') { grant(number); }
  }

  function grant(number) {
    var body = { scanner: scanner.id, release: ticked() };
    if (number) { body.match = number; }
    call('confirm', body, granted);
  }

  function decline() {
    call('cancel', null, function () { ended('declined', text.declined); });
  }

  function call(action, body, done) {
    setText('fault', '');
    page.post(code.ticket.poll + '/' + action, { body: body, token: person.token }, function (status, got) {
      // The stream may have been quicker.
      if (code.view !== 'scanned') { return; }
      if (status === 200 && got) { done(got); } else { failed(status, got); }
    });
  }

  function failed(status, problem) {
    var reason = (problem && problem.code) || '';
    if (status === 401) {
      tokenRanOut();
    } else if (status === 404) {
      code.expire();
    } else if (reason === 'mismatch') {
      ended('mismatch', text.mismatch);
    } else if (reason === 'not_scanned') {
      // The gateway's store has lost the scan, and the code is back where it was: a page that knows more cannot follow.
      code.refresh();
    } else if (status === 403 || status === 409) {
      lookAgain(reason === 'scanner_changed' ? text.changed : '');
    } else {
      setText('fault', wordsFor(status, problem));
    }
  }

  function lookAgain(notice) {
    page.send('GET', code.ticket.poll, { token: person.token }, function (status, ticket) {
      if (code.view !== 'scanned') { return; }
      if (status !== 200 || !ticket) {
        setText('fault', wordsFor(status, ticket));
        return;
      }
      news(ticket);
      setText('notice', notice);
    });
  }

  function wordsFor(status, problem) {
    if (status === 0) { return text.unsent; }
    return status === 429 || status === 503 ? text.tooMany : (problem && problem.detail) || text.failed[1];
  }

  // ---- How it ended ----

  function granted(ticket) {
    finishAgain('granted', scanner && scanner.signed_in ? text.done : text.doneStranger);
    page.addRow(byId('granted'), 'data-fact', 'release', text.granted, withAccount(ticket.release));
  }

  function ended(reason, words) {
    finishAgain(reason === 'declined' || reason === 'mismatch' ? reason : 'closed', words);
  }

  function finishAgain(view, words) {
    finish(view, words);
    page.offer(text.renew, code.refresh);
  }

  function finish(view, words) {
    code.end();
    page.conclude(words, slots());
    page.empty(byId('granted'));
    code.show(view, words);
  }

  // ---- What is seen ----

  // Focus goes to what a new view begins with. The stage keeps it, and has a live region of its own.
  function shown(view) {
    var first = view === 'sign-in' ? '.view-sign-in' : view === 'scanned' ? '.view-scanned' : '.view-outcome';
    var title = document.querySelector(first + ' h1');
    if (ON_STAGE[view]) { return false; }
    (view === 'sign-in' ? byId('name') : title).focus();
    setText('said', title.textContent);
    return true;
  }

  function showTime() {
    var time = document.querySelector('[data-fact="time"]');
    if (time && scanner) { page.setContent(time, page.ago(scannedAt)); }
  }

  function withAccount(claims) {
    return page.claimNames(['sub'].concat(claims || []));
  }

  function who() {
    return (scanner && scanner.name) || (scanner && scanner.signed_in ? text.someone : text.stranger);
  }

  function siteName() {
    var client = (scanner && scanner.client) || (code && code.client);
    return (client && client.name) || text.someSite;
  }

  function slots() {
    return { name: siteName(), who: who() };
  }

  start();
}());
