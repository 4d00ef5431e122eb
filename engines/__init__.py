"""Image engines: bytes in, bytes out. They know no web, no queue and no database."""
