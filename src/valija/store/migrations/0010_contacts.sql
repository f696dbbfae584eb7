-- The address book.

CREATE TABLE contacts (
    name TEXT NOT NULL PRIMARY KEY,
    payload {{blob}} NOT NULL
) {{strict}};
