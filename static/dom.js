/*
 * Writes texts and attributes into elements, for the widget of scangate-look.js and for the gateway's own pages.
 *
 * The gateway serves this file separately, and also at the start of scangate-look.js for other sites. It adds its functions
 * to `scangate`, so scangate.js comes first. ES5.
 */
(function () {
'use strict';

var ISOLATES = /[\u2066-\u2069]/;
// Characters that change the direction of text (Unicode TR 9). The gateway also removes them from names.
var DIRECTIONS = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

var scangate = window.scangate;

// The longest time between the two clicks of a double click. A new view ignores clicks for this long.
scangate.CLICK_BLOCK_MS = 500;

/*
 * Replaces the text of an element; isolated parts become <bdi>.
 * Does not write an unchanged text, because a screen reader would announce it again.
 */
scangate.setContent = function (element, text) {
  var parts = String(text).split(ISOLATES);
  if (element.textContent === parts.join('')) { return; }
  element.textContent = '';
  parts.forEach(function (part, index) {
    var parent = index % 2 ? element.appendChild(scangate.doc('createElement', 'bdi')) : element;
    if (part) { parent.appendChild(scangate.doc('createTextNode', part)); }
  });
};

/* Sets an attribute. Does not set an unchanged value, because the browser would compute styles and layout again. */
scangate.setAttribute = function (element, name, value) {
  value = String(value);
  if (element.getAttribute(name) !== value) { element.setAttribute(name, value); }
};

/* Isolates a name (Unicode TR 9, U+2068 and U+2069), so that its direction does not affect the text around it. */
scangate.isolate = function (name) {
  return '\u2068' + String(name).replace(DIRECTIONS, '') + '\u2069';
};

/* Replaces each {name} with its value. Isolates the values, except numbers and times. */
scangate.format = function (template, values) {
  return template.replace(/\{(\w+)\}/g, function (slot, name) {
    var value = values[name];
    return value === undefined ? slot : /^[\d:]*$/.test(value) ? value : scangate.isolate(value);
  });
};

/* Formats seconds as minutes and seconds: 1:05. */
scangate.formatTime = function (secs) {
  return Math.floor(secs / 60) + ':' + ('0' + secs % 60).slice(-2);
};

scangate.isVisible = function (element) {
  return element.offsetWidth > 0 && window.getComputedStyle(element).visibility !== 'hidden';
};
}());
