//! The gate: one decision with many doors; the engine, the policy snapshot and the tower layer.
