//! The rules of the session, each by itself.
