"""Who is registered: read from the chain, or from a file that stands in for it, and published."""
