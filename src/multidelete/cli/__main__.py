"""``python -m multidelete.cli``, which ``accelerate launch`` needs."""

from multidelete.cli import main

main()
