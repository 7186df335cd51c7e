//! The HTTP side: the API, the pages, and what every request passes through.
//!
//! | file | owns |
//! |---|---|
//! | `router` | the route table |
//! | `state` | what handlers work with |
//! | `api/` | the API's handlers, by resource, and its OpenAPI description |
//! | `pages/` | the pages and their files |
//! | `middleware`, `head`, `methods` | what every request passes through; what HTTP demands of a head; each route's methods |
//! | `origin` | every rule on `Origin`, `Sec-Fetch-Site` and CORS |
//! | `auth`, `cookies`, `address` | who calls: credentials, cookies, the browser's address |
//! | `problem` | the only place where an error becomes an answer |
//! | `wait`, `sse`, `snapshot`, `view` | waiting for a ticket, the wire format of event streams, what a party may see |
//! | `limits`, `drawing`, `bounds` | limits per caller, the bound on drawing, the names by which the metrics count both |
//! | `extract`, `fields`, `weights`, `device` | what handlers read from a request |

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
