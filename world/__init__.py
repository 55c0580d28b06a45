"""The embedded world: a small closed world whose base models and exact oracle ship with the project."""
