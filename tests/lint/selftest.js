// Proves that the rules bite: each line must be refused, the one called ACCEPTED… accepted.
'use strict';

const { ESLint } = require('eslint');

const REFUSED = [
  'let a = 1; a;',
  'var f = () => 1; f();',
  'var s = `x`; s;',
  'fetch("/");',
  'window.fetch("/");',
  'new Promise(function () {});',
  'new URL("/");',
  '[].includes(1);',
  'Array.from([]);',
  'document.body.remove();',
  'document.body.innerHTML = "x";',
  'var unused = 1;'
];
const ACCEPTED = 'document.body.setAttribute("data-state", "loading");';

// The same in the file that reads streams: what it may do there it may not do anywhere in it.
const REFUSED_TO_READER = [
  'fetch("/");',
  'window.fetch("/");',
  'window.Promise();',
  'function connect() { return window.Promise; } connect();',
  'document.querySelector("head");',
  'function connect() { return document.hidden; } connect();'
];
const REFUSED_AMONG_STRANGERS = ['document.body.focus();', 'document.createElement("p");'];
const ACCEPTED_AMONG_STRANGERS = 'window.scangate.doc("createElement", "p");';
const ACCEPTED_OF_READER = 'function connect() { return !!window.fetch; } connect();';

function wrapped(line) {
  return '(function () {\n  \'use strict\';\n  ' + line + '\n}());\n';
}

async function main() {
  const eslint = new ESLint({ overrideConfigFile: 'tests/lint/eslint.config.js' });
  const faults = async (line, filePath) => (await eslint.lintText(wrapped(line), { filePath }))[0].errorCount;
  const wrong = [];
  const check = async (filePath, refused, accepted) => {
    for (const line of refused) {
      if (await faults(line, filePath) === 0) { wrong.push('accepted in ' + filePath + ': ' + line); }
    }
    if (await faults(accepted, filePath) !== 0) { wrong.push('refused in ' + filePath + ': ' + accepted); }
  };
  await check('static/x.js', REFUSED.concat(ACCEPTED_OF_READER), ACCEPTED);
  await check('static/scangate.js', REFUSED_TO_READER, ACCEPTED_OF_READER);
  await check('static/scangate-look.js', REFUSED_AMONG_STRANGERS, ACCEPTED_AMONG_STRANGERS);
  wrong.forEach((line) => console.error(line));
  process.exitCode = wrong.length ? 1 : 0;
}

main();
