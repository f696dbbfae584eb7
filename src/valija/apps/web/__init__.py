"""The machine's own pages: the panel (at the machine) and the web page (from a desk). No rule lives here."""
