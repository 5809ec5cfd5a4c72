"""How well the served versions predict, by what users did; and what follows from it."""
