"""unCLIP (DALL-E 2) as gRPC services: contracts, client, and what every service shares."""
