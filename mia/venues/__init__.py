"""One folder for each venue: bytes <-> domain, and the feeds and brokers around it."""
