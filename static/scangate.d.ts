/**
 * scangate.js: sign in by a QR code, on any page.
 *
 * Add `<script src="https://YOUR-GATEWAY/static/scangate.js"></script>`. It defines the global `scangate`. If the page's
 * origin is not the gateway's, the client must list it (`origins` in the gateway's settings).
 */
declare namespace scangate {
  /**
   * Shows a code and waits until it is confirmed.
   *
   * @param element where to put the ready-made widget; `null` for no widget, in which case `onState` reports everything.
   * @param options are read again for each code, so they may be changed later.
   */
  function start(element: Element | null, options: Options): Code;

  interface Options {
    /** The id of the registered client to sign in to: the `aud` of the JWT. The gateway's first client if left out. */
    clientId?: string;
    /** Where to continue, one of the client's `return_to`; returned as `code.ticket.return_to`. The script itself does not navigate. */
    returnTo?: string;
    /** `login` (the default), or `share`: the person on this page shows the code and decides who is signed in as them. */
    flow?: 'login' | 'share';
    /** The signed-in person's own token: for `share`, and for a ticket that was scanned with it. */
    token?: string;
    /** A ticket to wait for, instead of a new one: the answer to a scan with a binding of its own. */
    ticket?: Ticket;
    /** A code that this tab showed before it was reloaded. It is continued if the browser can still prove that it made it. */
    resume?: { ticket_id: string; client?: Client | null };
    /** Set it if the page will `resume` the code: then the code is not withdrawn when the page is closed. */
    resumable?: boolean;
    /** How often an expired code is replaced automatically; 5 if left out. While the page is hidden, it waits until the person is back. */
    renewals?: number;
    /** Called after each change: of the state, its reason, the ticket, or whether the connection is lost. */
    onState?(state: State, code: Code): void;
    /** Called once, with the JWT, at the end of a sign-in. Keep the JWT out of URLs and storage. */
    onToken?(token: Token, code: Code): void;
    /** The gateway's origin; the script's origin if left out. */
    gateway?: string;
    /** The language of the ready-made widget, such as `zh`; the browser's if left out. */
    lang?: string;
    /** Texts for the ready-made widget: a changed copy of all `texts` in the answer to `GET /static/texts.json`. */
    texts?: Texts;
  }

  /** The current code. The object is updated in place. */
  interface Code {
    readonly state: State;
    /** The reason for the state; the same as `state` if there is no more specific one. */
    readonly reason: Reason;
    /** The ticket's current revision; `null` while there is none. */
    readonly ticket: Ticket | null;
    readonly client: Client | null;
    /** The QR code, as a `data:` URL for an `<img>`. */
    readonly qr?: string;
    /** When the ticket expires, in milliseconds since 1970 by this device's clock; 0 while it waits for nothing. */
    readonly deadline: number;
    /** How long the ticket had left when it entered this state, in milliseconds. */
    readonly lifeMs: number;
    /** When the script will retry automatically (`error` with `busy` or `unreachable`), as `deadline`; otherwise 0. */
    readonly retryAt: number;
    /** Whether the connection is lost at the moment. The script reconnects automatically. */
    readonly away: boolean;
    /** How changes arrive at the moment; empty while it waits for nothing. */
    readonly transport: '' | 'sse' | 'poll';
    /** The gateway's error (RFC 9457). */
    readonly problem: Problem | null;
    /** Gets a new code, and withdraws the current one. */
    refresh(): void;
    /** Withdraws the current code and stops. `refresh` starts again. */
    stop(): void;
  }

  type State = 'loading' | 'waiting' | 'scanned' | 'confirmed' | 'declined' | 'cancelled' | 'expired' | 'error';

  type Reason =
    | State
    /** scanned: show `ticket.number`, which the phone asks for */
    | 'numbered'
    /** cancelled */
    | 'closed' | 'superseded' | 'mismatch'
    /** expired: a new code follows as soon as the person is back */
    | 'away'
    /** error: refused; the browser sends back neither the cookie nor the secret; too many requests; no answer. The script
        retries the last two automatically. */
    | 'failed' | 'unkept' | 'busy' | 'unreachable';

  interface Ticket {
    ticket_id: string;
    state: 'pending' | 'scanned' | 'confirmed' | 'claimed' | 'cancelled';
    revision: number;
    flow: 'login' | 'share';
    client_id: string;
    /** Seconds. */
    expires_in: number;
    /** Seconds between two heartbeats on the event stream. */
    heartbeat: number;
    /** The URL in the QR code. */
    scan_url: string;
    events: string;
    poll: string;
    /** The scanner. `picture` is a URL elsewhere: whoever loads it tells its host who signs in where. */
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
    /** Paths at the gateway. */
    logo?: string;
    theme?: string;
    connector?: 'wechat';
  }

  /** If the error has no body in this format, only the status. */
  interface Problem {
    status: number;
    code?: string;
    title?: string;
    detail?: string;
    [more: string]: unknown;
  }

  /** Texts by name: each is a title with its detail, or a single text. */
  type Texts = { [name: string]: string | [string, string] };
}
