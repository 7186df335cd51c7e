// Returns what is wrong with how the page is laid out, in words, and where its stage and card are. The walk runs it.
var faults = [];
var root = document.documentElement;

function isSeen(element) {
  for (var at = element; at && at !== root; at = at.parentElement) {
    if (getComputedStyle(at).opacity < 0.5) { return false; }
  }
  return element.getClientRects().length > 0 && getComputedStyle(element).visibility !== 'hidden'
    && !element.closest('.visually-hidden, head, script, style, details:not([open]) > :not(summary)');
}

function name(box) { return '"' + box.words.slice(0, 40) + '"'; }

// The lines of text, and what else stands in the way of others.
function boxes() {
  var found = [];
  var walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  var range = document.createRange();
  var node;
  while ((node = walker.nextNode())) {
    if (!node.data.trim() || !isSeen(node.parentElement)) { continue; }
    range.selectNodeContents(node);
    for (var rect of range.getClientRects()) {
      if (rect.width > 0) { found.push({ element: node.parentElement, words: node.data.trim(), rect: rect, isText: true }); }
    }
  }
  for (var element of document.querySelectorAll('img, input, button, .scangate-banner, .icon, .scangate-sign, .scangate-avatar')) {
    if (isSeen(element)) {
      found.push({ element: element, words: element.id || String(element.className.baseVal || element.className), rect: element.getBoundingClientRect() });
    }
  }
  return found;
}

// A line of text reaches above and below what is drawn.
function inner(box) {
  var spare = box.isText ? box.rect.height * 0.2 : 0;
  return { left: box.rect.left, right: box.rect.right, top: box.rect.top + spare, bottom: box.rect.bottom - spare };
}

// What is left of it where something cuts it off.
function clipped(box) {
  var rect = inner(box);
  for (var at = box.element; at && at !== document.body; at = at.parentElement) {
    var frame = at.getBoundingClientRect();
    if (getComputedStyle(at).overflow === 'visible') { continue; }
    rect.top = Math.max(rect.top, frame.top);
    rect.bottom = Math.min(rect.bottom, frame.bottom);
  }
  return rect;
}

function isIn(a, b) {
  return a.left >= b.left - 1 && a.right <= b.right + 1 && a.top >= b.top - 1 && a.bottom <= b.bottom + 1;
}

function checkPlace(box) {
  var own = inner(box);
  var whole = { left: 0, right: innerWidth, top: -scrollY, bottom: root.scrollHeight - scrollY };
  if (!isIn(own, whole)) { faults.push(name(box) + ' is off the page'); }
  for (var at = box.element; at && at !== document.body; at = at.parentElement) {
    var clips = getComputedStyle(at).overflow !== 'visible' || at.tagName === 'BUTTON';
    if (clips && box.isText && !isIn(own, at.getBoundingClientRect())) { faults.push(name(box) + ' is cut off by ' + (at.id || at.className)); break; }
  }
}

function checkOverlap(all) {
  all.forEach(function (a, index) {
    all.slice(index + 1).forEach(function (b) {
      if (a.element.contains(b.element) || b.element.contains(a.element)) { return; }
      var one = clipped(a), other = clipped(b);
      var width = Math.min(one.right, other.right) - Math.max(one.left, other.left);
      var height = Math.min(one.bottom, other.bottom) - Math.max(one.top, other.top);
      if (width > 1 && height > 1) { faults.push(name(a) + ' overlaps ' + name(b)); }
    });
  });
}

function place(css) {
  var element = document.querySelector(css);
  var rect = element && element.getBoundingClientRect();
  return rect && rect.width ? [rect.left + scrollX, rect.top + scrollY, rect.width, rect.height].map(Math.round) : null;
}

var all = boxes();
if (root.scrollWidth > innerWidth) { faults.push('the page is ' + (root.scrollWidth - innerWidth) + ' pixels too wide'); }
all.forEach(checkPlace);
checkOverlap(all);
var below = [].filter.call(document.querySelectorAll('.scangate-button'), function (button) {
  return isSeen(button) && button.getBoundingClientRect().bottom > innerHeight;
});
return {
  faults: faults.filter(function (fault, at) { return faults.indexOf(fault) === at; }),
  stage: place('.scangate-stage'),
  card: place('.card'),
  below: below.map(function (button) { return button.id || button.className; })
};
