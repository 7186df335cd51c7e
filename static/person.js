/*
 * The person who is signed in in this browser: scangatePage.person. The page holds no token: the session is a cookie that
 * scripts cannot read.
 *
 * The gateway embeds who reads the page, and the way to sign in, as JSON in #reader:
 *   way     demo       by a name that the person makes up: the form #sign-in-form with #name and #name-fault
 *           providers  at an identity provider: a button with data-provider="ID" for each
 *           apps       not in a browser
 *   person  null, or { name, provider, provider_name }
 *
 * Needs request.js and outcome.js. ES5 and the browser API of 2014 only.
 */
(function () {
  'use strict';

  // The ticket for which this tab has left for a provider by a press of a button here. The id is not a secret.
  var LEFT_FOR = 'scangate.signing-in';

  var page = window.scangatePage;
  var byId = page.byId;
  var reader = JSON.parse(byId('reader').textContent);
  var isDemo = reader.way === 'demo';
  var current = reader.person;
  // Whether a sign-in has just succeeded, and nothing has shown yet that the browser keeps its cookie.
  var isUnproven = false;
  var hasSignedOut = false;
  var leftFor = page.stored(LEFT_FOR);
  var from = '';

  page.store(LEFT_FOR, null);

  page.person = {
    isDemo: isDemo,
    canSignIn: reader.way !== 'apps',
    isSignedIn: function () { return !!current; },
    name: function () { return (current && current.name) || ''; },
    provider: function () { return current && current.provider; },
    providerName: function () { return (current && current.provider_name) || ''; },
    hasComeBack: hasComeBack,
    startForms: startForms,
    requireSignIn: requireSignIn,
    leave: leave,
    openAndLeave: openAndLeave,
    proven: function () { isUnproven = false; },
    end: end,
    check: check,
    signOut: signOut,
    showFault: showFault
  };

  /*
   * Returns whether this tab comes back from an identity provider to which a press of a button on the page of this ticket has
   * sent it. No other way to the page counts, so no link makes it scan by itself.
   */
  function hasComeBack(ticketId) {
    return !!current && !!ticketId && leftFor === ticketId;
  }

  /*
   * Makes the form and the buttons work. `query` tells /sign-in where the person comes from. `actions` has signedIn(), for the
   * demo; failed(status, problem, xhr, repeat); ticket, the one to go on with afterwards, if any; and opens, whether to open it
   * before the person leaves.
   */
  function startForms(query, actions) {
    from = query;
    if (isDemo) {
      byId('sign-in-form').onsubmit = function (event) {
        event.preventDefault();
        signIn(actions);
      };
    }
    [].forEach.call(document.querySelectorAll('[data-provider]'), function (button) {
      button.onclick = function () { openAndLeave(button.getAttribute('data-provider'), actions); };
    });
  }

  /*
   * Asks the person to sign in. `view` has showForm() and finish(view, texts), for a gateway at which no browser can.
   */
  function requireSignIn(view, hasExpired) {
    if (!page.person.canSignIn) {
      view.finish('no-identity', page.text.no_identity);
      return;
    }
    page.setText('sign-in-lead', hasExpired ? page.text.sign_in_again : isDemo ? page.text.sign_in_lead : page.text.why);
    if (isDemo) { showFault(''); }
    view.showForm();
  }

  // ---- At a provider ----

  /*
   * Opens the ticket, so that it outlives the sign-in, and leaves. A refusal does not matter: the person can sign in all the same.
   * `actions` is that of startForms, `prompt` that of leave.
   */
  function openAndLeave(provider, actions, prompt) {
    if (!actions.opens) {
      leave(provider, { ticket: actions.ticket, prompt: prompt });
      return;
    }
    page.post('/v1/tickets/' + actions.ticket + '/open', { body: {} }, function (status, problem, xhr) {
      if (status) {
        leave(provider, { ticket: actions.ticket, prompt: prompt });
      } else {
        actions.failed(status, problem, xhr, function () { openAndLeave(provider, actions, prompt); });
      }
    });
  }

  /* Leaves for a provider, from which the person comes back here. `options` has ticket, to go on with it then, and prompt. */
  function leave(provider, options) {
    // After "not you?", the provider asks who it is, although somebody may be signed in there.
    var prompt = options.prompt || (hasSignedOut ? 'login' : '');
    var query = from + '&lang=' + encodeURIComponent(page.lang) + (prompt ? '&prompt=' + prompt : '');
    if (options.ticket) { page.store(LEFT_FOR, options.ticket); }
    page.leave('/sign-in/' + encodeURIComponent(provider) + '?' + query);
  }

  // ---- In the demo ----

  /* Signs in with the typed name. Shows an error for a refused name. */
  function signIn(actions) {
    var typed = byId('name').value.replace(/^\s+|\s+$/g, '');
    showFault(typed ? '' : page.text.name_missing);
    if (!typed) { return; }
    page.post('/demo/sign-in', { body: { name: typed } }, function (status, body, xhr) {
      if (status === 200) {
        current = { name: typed, provider: 'demo', provider_name: '' };
        isUnproven = true;
        actions.signedIn();
      } else if (status === 400 || status === 422) {
        showFault((body && body.detail) || page.text.name_missing);
      } else {
        actions.failed(status, body, xhr, function () { signIn(actions); });
      }
    });
  }

  function showFault(text) {
    page.setText('name-fault', text);
    byId('name').setAttribute('aria-invalid', text ? 'true' : 'false');
    if (text) { byId('name').focus(); }
  }

  // ---- The end of the session ----

  /*
   * The gateway says that nobody is signed in. Asks the person to sign in again, or, straight after a sign-in, says that the
   * browser does not keep the session.
   */
  function end(view) {
    current = null;
    if (isUnproven) {
      isUnproven = false;
      view.finish('error', page.text.unkept);
      page.offerAction(page.text.retry, function () { location.reload(); });
    } else {
      requireSignIn(view, true);
    }
  }

  /* Asks the gateway whether somebody is signed in here. */
  function check(actions) {
    page.send('GET', '/v1/session', {}, function (status, problem, xhr) {
      if (status === 401) { actions.ended(); } else if (status === 200) { actions.lasts(); } else { actions.failed(status, problem, xhr); }
    });
  }

  /* Ends the session, here and, where it has a page for that, at the provider. */
  function signOut(done, failed) {
    page.post('/v1/session/end', { body: {} }, function (status, body, xhr) {
      if (status !== 200) {
        failed(status, body, xhr);
        return;
      }
      current = null;
      hasSignedOut = true;
      if (body && page.isWebUrl(body.continue_at)) { page.leave(body.continue_at); } else { done(); }
    });
  }
}());
