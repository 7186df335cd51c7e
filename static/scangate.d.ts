/**
 * scangate.js: sign in with a QR code, on any page.
 *
 * Add `<script src="https://YOUR-GATEWAY/static/scangate.js"></script>`. It defines the global `scangate`. If the page's
 * origin is not the gateway's, the client must list it (`origins` in the gateway's settings).
 */
declare namespace scangate {
  /**
   * Shows a code and waits for its confirmation.
   *
   * @param element the parent of the ready-made widget; `null` for no widget: `onState` reports every change.
   * @param options read again for each code, so the page may change them later.
   */
  function start(element: Element | null, options: Options): Code;

  interface Options {
    /** The id of the registered client to sign in to: the `aud` of the JWT. The gateway's first client if omitted. */
    clientId?: string;
    /** `login` (the default), or `share`: the person on this page decides whether the scanner is signed in as them. */
    flow?: 'login' | 'share';
    /** The signed-in person's own token: for `share`, and for a ticket that was scanned with it. */
    token?: string;
    /** A ticket to wait for instead of a new one, from the response to a scan that created a binding. */
    ticket?: Ticket;
    /** A code that this tab showed before a reload. It continues if the browser still holds its binding. */
    resume?: { ticket_id: string; client?: Client | null };
    /** Whether the page will `resume` the code. If true, closing the page does not withdraw the code. */
    resumable?: boolean;
    /** The maximum number of times that an expired code is replaced; 5 if omitted. A hidden page waits until it is visible. */
    renewals?: number;
    /** Called after each change: of the state, its reason, the ticket, or whether the connection is lost. */
    onState?(state: State, code: Code): void;
    /** Called once, with the JWT, at the end of a sign-in. Keep the JWT out of URLs and storage. */
    onToken?(token: Token, code: Code): void;
    /** The gateway's origin; the script's origin if omitted. */
    gateway?: string;
    /** The language of the ready-made widget, such as `zh`; the browser's preferred language if omitted. */
    lang?: string;
    /** Texts for the ready-made widget: a changed copy of all `texts` in the response to `GET /static/texts.json`. */
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
    /** When the ticket expires, in milliseconds since 1970 by this device's clock; 0 if the script waits for no ticket. */
    readonly deadline: number;
    /** The time that the ticket had left when it entered this state, in milliseconds. */
    readonly lifeMs: number;
    /** When the script will retry (`error` with `busy` or `unreachable`), in the same unit as `deadline`; otherwise 0. */
    readonly retryAt: number;
    /** Whether the connection is lost now. The script reconnects automatically. */
    readonly away: boolean;
    /** How changes arrive now; empty if the script waits for no ticket. */
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
    /** waiting: a phone has scanned the code, and its person signs in to their identity provider first; `deadline` is later */
    | 'opened'
    /** scanned: show `ticket.number`, which the approver is asked for */
    | 'numbered'
    /** cancelled */
    | 'closed' | 'superseded' | 'mismatch'
    /** expired while the page was hidden or offline: a new code follows when it is visible and online again */
    | 'away'
    /** error. `failed`: refused. `unkept`: the browser did not send its binding, usually because cookies are blocked.
        `busy`: too many requests. `unreachable`: no response. The script retries after the last two. */
    | 'failed' | 'unkept' | 'busy' | 'unreachable';

  interface Ticket {
    ticket_id: string;
    state: 'pending' | 'scanned' | 'confirmed' | 'claimed' | 'cancelled';
    /** Whether a phone has begun to sign in; while pending only. */
    opened?: boolean;
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
    /** The scanner. `picture` is a URL on another host, which learns who signs in where if the page loads it. */
    scanned_by?: { name?: string | null; picture?: string | null; [more: string]: unknown };
    number?: string;
    reason?: 'declined' | 'closed' | 'superseded' | 'mismatch';
    token?: Token;
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
    /** The path of the logo at the gateway. */
    logo?: string;
    /** The path of the style sheet with the client's colours at the gateway. */
    theme?: string;
    connector?: 'wechat';
  }

  /** Only `status` is set if the response has no body in this format. */
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
