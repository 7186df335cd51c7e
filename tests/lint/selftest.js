// Proves that the rules bite: each line must be refused, the last one accepted.
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
  'document.body.remove();',
  'document.body.innerHTML = "x";',
  'var unused = 1;'
];
const ACCEPTED = 'document.body.setAttribute("data-state", "loading");';

function wrapped(line) {
  return '(function () {\n  \'use strict\';\n  ' + line + '\n}());\n';
}

async function main() {
  const eslint = new ESLint({ overrideConfigFile: 'tests/lint/eslint.config.js' });
  const faults = async (line) => (await eslint.lintText(wrapped(line), { filePath: 'static/x.js' }))[0].errorCount;
  const wrong = [];
  for (const line of REFUSED) {
    if (await faults(line) === 0) { wrong.push('accepted: ' + line); }
  }
  if (await faults(ACCEPTED) !== 0) { wrong.push('refused: ' + ACCEPTED); }
  wrong.forEach((line) => console.error(line));
  process.exitCode = wrong.length ? 1 : 0;
}

main();
