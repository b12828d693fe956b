"""What every request passes: gate, body, log, metrics, transport."""
