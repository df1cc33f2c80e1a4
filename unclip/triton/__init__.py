"""Networks that run on an NVIDIA Triton server (KServe v2 over gRPC) instead of in a service's own process."""
