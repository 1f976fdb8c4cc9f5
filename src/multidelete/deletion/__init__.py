"""What a deletion is: what the user asks for, checked and resolved, and the job that a method gets."""
