/*
 * Who is signed in here: scangatePage.person.
 *
 * Whose token it is says <meta name="scangate-identity">:
 *   demo    a made-up person, by POST /demo/sign-in; kept in sessionStorage "scangate.demo"
 *   bearer  the site's own sign-in put the person's token into sessionStorage "scangate.bearer" before coming here
 *
 * In the demo the page has the form #sign-in-form with #name, #name-fault, #sign-in-lead.
 *
 * ES5 and the browser API of 2014 only.
 */
(function () {
  'use strict';

  var page = window.scangatePage;
  var meta = document.querySelector('meta[name="scangate-identity"]');
  var demo = !!meta && meta.getAttribute('content') === 'demo';
  var storageKey = demo ? 'scangate.demo' : 'scangate.bearer';
  var person = page.person = { demo: demo, token: stored(), keep: keep, look: look, name: name, ask: ask, signIn: signIn, fault: fault };

  page.say({
    en: {
      signInHeading: 'Who are you?', signInLead: 'This is a demonstration. Make up a person, no password is needed.',
      signInAgain: 'That sign-in has run out. Please sign in again.',
      nameLabel: 'Name', nameMissing: 'Please type a name.', signIn: 'Sign in and continue',
      other: 'Not you? Sign in as someone else', check: 'I have signed in'
    },
    zh: {
      signInHeading: '您是谁？', signInLead: '这是演示，随便填写一个姓名即可，无需密码。',
      signInAgain: '登录状态已失效，请重新登录。',
      nameLabel: '姓名', nameMissing: '请填写姓名。', signIn: '登录并继续',
      other: '不是您？换个身份登录', check: '我已登录'
    }
  });

  // Storage may be switched off; the token then lasts as long as the page.
  function keep(value) {
    person.token = value;
    try {
      if (value) { sessionStorage.setItem(storageKey, value); } else { sessionStorage.removeItem(storageKey); }
    } catch (e) { /* see above */ }
  }

  /* Looks again: somebody may have signed in meanwhile. */
  function look() {
    person.token = stored();
  }

  function stored() {
    try { return sessionStorage.getItem(storageKey); } catch (e) { return null; }
  }

  function name() {
    var claims = (person.token && page.decodeJwt(person.token)) || {};
    return String(claims.name || claims.preferred_username || '');
  }

  /* Prepares the form for a made-up person. */
  function ask(hasRunOut) {
    page.setText('sign-in-lead', hasRunOut ? page.text.signInAgain : page.text.signInLead);
    fault('');
  }

  /* Signs in under the name that was typed. `failed` is given what a request is answered. */
  function signIn(done, failed) {
    var typed = page.byId('name').value.replace(/^\s+|\s+$/g, '');
    fault(typed ? '' : page.text.nameMissing);
    if (!typed) { return; }
    page.post('/demo/sign-in', { body: { name: typed } }, function (status, body, xhr) {
      if (status === 200 && body && body.access_token) {
        keep(body.access_token);
        done();
      } else if (status === 400 || status === 422) {
        fault((body && body.detail) || page.text.nameMissing);
      } else {
        failed(status, body, xhr);
      }
    });
  }

  function fault(words) {
    page.setText('name-fault', words);
    page.byId('name').setAttribute('aria-invalid', words ? 'true' : 'false');
    if (words) { page.byId('name').focus(); }
  }
}());
