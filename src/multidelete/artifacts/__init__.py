"""What is written to disk: folders that appear whole, marks, locks, sealed state, and what must never be written to."""
