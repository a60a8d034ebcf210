//! Listeners: one current-thread runtime per core, accepting with `SO_REUSEPORT`.
