"""A lineage of models and its ledger: what was asked to be forgotten, what was done, and proof of it."""
