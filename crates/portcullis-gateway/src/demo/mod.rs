//! The demo: a sample API, three accounts, a mail catcher and a tour.
