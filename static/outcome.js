/*
 * How it ended: the view #outcome with #outcome-title, #outcome-detail, and #retry for what can be done about it.
 *
 * ES5 and the browser API of 2014 only.
 */
(function () {
  'use strict';

  var page = window.scangatePage;
  var byId = page.byId;

  var label = '';
  var again = null;
  var retryAt = 0;

  /* Says in the page's words, or by its detail in the gateway's, how it ended. Nothing can be done about it. */
  page.conclude = function (words, slots, said) {
    page.setText('outcome-title', page.phrase(words[0], slots));
    page.setText('outcome-detail', said || page.phrase(words[1], slots));
    byId('outcome-detail').lang = said ? 'en' : page.lang;
    byId('retry').hidden = true;
    again = null;
  };

  /* Lets something be done, after a time. */
  page.offer = function (words, action, afterMs) {
    label = words;
    again = action;
    retryAt = Date.now() + (afterMs || 0);
    byId('retry').hidden = false;
    page.guard();
    show();
  };

  function show() {
    var wait = Math.max(0, Math.ceil((retryAt - Date.now()) / 1000));
    if (!again) { return; }
    page.setText('retry', wait ? page.phrase(page.text.retry_in, { time: page.clock(wait) }) : label);
    if (byId('retry').disabled !== (page.busy || wait > 0)) { byId('retry').disabled = page.busy || wait > 0; }
  }

  byId('retry').onclick = function () {
    if (again && Date.now() >= retryAt) { again(); }
  };
  page.eachSecond(show);
}());
