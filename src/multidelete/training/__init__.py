"""The training loop: the plan of its steps, what a method sees of a step, and going on after a kill."""
