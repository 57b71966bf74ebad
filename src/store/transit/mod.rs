//! Transit.
