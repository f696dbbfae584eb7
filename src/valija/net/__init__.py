"""asyncio drivers for the protocol cores, TLS contexts, HTTP."""
