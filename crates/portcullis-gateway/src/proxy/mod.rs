//! The reverse proxy: an admitted request, its upstream connection, and the way back.
