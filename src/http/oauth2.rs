//! The endpoints of the OpenID Provider under `/oauth2/`.
