"""Checkpoints in the layouts of others: read as models, and written back as they came."""
