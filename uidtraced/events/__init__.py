"""The event stream: decoded from the ring buffer's bytes, rendered, and written to a sink."""
