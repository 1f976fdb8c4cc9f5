"""What belongs to the training loop: going on where a killed run stopped."""
