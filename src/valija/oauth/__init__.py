"""OAuth 2.0 (RFC 6749 and its family): values, grants as generators, error classification, the provider catalogue; no I/O."""
