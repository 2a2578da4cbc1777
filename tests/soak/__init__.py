"""Long runs of the real daemon under load and mishaps, counted to the last event."""
