/**
 * scangate.js: signing in by a QR code, on any page.
 *
 * Add `<script src="https://YOUR-GATEWAY/static/scangate.js"></script>`; this makes the global `scangate`. A page of an
 * origin other than the gateway's stands on its client's list (`origins` in the gateway's settings).
 */
declare namespace scangate {
  /**
   * Shows a code and waits for it to be confirmed.
   *
   * @param element where the ready-made look goes; `null` for none of it: then `onState` is all there is to show.
   * @param options read anew for each code, so they may be changed while it runs.
   */
  function start(element: Element | null, options: Options): Code;

  interface Options {
    /** The registered client that people sign in to: the `aud` of the JWT. The gateway's first one if left out. */
    clientId?: string;
    /** Where to go on to, one of the client's `return_to`; given back as `code.ticket.return_to`. The script itself goes nowhere. */
    returnTo?: string;
    /** `login` (the default), or `share`: this person shows the code and decides who is signed in as them. */
    flow?: 'login' | 'share';
    /** The signed-in person's own token, for `share`, and for a ticket that was scanned with it. */
    token?: string;
    /** A ticket to wait for, instead of a new one: what a scan with a binding of its own has answered. */
    ticket?: Ticket;
    /** A code that this page made before it was loaded again, in the same tab: it goes on if this browser still proves to have made it. */
    resume?: { ticket_id: string; client?: Client | null };
    /** Set if the page will `resume` the code: leaving the page then does not withdraw it. */
    resumable?: boolean;
    /** How often a code that has expired is followed by another by itself; 5 if left out. Who was away is given one on coming back. */
    renewals?: number;
    /** Called when anything has changed: the state, its reason, the ticket, whether the connection is away. */
    onState?(state: State, code: Code): void;
    /** Called once, with the JWT, as the last thing of a sign-in. Keep it out of URLs and of storage. */
    onToken?(token: Token, code: Code): void;
    /** The gateway's origin; that of the script if left out. */
    gateway?: string;
    /** The language of the ready-made look, such as `zh`; the browser's if left out. */
    lang?: string;
    /** Words of your own for the ready-made look: the whole of `texts` as `GET /static/texts.json` answers it, changed. */
    texts?: Texts;
  }

  /** What is on show, and what can be done about it. It changes in place. */
  interface Code {
    readonly state: State;
    /** More of the state; the same as `state` where there is no more to say. */
    readonly reason: Reason;
    /** The ticket as it is now; `null` while there is none. */
    readonly ticket: Ticket | null;
    readonly client: Client | null;
    /** The code, as a `data:` address for an `<img>`. */
    readonly qr?: string;
    /** When the ticket's time is over, in milliseconds since 1970 by this device's clock; 0 while nothing is waited for. */
    readonly deadline: number;
    /** How long the ticket had in this state when it began, in milliseconds. */
    readonly lifeMs: number;
    /** When it is tried again by itself (`error` with `busy` or `unreachable`), as `deadline`; otherwise 0. */
    readonly retryAt: number;
    /** Whether the connection is away for the moment; it is got back by itself. */
    readonly away: boolean;
    /** How news come at the moment; empty while nothing is waited for. */
    readonly transport: '' | 'sse' | 'poll';
    /** What the gateway refused with (RFC 9457). */
    readonly problem: Problem | null;
    /** Asks for a new code; the one on show is withdrawn. */
    refresh(): void;
    /** Withdraws the code on show and stops. `refresh` begins again. */
    stop(): void;
  }

  type State = 'loading' | 'waiting' | 'scanned' | 'confirmed' | 'declined' | 'cancelled' | 'expired' | 'error';

  type Reason =
    | State
    /** scanned, and `ticket.number` is to be shown: the phone asks for it */
    | 'numbered'
    /** cancelled */
    | 'closed' | 'superseded' | 'mismatch'
    /** expired, and a new code comes as soon as the person is back */
    | 'away'
    /** error: refused for good; the browser keeps no cookie, and what it was given instead does not come back either; too many
        tries; no answer. The last two are tried again by themselves. */
    | 'failed' | 'unkept' | 'busy' | 'unreachable';

  interface Ticket {
    ticket_id: string;
    state: 'pending' | 'scanned' | 'confirmed' | 'claimed' | 'cancelled';
    revision: number;
    flow: 'login' | 'share';
    client_id: string;
    /** Seconds. */
    expires_in: number;
    /** Seconds between two signs of life on the stream. */
    heartbeat: number;
    /** What the code says. */
    scan_url: string;
    events: string;
    poll: string;
    /** Who has scanned. `picture` is an address elsewhere: loading it tells its host who signs in where. */
    scanned_by?: { name?: string | null; picture?: string | null; [more: string]: unknown };
    number?: string;
    reason?: 'declined' | 'closed' | 'superseded' | 'mismatch';
    token?: Token;
    return_to?: string;
    [more: string]: unknown;
  }

  interface Token {
    /** The JWT. */
    access_token: string;
    token_type: 'Bearer';
    /** Seconds. */
    expires_in: number;
  }

  interface Client {
    id: string;
    name: string;
    /** Addresses at the gateway. */
    logo?: string;
    theme?: string;
    connector?: 'wechat';
  }

  /** Of an answer that has no such body, the status alone. */
  interface Problem {
    status: number;
    code?: string;
    title?: string;
    detail?: string;
    [more: string]: unknown;
  }

  /** A title and a detail, or one text, by what they are for. */
  type Texts = { [name: string]: string | [string, string] };
}
