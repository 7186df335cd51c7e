// Returns what the page says, and to whom. The walk runs it.
function isSeen(element) {
  return element && element.offsetWidth > 0 && getComputedStyle(element).visibility !== 'hidden';
}

function words(element) { return isSeen(element) ? element.textContent.trim() : ''; }

function seen(css) { return [].filter.call(document.querySelectorAll(css), isSeen)[0]; }

var title = seen('.scangate-title') || seen('.view h1');
var focus = document.activeElement;
return {
  title: words(title),
  detail: words(seen('.scangate-detail') || seen('#outcome-detail')),
  heading: words(seen('#heading')),
  document: document.title,
  focus: focus === document.body ? 'body' : focus.id ? '#' + focus.id : '.' + focus.className.split(' ')[0],
  live: [].map.call(document.querySelectorAll('[role=status], [aria-live]'), function (region) { return region.textContent.trim(); }),
  banner: words(seen('#banner')) || words(seen('.scangate-banner')),
  view: document.body.getAttribute('data-view'),
  state: document.body.getAttribute('data-state')
};
