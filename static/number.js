/*
 * The approver's side of number matching: scangatePage.number asks for the number that the other screen shows.
 *
 * The page has #choose with #choices (three buttons with data-choice="NUMBER"; choosing is confirming), and #type with
 * #number and #number-fault. Which of them is on show says data-match on <body>: none, choose or type.
 *
 * ES5 and the browser API of 2014 only.
 */
(function () {
  'use strict';

  var page = window.scangatePage;
  var byId = page.byId;

  page.number = { ask: ask, read: read };

  /* Asks as the client wants it: none, choose or type. `chosen` is called with a number that was chosen. */
  function ask(match, choices, chosen) {
    var list = byId('choices');
    var way = match === 'choose' || match === 'type' ? match : 'none';
    document.body.setAttribute('data-match', way);
    byId('choose').hidden = way !== 'choose';
    byId('type').hidden = way !== 'type';
    byId('confirm').hidden = way === 'choose';
    byId('number').value = '';
    fault('');
    page.empty(list);
    (choices || []).forEach(function (choice) {
      var button = document.createElement('button');
      button.type = 'button';
      button.className = 'button choice';
      button.textContent = choice;
      button.setAttribute('data-choice', choice);
      button.onclick = function () { chosen(choice); };
      list.appendChild(button);
    });
  }

  /* Returns the number that was typed; says what is wrong if it is none. */
  function read() {
    var typed = byId('number').value.replace(/\s/g, '').replace(/[\uFF10-\uFF19]/g, function (wide) {
      return String.fromCharCode(wide.charCodeAt(0) - 0xFEE0);
    });
    var isNumber = /^[1-9]\d$/.test(typed);
    fault(isNumber ? '' : page.text.number_missing);
    return isNumber ? typed : '';
  }

  function fault(words) {
    page.setText('number-fault', words);
    byId('number').setAttribute('aria-invalid', words ? 'true' : 'false');
    if (words) { byId('number').focus(); }
  }
}());
