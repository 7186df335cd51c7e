/*
 * The approver's side of number matching: scangatePage.number asks for the number on the other screen.
 *
 * The page has #choose with #choices (three buttons with data-choice="NUMBER"; a choice also confirms), and #type with
 * #number and #number-fault. data-match on <body> is the visible one: none, choose or type.
 *
 * Needs page.js. ES5 and the browser API of 2014 only.
 */
(function () {
  'use strict';

  var page = window.scangatePage;
  var byId = page.byId;

  page.number = { show: show, readTyped: readTyped };

  /* Asks for the number as configured by the client: none, choose or type. Calls `onChosen` with the chosen number. */
  function show(match, choices, onChosen) {
    var list = byId('choices');
    var mode = match === 'choose' || match === 'type' ? match : 'none';
    document.body.setAttribute('data-match', mode);
    byId('choose').hidden = mode !== 'choose';
    byId('type').hidden = mode !== 'type';
    byId('confirm').hidden = mode === 'choose';
    byId('number').value = '';
    showFault('');
    page.empty(list);
    (choices || []).forEach(function (choice) {
      var button = document.createElement('button');
      button.type = 'button';
      button.className = 'scangate-button choice';
      button.textContent = choice;
      button.setAttribute('data-choice', choice);
      button.onclick = function () { onChosen(choice); };
      list.appendChild(button);
    });
  }

  /* Returns the typed number. If it is not a number of two digits, shows an error and returns an empty string. */
  function readTyped() {
    var typed = byId('number').value.replace(/\s/g, '').replace(/[\uFF10-\uFF19]/g, function (wide) {
      return String.fromCharCode(wide.charCodeAt(0) - 0xFEE0);
    });
    var isNumber = /^[1-9]\d$/.test(typed);
    showFault(isNumber ? '' : page.text.number_missing);
    return isNumber ? typed : '';
  }

  function showFault(text) {
    page.setText('number-fault', text);
    byId('number').setAttribute('aria-invalid', text ? 'true' : 'false');
    if (text) { byId('number').focus(); }
  }
}());
