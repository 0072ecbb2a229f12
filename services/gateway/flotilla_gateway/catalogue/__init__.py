"""The catalogue: what the fleet is made of, in SQL. Its tables, queries and migrations."""
