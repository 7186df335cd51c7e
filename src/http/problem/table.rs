//! The table of problems that callers may rely on: one row per `code`.

use axum::http::StatusCode;

/// One row of the table.
#[derive(Debug)]
pub struct ProblemType {
    /// The HTTP status.
    pub status: StatusCode,
    /// The stable name.
    pub code: &'static str,
    /// Names the problem in a few words.
    pub title: &'static str,
    /// The advice to the caller.
    pub advice: &'static str,
}

macro_rules! problem_types {
    ($($name:ident = $status:ident $code:literal $title:literal $advice:literal;)*) => {
        $(
            #[doc = $title]
            pub static $name: ProblemType =
                ProblemType { status: StatusCode::$status, code: $code, title: $title, advice: $advice };
        )*
        /// Every row.
        pub static ALL: &[&ProblemType] = &[$(&$name),*];
    };
}

problem_types! {
    INVALID_REQUEST = BAD_REQUEST "invalid_request" "Invalid request"
        "Correct the request as the detail says.";
    MALFORMED_JSON = BAD_REQUEST "malformed_json" "Invalid JSON body"
        "Send a JSON object with only the fields that /v1/openapi.json describes.";
    MALFORMED_REQUEST = BAD_REQUEST "malformed_request" "Malformed HTTP request"
        "Correct the request as the detail says.";
    UNKNOWN_CLIENT = BAD_REQUEST "unknown_client" "Unknown client"
        "Use the id of a registered client, or omit client_id for the default client.";
    REDIRECT_URI_NOT_ALLOWED = BAD_REQUEST "redirect_uri_not_allowed" "Redirect address not allowed"
        "Use an address that is, character for character, in the client's redirect_uris list.";
    FLOW_NOT_ALLOWED = BAD_REQUEST "flow_not_allowed" "Flow not allowed for this client"
        "Use a client that lists this flow, or add the flow to this client.";
    NOT_SIGNED_IN = UNAUTHORIZED "not_signed_in" "Not signed in"
        "Sign in on the gateway's page, or send the person's token from your identity provider as Authorization: Bearer.";
    INVALID_TOKEN = UNAUTHORIZED "invalid_token" "Token invalid or expired"
        "Sign in again with your identity provider and send the new token.";
    NO_SESSION = UNAUTHORIZED "no_session" "No session"
        "Open the site in a browser and sign in, or send a JWT of this gateway as Authorization: Bearer.";
    INVALID_SESSION = UNAUTHORIZED "invalid_session" "Session invalid or expired"
        "Sign in again.";
    SIGN_IN_ADDRESS = BAD_REQUEST "sign_in_address" "Sign-in address not valid"
        "Register the app's redirect URI with the client, character for character, and send its client_id.";
    SIGN_OUT_ADDRESS = BAD_REQUEST "sign_out_address" "Sign-out address not registered"
        "Use a post_logout_redirect_uri that is, character for character, in the client's list, and the client's own ID token.";
    AUTHORIZATION_OVER = NOT_FOUND "authorization_over" "Sign-in finished or expired"
        "Go back to the app and sign in from there.";
    SIGN_IN_NOT_BEGUN = FORBIDDEN "sign_in_not_begun" "Sign-in not started in this browser"
        "Open the page that you want, with cookies allowed, and sign in from there.";
    SIGN_IN_DECLINED = FORBIDDEN "sign_in_declined" "Sign-in declined"
        "Sign in again, or go back to the app that you came from.";
    SIGN_IN_FAILED = BAD_GATEWAY "sign_in_failed" "Identity provider did not sign the person in"
        "Try again. If the error persists, give the operators the request_id.";
    SIGN_IN_EXPIRED = BAD_REQUEST "sign_in_expired" "Sign-in unknown or expired"
        "Go back to the page with the code, and sign in again.";
    SIGN_IN_USED = CONFLICT "sign_in_used" "Sign-in already finished"
        "Go back to the page with the code; the sign-in cannot be used twice.";
    SIGN_IN_OTHER_BROWSER = FORBIDDEN "sign_in_other_browser" "Sign-in started in another browser"
        "Finish in the browser in which the sign-in started, with cookies allowed.";
    SIGN_IN_MIXED_UP = BAD_REQUEST "sign_in_mixed_up" "Answer of another identity provider"
        "Go back to the page with the code, and sign in again.";
    PROVIDER_UNAVAILABLE = SERVICE_UNAVAILABLE "provider_unavailable" "Identity provider unreachable"
        "Try again after the time in Retry-After.";
    ORIGIN_NOT_ALLOWED = FORBIDDEN "origin_not_allowed" "Origin not allowed"
        "Call from the gateway's own pages, or register the origin with the client.";
    NOT_PERMITTED = FORBIDDEN "not_permitted" "Not the approver"
        "Let the approver decide: the person who scanned the code or, in a share, the person who shows it.";
    SIGN_IN_TOO_OLD = FORBIDDEN "sign_in_too_old" "Sign-in too old"
        "Sign in again with your identity provider and repeat the request with the new token; the ticket stays as it is.";
    STRONGER_SIGN_IN_NEEDED = FORBIDDEN "stronger_sign_in_needed" "Stronger sign-in needed"
        "Sign in with your identity provider as the client requires, such as with a second factor, and repeat the request with \
         the new token; the ticket stays as it is.";
    CONNECTOR_ONLY = FORBIDDEN "connector_only" "Code belongs to another app"
        "Scan it with the app that it was made for, such as WeChat.";
    CALLBACK_REFUSED = FORBIDDEN "callback_refused" "Callback not authentic"
        "Compare the settings on both sides.";
    CALLBACK_MALFORMED = BAD_REQUEST "callback_malformed" "Malformed callback"
        "Send what the service's documentation specifies.";
    OWN_TICKET = FORBIDDEN "own_ticket" "Cannot scan own ticket"
        "Have the code scanned by another person.";
    TICKET_NOT_FOUND = NOT_FOUND "ticket_not_found" "Ticket not found"
        "Create a new ticket.";
    NOT_FOUND = NOT_FOUND "not_found" "Not found"
        "See the API description at /v1/openapi.json.";
    METHOD_NOT_ALLOWED = METHOD_NOT_ALLOWED "method_not_allowed" "Method not allowed"
        "Use a method that the Allow header names; see /v1/openapi.json.";
    REQUEST_TIMEOUT = REQUEST_TIMEOUT "request_timeout" "Request timeout"
        "The body did not arrive in time. Send the request again.";
    NOT_SCANNED = CONFLICT "not_scanned" "Ticket not scanned yet"
        "Scan it first.";
    ALREADY_SCANNED = CONFLICT "already_scanned" "Ticket already scanned"
        "Another party scanned this code. Ask for a new code and scan that; if you did not expect this, decline.";
    ALREADY_CONFIRMED = CONFLICT "already_confirmed" "Ticket already confirmed"
        "No further action is needed.";
    ALREADY_CANCELLED = CONFLICT "already_cancelled" "Ticket already cancelled"
        "Create a new ticket.";
    SCANNER_CHANGED = CONFLICT "scanner_changed" "Scanner changed"
        "Read the ticket again, and confirm only if you want to share with the scanner that it names now.";
    MISMATCH = CONFLICT "mismatch" "Number does not match"
        "The ticket is cancelled. Create a new one.";
    UNKNOWN_HOST = MISDIRECTED_REQUEST "unknown_host" "Unknown host on the admin listener"
        "Use its IP address or localhost, or list the host name in --admin-hosts (SCANGATE_ADMIN_HOSTS).";
    TOO_LARGE = PAYLOAD_TOO_LARGE "too_large" "Body too large"
        "Send at most 16 KiB.";
    URI_TOO_LONG = URI_TOO_LONG "uri_too_long" "URL too long"
        "Keep the URL and all header fields together within 16 KiB.";
    UNSUPPORTED_MEDIA_TYPE = UNSUPPORTED_MEDIA_TYPE "unsupported_media_type" "Unsupported media type"
        "Send Content-Type: application/json.";
    RATE_LIMITED = TOO_MANY_REQUESTS "rate_limited" "Too many requests"
        "Wait for the time in Retry-After.";
    TOO_MANY_TICKETS = TOO_MANY_REQUESTS "too_many_tickets" "Too many pending tickets"
        "Close tickets that nobody scans, or wait for the time in Retry-After.";
    TOO_MANY_STREAMS = TOO_MANY_REQUESTS "too_many_streams" "Too many open streams"
        "Close other pages that wait for a sign-in, or poll without wait.";
    HEAD_TOO_LARGE = REQUEST_HEADER_FIELDS_TOO_LARGE "head_too_large" "Header fields too large or too many"
        "Send at most 16 KiB and 64 header fields. In a browser, delete the cookies of this site.";
    INTERNAL = INTERNAL_SERVER_ERROR "internal" "Internal error"
        "Try again. If the error persists, give the operators the request_id.";
    UNAVAILABLE = SERVICE_UNAVAILABLE "unavailable" "Gateway unavailable"
        "Try again after the time in Retry-After.";
    STORE_FULL = SERVICE_UNAVAILABLE "store_full" "Ticket store full"
        "Try again after the time in Retry-After.";
    CONNECTOR_UNAVAILABLE = SERVICE_UNAVAILABLE "connector_unavailable" "Connector unavailable"
        "The connector's service did not create a code. Try again after the time in Retry-After.";
    CONNECTOR_QUOTA = SERVICE_UNAVAILABLE "connector_quota" "Connector quota used up"
        "Sign in another way, or try again after the time in Retry-After.";
    IDENTITY_UNAVAILABLE = SERVICE_UNAVAILABLE "identity_unavailable" "Identity provider unavailable"
        "Try again after the time in Retry-After.";
}
