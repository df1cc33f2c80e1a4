"""Step batching: jobs at different steps, with different settings, share each pass through a network."""
