/*
 * Shows how a request ended: the view #outcome with #outcome-title and #outcome-detail, and #retry for the next action.
 *
 * Needs request.js. ES5 and the browser API of 2014 only.
 */
(function () {
  'use strict';

  var BUSY_MS = 5000;

  var scangate = window.scangate;
  var page = window.scangatePage;
  var byId = page.byId;

  var label = '';
  var action = null;
  var availableAt = 0;

  /* Writes the outcome, without an action. `detail`, if given, is the gateway's English text and replaces the page's. */
  page.writeOutcome = function (texts, values, detail) {
    page.setText('outcome-title', scangate.format(texts[0], values));
    page.setText('outcome-detail', detail || scangate.format(texts[1], values));
    byId('outcome-detail').lang = detail ? 'en' : page.lang;
    byId('retry').hidden = true;
    action = null;
  };

  /* Adds a button to the outcome. It is disabled for `afterMs`. */
  page.offerAction = function (text, callback, afterMs) {
    label = text;
    action = callback;
    availableAt = Date.now() + (afterMs || 0);
    byId('retry').hidden = false;
    page.blockClicks();
    render();
  };

  /* Shows why a request failed, using `finish`, and offers to repeat it. */
  page.showFailure = function (finish, status, problem, xhr, repeat) {
    var isBusy = status === 429 || status === 503;
    if (isBusy) {
      finish('error', page.text.busy);
    } else if (status === 0) {
      finish('error', page.text.unreachable);
    } else {
      finish('error', page.text.failed, problem && problem.detail);
    }
    page.offerAction(page.text.retry, repeat, isBusy ? page.retryAfterMs(xhr) || BUSY_MS : 0);
  };

  function render() {
    var wait = Math.max(0, Math.ceil((availableAt - Date.now()) / 1000));
    if (!action) { return; }
    page.setText('retry', wait ? scangate.format(page.text.retry_in, { time: scangate.formatTime(wait) }) : label);
    if (byId('retry').disabled !== (page.busy || wait > 0)) { byId('retry').disabled = page.busy || wait > 0; }
  }

  byId('retry').onclick = function () {
    if (action && Date.now() >= availableAt) { action(); }
  };
  page.whileVisible(render);
}());
