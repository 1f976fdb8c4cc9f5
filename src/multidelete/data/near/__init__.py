"""Near-duplicates of deleted members among pairs that nobody named: found and offered, never taken by themselves."""
