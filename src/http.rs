//! The HTTP layer: routes, middleware, the API, the pages, and the responses to errors.
//!
//! | file | owns |
//! |---|---|
//! | `router` | the route table |
//! | `state` | the state that handlers share |
//! | `api/` | the API's handlers, by resource, and its OpenAPI description |
//! | `oauth2/` | the endpoints of the OpenID Provider |
//! | `pages/` | the pages and their files |
//! | `middleware`, `head`, `methods` | the outermost layer; checks of the request head; methods per route |
//! | `origin` | every rule on `Origin`, `Sec-Fetch-Site` and CORS |
//! | `auth`, `cookies`, `address` | the caller: credentials, cookies, the browser's address |
//! | `problem` | the only place where an error becomes a public response |
//! | `wait`, `sse`, `snapshot`, `view` | waiting for a ticket, the wire format of event streams, a party's view of a ticket |
//! | `limits`, `drawing`, `bounds` | limits per caller, the bound on drawing, the names of bounds in the metrics |
//! | `extract`, `fields`, `weights`, `device` | the parts of a request that handlers read |

pub mod address;
mod api;
mod auth;
pub mod bounds;
mod cookies;
mod device;
pub mod drawing;
mod extract;
mod fields;
pub mod head;
pub mod limits;
mod methods;
mod middleware;
mod oauth2;
mod origin;
mod pages;
pub mod problem;
pub mod router;
mod snapshot;
mod sse;
pub mod state;
mod view;
mod wait;
mod weights;
