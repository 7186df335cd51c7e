//! The table of problems.

use axum::http::StatusCode;

/// One row of the table of problems.
#[derive(Debug)]
pub struct ProblemType {
    /// The HTTP status.
    pub status: StatusCode,
    /// The stable name.
    pub code: &'static str,
    /// What is wrong, in short.
    pub title: &'static str,
    /// What to do about it.
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
    INVALID_REQUEST = BAD_REQUEST "invalid_request" "The request is not understood"
        "Correct the request as the detail says.";
    MALFORMED_JSON = BAD_REQUEST "malformed_json" "The body is not the JSON that belongs here"
        "Send a JSON object with the fields of the API description at /v1/openapi.json, and no others.";
    MALFORMED_REQUEST = BAD_REQUEST "malformed_request" "This is not a well-formed HTTP request"
        "Correct the request as the detail says.";
    UNKNOWN_CLIENT = BAD_REQUEST "unknown_client" "There is no such client"
        "Use the id of a registered client, or leave client_id out for the default one.";
    RETURN_TO_NOT_ALLOWED = BAD_REQUEST "return_to_not_allowed" "The client may not return there"
        "Use an address that stands, exactly so, in the client's return_to list.";
    FLOW_NOT_ALLOWED = BAD_REQUEST "flow_not_allowed" "This client does not take part in this flow"
        "Use a client whose flows have it, or have it added to this one's.";
    NOT_SIGNED_IN = UNAUTHORIZED "not_signed_in" "A signed-in person is needed"
        "Send the person's token of your identity provider as Authorization: Bearer.";
    INVALID_TOKEN = UNAUTHORIZED "invalid_token" "The token does not prove who you are"
        "Sign in again with your identity provider and send the fresh token.";
    NO_SESSION = UNAUTHORIZED "no_session" "Nobody is signed in here"
        "Open the site in a browser and sign in, or send a JWT of this gateway as Authorization: Bearer.";
    INVALID_SESSION = UNAUTHORIZED "invalid_session" "This JWT is not good for this site, or no longer"
        "Sign in again.";
    SIGN_IN_NOT_BEGUN = FORBIDDEN "sign_in_not_begun" "This sign-in did not begin in this browser"
        "Open the page that you want, with cookies allowed, and sign in from there.";
    ORIGIN_NOT_ALLOWED = FORBIDDEN "origin_not_allowed" "Pages of this origin may not do that"
        "Call from the gateway's own pages, or have the origin registered with the client.";
    NOT_PERMITTED = FORBIDDEN "not_permitted" "This is not for you to decide"
        "Have it decided by the person who scanned the code or, where something is shared, who shows it.";
    CONNECTOR_ONLY = FORBIDDEN "connector_only" "This code is for another app"
        "Scan it with the app that it was made for, such as WeChat.";
    CALLBACK_REFUSED = FORBIDDEN "callback_refused" "This callback is not from whom it should be"
        "Compare the settings on both sides.";
    CALLBACK_MALFORMED = BAD_REQUEST "callback_malformed" "This is no callback of that service"
        "Send what the service's documentation says.";
    OWN_TICKET = FORBIDDEN "own_ticket" "This is your own code"
        "Have it scanned by somebody else.";
    TICKET_NOT_FOUND = NOT_FOUND "ticket_not_found" "There is no such ticket for you, or no longer"
        "Make a new ticket.";
    NOT_FOUND = NOT_FOUND "not_found" "There is nothing here"
        "See the API description at /v1/openapi.json.";
    METHOD_NOT_ALLOWED = METHOD_NOT_ALLOWED "method_not_allowed" "This method does not work here"
        "Use a method that the Allow header names; see /v1/openapi.json.";
    REQUEST_TIMEOUT = REQUEST_TIMEOUT "request_timeout" "The body did not arrive in time"
        "Send the request again.";
    NOT_SCANNED = CONFLICT "not_scanned" "The code was not scanned yet"
        "Scan it first.";
    ALREADY_SCANNED = CONFLICT "already_scanned" "Somebody else has scanned this code"
        "Ask for a new code and scan that; if you did not expect this, decline.";
    ALREADY_CONFIRMED = CONFLICT "already_confirmed" "The sign-in is confirmed already"
        "Nothing is left to do.";
    ALREADY_CANCELLED = CONFLICT "already_cancelled" "The sign-in was cancelled"
        "Make a new ticket.";
    SCANNER_CHANGED = CONFLICT "scanner_changed" "Somebody else has scanned this code than you saw"
        "Read the ticket again, and confirm only if you want to share with whoever it names now.";
    MISMATCH = CONFLICT "mismatch" "That was not the number on the other screen"
        "The ticket is cancelled. Make a new one.";
    UNKNOWN_HOST = MISDIRECTED_REQUEST "unknown_host" "The admin listener is not asked by this name"
        "Ask by its IP address or as localhost, or have the name listed in --admin-hosts (SCANGATE_ADMIN_HOSTS).";
    TOO_LARGE = PAYLOAD_TOO_LARGE "too_large" "The body is too large"
        "Send at most 16 KiB.";
    URI_TOO_LONG = URI_TOO_LONG "uri_too_long" "The URL is too long"
        "Send a URL that fits, with all header fields, into 16 KiB.";
    UNSUPPORTED_MEDIA_TYPE = UNSUPPORTED_MEDIA_TYPE "unsupported_media_type" "The body is not JSON"
        "Send Content-Type: application/json.";
    RATE_LIMITED = TOO_MANY_REQUESTS "rate_limited" "Too many attempts from your address"
        "Wait for the time that Retry-After names.";
    TOO_MANY_TICKETS = TOO_MANY_REQUESTS "too_many_tickets" "Too many codes from your address are waiting to be scanned"
        "Close codes that nobody scans, or wait for the time that Retry-After names.";
    TOO_MANY_STREAMS = TOO_MANY_REQUESTS "too_many_streams" "Too many streams are open"
        "Close other pages that wait for a sign-in, or poll without wait.";
    HEAD_TOO_LARGE = REQUEST_HEADER_FIELDS_TOO_LARGE "head_too_large" "The request has too large or too many header fields"
        "Send at most 16 KiB and 64 header fields. In a browser, delete the cookies of this site.";
    INTERNAL = INTERNAL_SERVER_ERROR "internal" "The gateway has failed"
        "Try again; if it stays so, tell the operators the request_id.";
    UNAVAILABLE = SERVICE_UNAVAILABLE "unavailable" "The gateway cannot serve right now"
        "Try again after the time that Retry-After names.";
    STORE_FULL = SERVICE_UNAVAILABLE "store_full" "No further ticket can be kept right now"
        "Try again after the time that Retry-After names.";
    CONNECTOR_UNAVAILABLE = SERVICE_UNAVAILABLE "connector_unavailable" "The service whose code is shown does not give one"
        "Try again after the time that Retry-After names.";
    CONNECTOR_QUOTA = SERVICE_UNAVAILABLE "connector_quota" "The codes that the other service gives in a day are used up for the moment"
        "Sign in another way, or try again after the time that Retry-After names.";
    IDENTITY_UNAVAILABLE = SERVICE_UNAVAILABLE "identity_unavailable" "The identity provider does not answer"
        "Try again after the time that Retry-After names.";
}
