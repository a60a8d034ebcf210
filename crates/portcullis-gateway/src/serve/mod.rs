//! Wires settings, services and listeners together; reload and graceful stop.
