"""What the gateway composes of the stages: one module for each capability, and what they share."""
