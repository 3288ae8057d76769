"""A server on loopback that speaks three providers' wire formats and keeps its own books."""
