//! Quotas: pure rate-limit algorithms, the stores that hold their cells, and the limiter that charges several at once.
