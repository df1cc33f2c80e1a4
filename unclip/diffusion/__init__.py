"""Diffusion mathematics: schedules, sampler tables, guidance, noise. Uses torch; knows nothing of gRPC."""
