// What the pages' scripts may use: ES5 syntax and the browser API of 2014.
//
// The globals are listed here by hand, and not taken from a package of "browser" names, so no-undef refuses every API that is
// not in the list. The other lists refuse newer names as properties of window, and newer methods.
'use strict';

const GLOBALS_2014 = [
  'Date', 'Document', 'EventSource', 'HTMLFormElement', 'HTMLScriptElement', 'XMLHttpRequest', 'atob', 'clearInterval', 'clearTimeout', 'document', 'history', 'location', 'navigator',
  'sessionStorage', 'setInterval', 'setTimeout', 'window'
];

const NEWER_GLOBALS = [
  'AbortController', 'BigInt', 'Blob', 'BroadcastChannel', 'CustomEvent', 'FormData', 'Headers', 'IntersectionObserver', 'Intl', 'Map',
  'MutationObserver', 'Promise', 'Proxy', 'ReadableStream', 'Reflect', 'Request', 'ResizeObserver', 'Response', 'Set', 'Symbol', 'TextDecoder',
  'TextEncoder', 'URL', 'URLSearchParams', 'WeakMap', 'WeakSet', 'caches', 'crypto', 'customElements', 'fetch', 'globalThis',
  'localStorage', 'queueMicrotask', 'requestIdleCallback', 'structuredClone'
];

const NEWER_METHODS = [
  'after', 'append', 'assign', 'at', 'before', 'closest', 'codePointAt', 'endsWith', 'entries', 'fill', 'find', 'findIndex', 'flat',
  'flatMap', 'fromCodePoint', 'fromEntries', 'includes', 'isInteger', 'isNaN', 'matchAll', 'normalize', 'padEnd', 'padStart',
  'prepend', 'remove', 'repeat', 'replaceAll', 'replaceChildren', 'replaceWith', 'requestSubmit', 'sendBeacon', 'startsWith',
  'toggleAttribute', 'trimEnd', 'trimStart', 'values'
];

// With these a browser can read a stream with an Authorization header, which EventSource cannot send. One file may use them, in
// the functions that test for them and in the one that is called if they exist.
const STREAM_READING = ['AbortController', 'ReadableStream', 'TextDecoder', 'fetch'];
const STREAM_READER = 'static/scangate.js';
const STREAM_FUNCTIONS = ['connect', 'read', 'withdraw'];

// Scripts that run on pages of other sites, where user markup may shadow any property of `document`.
const ON_OTHER_SITES = ['static/scangate.js', 'static/scangate-look.js', 'static/dom.js'];
const CLOBBERED = {
  selector: 'MemberExpression[object.name="document"]:not(FunctionDeclaration[id.name="own"] *)',
  message: 'Use own() or doc(): markup can shadow any property of document.'
};

// Parses markup, so it is not allowed even for constants.
const MARKUP = ['innerHTML', 'outerHTML', 'insertAdjacentHTML', 'write', 'writeln'];

function refused(names, message) {
  return names.map((property) => ({ property, message }));
}

function properties(newerGlobals) {
  return ['error'].concat(
    newerGlobals.map((property) => ({ object: 'window', property, message: 'Not in a browser of 2014.' })),
    refused(NEWER_METHODS, 'Not in a browser of 2014.'),
    // The `from` of a scanner is the device that scanned.
    [{ property: 'from', allowObjects: ['scanner'], message: 'Not in a browser of 2014.' }],
    refused(MARKUP, 'Use textContent.')
  );
}

function oneOf(names) {
  return '/^(' + names.join('|') + ')$/';
}

module.exports = [
  {
    files: ['static/*.js'],
    languageOptions: {
      ecmaVersion: 5,
      sourceType: 'script',
      globals: Object.fromEntries(GLOBALS_2014.map((name) => [name, 'readonly']))
    },
    linterOptions: { reportUnusedDisableDirectives: 'error', noInlineConfig: true },
    rules: {
      'block-scoped-var': 'error',
      'eqeqeq': 'error',
      'no-eval': 'error',
      'no-implied-eval': 'error',
      'no-new-func': 'error',
      'no-redeclare': 'error',
      'no-shadow': 'error',
      'no-undef': 'error',
      'no-unused-vars': ['error', { caughtErrors: 'none' }],
      'no-restricted-globals': ['error'].concat(NEWER_GLOBALS),
      'no-restricted-properties': properties(NEWER_GLOBALS),
      'strict': ['error', 'function']
    }
  },
  {
    files: [STREAM_READER],
    rules: {
      'no-restricted-properties': properties(NEWER_GLOBALS.filter((name) => !STREAM_READING.includes(name))),
      'no-restricted-syntax': ['error', {
        selector: 'MemberExpression[object.name="window"][property.name=' + oneOf(STREAM_READING) + ']'
          + ':not(FunctionDeclaration[id.name=' + oneOf(STREAM_FUNCTIONS) + '] *)',
        message: 'Only in ' + STREAM_FUNCTIONS.join(' and ') + '.'
      }, CLOBBERED]
    }
  },
  {
    files: ON_OTHER_SITES.filter((name) => name !== STREAM_READER),
    rules: { 'no-restricted-syntax': ['error', CLOBBERED] }
  }
];
