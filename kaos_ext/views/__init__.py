"""View-models and their text, html and JSON, pure. Whatever is not written by us is escaped."""
