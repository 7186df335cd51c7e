// Tests the types that docs/drop-in.md describes: this file compiles, and the lines marked as wrong do not.
/// <reference path="../../static/scangate.d.ts" />

const code: scangate.Code = scangate.start(document.getElementById('sign-in'), {
  clientId: 'shop',
  renewals: 3,
  lang: 'zh',
  onState(state, now) {
    if (state === 'scanned' && now.reason === 'numbered') { document.title = String(now.ticket?.number); }
    if (state === 'error' && now.problem !== null) { console.log(now.problem.detail, now.retryAt); }
  },
  onToken(token) { fetch('/session', { method: 'POST', body: token.access_token }); }
});
scangate.start(null, { flow: 'share', token: 'a.b.c' }).refresh();
code.stop();

// @ts-expect-error a misspelt option
scangate.start(null, { clientID: 'shop' });
// @ts-expect-error an unknown state
if (code.state === 'pending') { code.stop(); }
// @ts-expect-error a read-only property
code.state = 'waiting';
