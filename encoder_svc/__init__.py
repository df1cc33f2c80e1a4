"""CLIP text and image encoding as a service."""
