"""Data that is larger than memory: an index on disk, and pairs that are read through it where they lie."""
