//! Findings: the event log, the audit trail's JSON lines, metrics and the blocklist.
