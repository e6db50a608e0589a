"""The sample: a learning platform in a database called academy, and people who use it."""
