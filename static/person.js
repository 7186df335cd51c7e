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
    page.setText('sign-in-lead', hasRunOut ? page.text.sign_in_again : page.text.sign_in_lead);
    fault('');
  }

  /* Signs in under the name that was typed. `failed` is given what a request is answered. */
  function signIn(done, failed) {
    var typed = page.byId('name').value.replace(/^\s+|\s+$/g, '');
    fault(typed ? '' : page.text.name_missing);
    if (!typed) { return; }
    page.post('/demo/sign-in', { body: { name: typed } }, function (status, body, xhr) {
      if (status === 200 && body && body.access_token) {
        keep(body.access_token);
        done();
      } else if (status === 400 || status === 422) {
        fault((body && body.detail) || page.text.name_missing);
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
