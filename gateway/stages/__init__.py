"""The stages as the gateway sees them: their clients, their replicas and versions, and how calls of them fail."""
