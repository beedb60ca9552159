"""The door: gates, scans, admissions, proofs of attendance."""
