"""Checkpoint folders: what is in them, where they come from, and what must not be believed of them."""
