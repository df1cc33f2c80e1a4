"""The decoder and the upsampler as services."""
