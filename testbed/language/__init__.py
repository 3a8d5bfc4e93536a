"""The topology language: what a file may say (tables), how it is read (shapes), what is refused (checks)."""
