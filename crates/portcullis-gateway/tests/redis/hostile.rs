//! A Redis that is not one, or that turns against the gate while it runs: what users notice is the limit's `outage`, and what
//! the operator is told says what to do.
