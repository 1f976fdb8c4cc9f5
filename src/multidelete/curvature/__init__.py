"""Gradients of single pairs, layer by layer, and the metric of what kept pairs' scores depend on."""
