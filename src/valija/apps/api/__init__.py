"""The REST API: one table of routes, its models, its OpenAPI description."""
