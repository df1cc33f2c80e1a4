"""Networks on a device: loaded, placed, captured as graphs, offloaded. Uses torch; knows nothing of gRPC."""
