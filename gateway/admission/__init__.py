"""How much the gateway has under way at once: of work, of places at stages, and of pictures that nobody has read."""
