"""Pages: what needs a decoder of images or PDF, in a process of its own with limits."""
