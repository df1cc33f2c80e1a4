"""What every server of the stack shares: settings, start and drain, health, errors as statuses, channels. No torch."""
