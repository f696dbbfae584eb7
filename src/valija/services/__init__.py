"""What the machine does: getting and refreshing tokens, delivery, retrieval, connection test."""
