// Tests the rules: ESLint must refuse each line of a REFUSED… list, and accept each ACCEPTED… line.
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

// For the file that reads streams: its exceptions hold in some of its functions only.
const REFUSED_TO_READER = [
  'fetch("/");',
  'window.fetch("/");',
  'window.Promise();',
  'function connect() { return window.Promise; } connect();',
  'document.querySelector("head");',
  'function connect() { return document.hidden; } connect();'
];
const REFUSED_ON_OTHER_SITES = ['document.body.focus();', 'document.createElement("p");'];
const ACCEPTED_ON_OTHER_SITES = 'window.scangate.doc("createElement", "p");';
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
  await check('static/scangate-look.js', REFUSED_ON_OTHER_SITES, ACCEPTED_ON_OTHER_SITES);
  await check('static/dom.js', REFUSED_ON_OTHER_SITES, ACCEPTED_ON_OTHER_SITES);
  wrong.forEach((line) => console.error(line));
  process.exitCode = wrong.length ? 1 : 0;
}

main();
