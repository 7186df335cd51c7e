//! The JSON errors of RFC 6749 §5.2.
