"""The recipe that makes the embedded checkpoint from public pictures."""
