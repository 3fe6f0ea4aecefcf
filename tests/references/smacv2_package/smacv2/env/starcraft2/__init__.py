"""The environment, and the distributions of what differs between episodes."""
