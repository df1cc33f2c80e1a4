"""The diffusion prior as a service."""
