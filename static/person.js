/*
 * The person who is signed in here: scangatePage.person.
 *
 * <meta name="scangate-identity"> is the source of the person's token:
 *   demo    POST /demo/sign-in, for a demo user; the token is in sessionStorage "scangate.demo"
 *   bearer  the site's own sign-in, which stores the token in sessionStorage "scangate.bearer" before it opens this page
 *
 * In the demo the page has the form #sign-in-form with #name, #name-fault and #sign-in-lead.
 *
 * Needs request.js. ES5 and the browser API of 2014 only.
 */
(function () {
  'use strict';

  var page = window.scangatePage;
  var meta = document.querySelector('meta[name="scangate-identity"]');
  var isDemo = !!meta && meta.getAttribute('content') === 'demo';
  var storageKey = isDemo ? 'scangate.demo' : 'scangate.bearer';
  var person = page.person = {
    isDemo: isDemo, token: stored(), setToken: setToken, name: name, prepareForm: prepareForm, requireSignIn: requireSignIn,
    signIn: signIn, showFault: showFault
  };

  // If storage is disabled, the token lasts as long as the page.
  function setToken(token) {
    person.token = token;
    try {
      if (token) { sessionStorage.setItem(storageKey, token); } else { sessionStorage.removeItem(storageKey); }
    } catch (e) { /* see above */ }
  }

  function stored() {
    try { return sessionStorage.getItem(storageKey); } catch (e) { return null; }
  }

  function name() {
    var claims = (person.token && page.decodeJwt(person.token)) || {};
    return String(claims.name || claims.preferred_username || '');
  }

  /* Prepares the demo's form. */
  function prepareForm(hasExpired) {
    page.setText('sign-in-lead', hasExpired ? page.text.sign_in_again : page.text.sign_in_lead);
    showFault('');
  }

  /*
   * Asks a person without a valid token to sign in: in the demo with the form, otherwise with the outcome `texts` and an
   * action that checks for a token again. `view` has showForm(), finish(view, texts) and begin().
   */
  function requireSignIn(view, hasExpired, texts) {
    if (isDemo) {
      prepareForm(hasExpired);
      view.showForm();
      return;
    }
    view.finish('no-identity', texts);
    page.offerAction(page.text.check, function () {
      person.token = stored();
      view.begin();
    });
  }

  /* Signs in with the typed name. Shows an error for a refused name; `failed` gets the response of any other failure. */
  function signIn(done, failed) {
    var typed = page.byId('name').value.replace(/^\s+|\s+$/g, '');
    showFault(typed ? '' : page.text.name_missing);
    if (!typed) { return; }
    page.post('/demo/sign-in', { body: { name: typed } }, function (status, body, xhr) {
      if (status === 200 && body && body.access_token) {
        setToken(body.access_token);
        done();
      } else if (status === 400 || status === 422) {
        showFault((body && body.detail) || page.text.name_missing);
      } else {
        failed(status, body, xhr);
      }
    });
  }

  function showFault(text) {
    page.setText('name-fault', text);
    page.byId('name').setAttribute('aria-invalid', text ? 'true' : 'false');
    if (text) { page.byId('name').focus(); }
  }
}());
